"""timeout(1): ``timeout --foreground -s HUP -k GRACE``, which ends the session after a fixed time.

The clock starts that time after its spawn, so the figure contains its start. The grace is fixed at
the spawn: it is that of the deaf programs for all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.loops import pause
from benchmarks.systems import (
    ENVIRONMENT,
    Program,
    Session,
    Span,
    System,
    Unavailable,
    read_terminal,
    stateless,
)
from benchmarks.systems.terminal import STUB, terminal

__all__ = ["systems"]

AFTER = 0.3
"""Seconds after which it ends the session."""
GRACE = 0.1


def systems() -> list[System]:
    """Return the one system."""
    if shutil.which("timeout") is None:
        raise Unavailable("timeout is not on PATH")
    return [stateless("timeout -k", spawn)]


async def spawn(program: Program) -> Session:
    """Open a terminal and timeout upon it."""
    with terminal() as (master, slave):
        limits = ("timeout", "--foreground", "-s", "HUP", "-k", str(GRACE), str(AFTER))
        argv = ["sh", "-c", STUB, slave, *limits, *program.argv]
        process = subprocess.Popen(argv, env=ENVIRONMENT, start_new_session=True)  # noqa: ASYNC220
    due = time.perf_counter_ns() + round(AFTER * 1e9)
    while not (child := children(process.pid)):
        await pause(0.001)
    return TimeoutSession(process, master, int(child), due)


def children(pid: int) -> str:
    """Return the children of a process, as the kernel writes them."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


@dataclass(frozen=True, slots=True)
class TimeoutSession:
    """A ``Popen`` of timeout, its terminal's master, its child, and when its time is up."""

    process: subprocess.Popen[bytes]
    master: int
    pid: int
    due: int

    async def read(self, within: float) -> bytes:
        """Read the master."""
        return read_terminal(self.master, within)

    async def end(self, grace: float) -> Span:  # noqa: ARG002 - its grace is fixed at the spawn
        """Wait until it has exited."""
        if time.perf_counter_ns() > self.due:
            raise RuntimeError("its time was up before the session was ready")
        self.process.wait()
        stop = time.perf_counter_ns()
        os.close(self.master)
        return Span(self.due, stop)
