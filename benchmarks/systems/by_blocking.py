"""ptykill by `ptykill.blocking`, from a thread without trio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.systems import ENVIRONMENT, Program, Session, Span, Spawn, System
from benchmarks.systems.ptykill_tier import checked, required
from ptykill import blocking

__all__ = ["LOOP", "systems"]

LOOP = "asyncio"
"""Only a thread without a trio run can use it."""


def systems(tier: str) -> list[System]:
    """Return the one system."""
    required(tier)
    return [System(f"ptykill.blocking, {tier}", partial(open_host, tier))]


@asynccontextmanager
async def open_host(tier: str) -> AsyncIterator[Spawn]:
    """Hold a supervisor."""
    with blocking.open_supervisor(containment=tier) as supervisor:

        async def spawn(program: Program) -> Session:
            return BlockingSession(supervisor.spawn(program.argv, env=ENVIRONMENT))

        yield spawn


@dataclass(frozen=True, slots=True)
class BlockingSession:
    """A session whose methods block."""

    session: blocking.Session

    @property
    def pid(self) -> int:
        """The leader's pid."""
        return self.session.pid

    async def read(self, within: float) -> bytes:
        """Receive what the terminal printed."""
        return self.session.until_quiet(within, timeout=within).encode()

    async def end(self, grace: float) -> Span:
        """Terminate, and wait."""
        start = time.perf_counter_ns()
        verdict = self.session.terminate(grace=grace)
        stop = time.perf_counter_ns()
        checked(verdict)
        return Span(start, stop)
