"""ptykill by `Host.acall`, from asyncio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import ptykill
from benchmarks.systems import ENVIRONMENT, Program, Session, Span, Spawn, System
from benchmarks.systems.ptykill_tier import checked, receive, required

__all__ = ["LOOP", "systems"]

LOOP = "asyncio"


def systems(tier: str) -> list[System]:
    """Return the one system."""
    required(tier)
    return [System(f"Host.acall, {tier}", partial(open_host, tier))]


@asynccontextmanager
async def open_host(tier: str) -> AsyncIterator[Spawn]:
    """Hold a host."""
    async with ptykill.Host(containment=tier) as host:
        call = partial(host.supervisor.spawn, env=ENVIRONMENT)

        async def spawn(program: Program) -> Session:
            return AcallSession(host, await host.acall(call, program.argv))

        yield spawn


@dataclass(frozen=True, slots=True)
class AcallSession:
    """A `ptykill.Session` of another thread's."""

    host: ptykill.Host
    session: ptykill.Session

    @property
    def pid(self) -> int:
        """The leader's pid."""
        return self.session.pid

    async def read(self, within: float) -> bytes:
        """Receive what the terminal printed."""
        return await self.host.acall(receive, self.session, within)

    async def end(self, grace: float) -> Span:
        """Terminate, and wait."""
        start = time.perf_counter_ns()
        verdict = await self.host.acall(partial(self.session.terminate, grace=grace))
        stop = time.perf_counter_ns()
        checked(verdict)
        return Span(start, stop)
