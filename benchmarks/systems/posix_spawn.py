"""Bare posix_spawn(3), and SIGKILL."""

from __future__ import annotations

import os
import pty
import signal
import time
from dataclasses import dataclass

from benchmarks.systems import ENVIRONMENT, Program, Span, System, read_terminal, stateless

__all__ = ["POSIX_SPAWN", "BareSession", "systems"]

POSIX_SPAWN = "posix_spawn"
"""The system that every spawn is compared with."""


def systems() -> list[System]:
    """Return the one system."""
    return [stateless(POSIX_SPAWN, spawn)]


async def spawn(program: Program) -> BareSession:
    """Return when the program has been executed."""
    master, slave = pty.openpty()
    # A session leader without a controlling terminal gets the first terminal it opens.
    first = (os.POSIX_SPAWN_OPEN, 0, os.ttyname(slave), os.O_RDWR, 0)
    copies = [(os.POSIX_SPAWN_DUP2, 0, copy) for copy in (1, 2)]
    try:
        pid = os.posix_spawnp(  # noqa: ASYNC221 - that it blocks is what is measured
            program.argv[0],
            program.argv,
            ENVIRONMENT,
            file_actions=[first, *copies],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGHUP, signal.SIGPIPE),  # An ignored signal would be inherited.
        )
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    return BareSession(pid, master)


@dataclass(frozen=True, slots=True)
class BareSession:
    """A pid and a terminal's master."""

    pid: int
    master: int

    async def read(self, within: float) -> bytes:
        """Read the master."""
        return read_terminal(self.master, within)

    async def end(self, grace: float) -> Span:  # noqa: ARG002 - nothing polite is compared here
        """SIGKILL, and reap."""
        start = time.perf_counter_ns()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)  # noqa: ASYNC222 - it has been killed
        stop = time.perf_counter_ns()
        os.close(self.master)
        return Span(start, stop)
