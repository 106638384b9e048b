"""ptyprocess, by which Jupyter, pexpect and terminado end their terminals."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ptyprocess import PtyProcess  # type: ignore[import-untyped]

from benchmarks.systems import ENVIRONMENT, Program, Session, Span, System, read_terminal, stateless

__all__ = ["systems"]


def systems() -> list[System]:
    """Return the one system."""
    return [stateless("ptyprocess", spawn, blocking=True)]


async def spawn(program: Program) -> Session:
    """Fork a process on a terminal and wait until it has been executed."""
    return PtyProcessSession(PtyProcess.spawn(list(program.argv), env=ENVIRONMENT))


@dataclass(frozen=True, slots=True)
class PtyProcessSession:
    """A ``PtyProcess``."""

    process: PtyProcess

    @property
    def pid(self) -> int:
        """The process's pid."""
        return int(self.process.pid)

    async def read(self, within: float) -> bytes:
        """Read the master, without its buffer."""
        return read_terminal(self.process.fd, within)

    async def end(self, grace: float) -> Span:  # noqa: ARG002 - its waits are its own
        """Terminate with force: a 100 ms sleep after each signal, then a look."""
        start = time.perf_counter_ns()
        ended = self.process.terminate(force=True)
        stop = time.perf_counter_ns()
        self.process.delayafterclose = 0
        self.process.close()
        if not ended:
            raise RuntimeError("it says that it could not terminate the process")
        return Span(start, stop)
