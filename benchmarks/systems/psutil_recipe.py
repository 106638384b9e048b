"""psutil's recipe for a process tree: ``children(recursive=True)``, signal, ``wait_procs``, kill.

The signal is SIGHUP in place of SIGTERM, to which an interactive shell is deaf.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

from benchmarks.systems import (
    Program,
    Session,
    Span,
    System,
    read_terminal,
    stateless,
)
from benchmarks.systems.popen import opened

__all__ = ["systems"]


def systems() -> list[System]:
    """Return the one system."""
    return [stateless("psutil recipe", spawn, ends="tree, looked for", blocking=True)]


async def spawn(program: Program) -> Session:
    """Spawn by `subprocess.Popen`."""
    return PsutilSession(*opened(program))


@dataclass(frozen=True, slots=True)
class PsutilSession:
    """A ``Popen`` and its terminal's master."""

    process: subprocess.Popen[bytes]
    master: int

    @property
    def pid(self) -> int:
        """The process's pid."""
        return self.process.pid

    async def read(self, within: float) -> bytes:
        """Read the master."""
        return read_terminal(self.master, within)

    async def end(self, grace: float) -> Span:
        """Follow the recipe."""
        start = time.perf_counter_ns()
        parent = psutil.Process(self.pid)
        tree = [*parent.children(recursive=True), parent]
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGHUP)
        _, alive = psutil.wait_procs(tree, timeout=grace)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=grace)
        stop = time.perf_counter_ns()
        self.process.wait()  # psutil has reaped it: it learns of that
        os.close(self.master)
        return Span(start, stop)
