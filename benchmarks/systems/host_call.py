"""ptykill by `Host.call`, as a thread that knows nothing of trio has it."""

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
"""Whoever calls through that door has no trio run of their own."""


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
    """A `ptykill.Session` of another thread's, and what calls into that."""

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
