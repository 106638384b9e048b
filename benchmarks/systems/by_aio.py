"""ptykill by `ptykill.aio`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.systems import ENVIRONMENT, Program, Session, Span, Spawn, System
from benchmarks.systems.ptykill_tier import checked, required
from ptykill import aio

__all__ = ["LOOP", "systems"]

LOOP = "asyncio"


def systems(tier: str) -> list[System]:
    """Return the one system."""
    required(tier)
    return [System(f"ptykill.aio, {tier}", partial(open_host, tier))]


@asynccontextmanager
async def open_host(tier: str) -> AsyncIterator[Spawn]:
    """Hold a supervisor."""
    async with aio.open_supervisor(containment=tier) as supervisor:

        async def spawn(program: Program) -> Session:
            return AioSession(await supervisor.spawn(program.argv, env=ENVIRONMENT))

        yield spawn


@dataclass(frozen=True, slots=True)
class AioSession:
    """A session whose methods are coroutines of asyncio."""

    session: aio.Session

    @property
    def pid(self) -> int:
        """The leader's pid."""
        return self.session.pid

    async def read(self, within: float) -> bytes:
        """Receive what the terminal printed."""
        return (await self.session.until_quiet(within, timeout=within)).encode()

    async def end(self, grace: float) -> Span:
        """Terminate, and wait."""
        start = time.perf_counter_ns()
        verdict = await self.session.terminate(grace=grace)
        stop = time.perf_counter_ns()
        checked(verdict)
        return Span(start, stop)
