"""ptykill by `Host.call`, from a thread without trio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import ptykill
from benchmarks.systems import ENVIRONMENT, Program, Session, Span, Spawn, System
from benchmarks.systems.ptykill_tier import checked, receive, required

__all__ = ["LOOP", "CallSession", "systems"]

LOOP = "asyncio"
"""Only a thread without a trio run can use `Host.call`."""


def systems(tier: str) -> list[System]:
    """Return the one system."""
    required(tier)
    return [System(f"Host.call, {tier}", partial(open_host, tier))]


@asynccontextmanager
async def open_host(tier: str) -> AsyncIterator[Spawn]:
    """Hold a host."""
    with ptykill.Host(containment=tier) as host:

        async def spawn(program: Program) -> Session:
            return CallSession(host.call, host.spawn(program.argv, env=ENVIRONMENT))

        yield spawn


@dataclass(frozen=True, slots=True)
class CallSession:
    """A `ptykill.Session` of another thread, and the function that calls into it."""

    call: Callable[..., Any]
    session: ptykill.Session

    @property
    def pid(self) -> int:
        """The leader's pid."""
        return self.session.pid

    async def read(self, within: float) -> bytes:
        """Receive what the terminal printed."""
        return bytes(self.call(receive, self.session, within))

    async def end(self, grace: float) -> Span:
        """Terminate, and wait."""
        start = time.perf_counter_ns()
        verdict = self.call(partial(self.session.terminate, grace=grace))
        stop = time.perf_counter_ns()
        checked(verdict)
        return Span(start, stop)
