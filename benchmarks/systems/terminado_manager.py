"""terminado, the terminals of Jupyter: ``NamedTermManager.terminate(name, force=True)``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from terminado.management import NamedTermManager

from benchmarks.loops import pause
from benchmarks.systems import ENVIRONMENT, Program, Session, Span, Spawn, System

__all__ = ["LOOP", "systems"]

LOOP = "asyncio"
LOOK_EVERY = 0.001
"""Seconds between two looks at its reader's buffer."""


def systems() -> list[System]:
    """Return the one system."""
    return [System("terminado", open_manager)]


@asynccontextmanager
async def open_manager() -> AsyncIterator[Spawn]:
    """Hold a manager."""
    manager = NamedTermManager(shell_command=["false"], extra_env=ENVIRONMENT)

    async def spawn(program: Program) -> Session:
        name, terminal = manager.new_named_terminal(shell_command=list(program.argv))
        return TerminadoSession(manager, name, terminal)

    yield spawn
    await manager.shutdown()


@dataclass(frozen=True, slots=True)
class TerminadoSession:
    """A terminal, by its name."""

    manager: Any
    name: str
    terminal: Any

    @property
    def pid(self) -> int:
        """The process's pid."""
        return int(self.terminal.ptyproc.pid)

    async def read(self, within: float) -> bytes:
        """Take the output from its reader's buffer."""
        until = time.monotonic() + within
        while not self.terminal.read_buffer and time.monotonic() < until:
            await pause(LOOK_EVERY)
        output = "".join(self.terminal.read_buffer)
        self.terminal.read_buffer.clear()
        return output.encode()

    async def end(self, grace: float) -> Span:  # noqa: ARG002 - its waits are its own
        """Terminate with force: a sleep of 100 ms after each signal, then a look."""
        start = time.perf_counter_ns()
        await self.manager.terminate(self.name, force=True)
        stop = time.perf_counter_ns()
        self.manager.terminals.pop(self.name, None)  # Its own reader may have been faster.
        return Span(start, stop)
