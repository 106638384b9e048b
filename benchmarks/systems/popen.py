"""`subprocess.Popen`: SIGHUP, ``wait`` with a timeout, ``kill``, ``wait``."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass

from benchmarks.systems import ENVIRONMENT, Program, Session, Span, System, read_terminal, stateless
from benchmarks.systems.terminal import STUB, terminal

__all__ = ["opened", "systems"]


def systems() -> list[System]:
    """Return the one system."""
    return [stateless("subprocess", spawn, blocking=True)]


def opened(program: Program) -> tuple[subprocess.Popen[bytes], int]:
    """Open a terminal and a process upon it; return the process and the terminal's master."""
    with terminal() as (master, slave):
        argv = ["sh", "-c", STUB, slave, *program.argv]
        return subprocess.Popen(argv, env=ENVIRONMENT, start_new_session=True), master


async def spawn(program: Program) -> Session:
    """Spawn by `subprocess.Popen`."""
    return PopenSession(*opened(program))


@dataclass(frozen=True, slots=True)
class PopenSession:
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
        """SIGHUP and SIGCONT, wait, SIGKILL, wait. With a timeout, `wait` polls."""
        start = time.perf_counter_ns()
        self.process.send_signal(signal.SIGHUP)
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        stop = time.perf_counter_ns()
        os.close(self.master)
        return Span(start, stop)
