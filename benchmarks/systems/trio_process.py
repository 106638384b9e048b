"""`trio.Process`: SIGHUP, wait, SIGKILL, for the leader alone."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import trio

from benchmarks.systems import (
    ENVIRONMENT,
    Program,
    Session,
    Span,
    System,
    read_terminal,
    stateless,
)
from benchmarks.systems.terminal import STUB, terminal

__all__ = ["systems"]


def systems() -> list[System]:
    """Return the one system."""
    return [stateless("trio.Process", spawn)]


async def spawn(program: Program) -> Session:
    """Open a terminal and a process upon it."""
    with terminal() as (master, slave):
        argv = ["sh", "-c", STUB, slave, *program.argv]
        process = await trio.lowlevel.open_process(argv, env=ENVIRONMENT, start_new_session=True)
    return TrioSession(process, master)


@dataclass(frozen=True, slots=True)
class TrioSession:
    """A `trio.Process` and its terminal's master."""

    process: trio.Process
    master: int

    @property
    def pid(self) -> int:
        """The process's pid."""
        return self.process.pid

    async def read(self, within: float) -> bytes:
        """Read the master."""
        return read_terminal(self.master, within)

    async def end(self, grace: float) -> Span:
        """SIGHUP and SIGCONT, wait, SIGKILL, wait; its ``wait`` reaps."""
        start = time.perf_counter_ns()
        self.process.send_signal(signal.SIGHUP)
        self.process.send_signal(signal.SIGCONT)
        with trio.move_on_after(grace):
            await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        stop = time.perf_counter_ns()
        os.close(self.master)
        return Span(start, stop)
