"""pexpect: ``terminate(force=True)``."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pexpect

from benchmarks.systems import (
    ENVIRONMENT,
    Program,
    Session,
    Span,
    System,
    read_terminal,
    stateless,
)

__all__ = ["systems"]


def systems() -> list[System]:
    """Return the one system."""
    return [stateless("pexpect", spawn, blocking=True)]


async def spawn(program: Program) -> Session:
    """Fork a process on a terminal."""
    command, *arguments = program.argv
    return PexpectSession(pexpect.spawn(command, arguments, env=ENVIRONMENT))


@dataclass(frozen=True, slots=True)
class PexpectSession:
    """A ``spawn``, as it is called."""

    child: pexpect.spawn[bytes]

    @property
    def pid(self) -> int:
        """The process's pid."""
        assert self.child.pid is not None
        return self.child.pid

    async def read(self, within: float) -> bytes:
        """Read the master, without its buffer."""
        return read_terminal(self.child.child_fd, within)

    async def end(self, grace: float) -> Span:  # noqa: ARG002 - its waits are its own
        """Terminate with force: a sleep of 100 ms after each signal, then a look."""
        start = time.perf_counter_ns()
        ended = self.child.terminate(force=True)
        stop = time.perf_counter_ns()
        self.child.ptyproc.delayafterclose = 0  # type: ignore[attr-defined]
        self.child.delayafterclose = 0
        self.child.close()
        if not ended:
            raise RuntimeError("it says that it could not terminate the process")
        return Span(start, stop)
