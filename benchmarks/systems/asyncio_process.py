"""asyncio's subprocess: SIGHUP, ``wait`` with a timeout, ``kill``, ``wait``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass

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

__all__ = ["LOOP", "systems"]

LOOP = "asyncio"
# It warns when `Popen` has reaped a child before its own thread, which it does now and then.
logging.getLogger("asyncio").setLevel(logging.ERROR)


def systems() -> list[System]:
    """Return the one system."""
    return [stateless("asyncio", spawn)]


async def spawn(program: Program) -> Session:
    """Open a terminal and a process upon it."""
    with terminal() as (master, slave):
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", STUB, slave, *program.argv), env=ENVIRONMENT, start_new_session=True
        )
    return AsyncioSession(process, master)


@dataclass(frozen=True, slots=True)
class AsyncioSession:
    """A ``Process`` and its terminal's master."""

    process: asyncio.subprocess.Process
    master: int

    @property
    def pid(self) -> int:
        """The process's pid."""
        return self.process.pid

    async def read(self, within: float) -> bytes:
        """Read the master."""
        return read_terminal(self.master, within)

    async def end(self, grace: float) -> Span:
        """SIGHUP and SIGCONT, wait, SIGKILL, wait."""
        start = time.perf_counter_ns()
        self.process.send_signal(signal.SIGHUP)
        self.process.send_signal(signal.SIGCONT)
        try:
            await asyncio.wait_for(self.process.wait(), grace)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        stop = time.perf_counter_ns()
        os.close(self.master)
        return Span(start, stop)
