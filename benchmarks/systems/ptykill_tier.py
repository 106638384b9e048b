"""ptykill, by its public interface, with each containment."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

import ptykill
from benchmarks.systems import (
    ENVIRONMENT,
    Program,
    Session,
    Span,
    Spawn,
    System,
    Unavailable,
)
from ptykill.system.containment import why_not

__all__ = ["ENDS", "checked", "receive", "required", "systems"]


ENDS = {
    "session": "session, proven",
    "keeper": "all, proven",
    "cgroup": "all, proven",
}
"""What is over when a containment answers; without a keeper, what has left is not looked for."""


def systems(tier: str) -> list[System]:
    """Return ptykill with one containment."""
    required(tier)
    return [System(f"ptykill, {tier}", partial(open_ptykill, tier), ends=ENDS[tier])]


def required(tier: str) -> None:
    """Raise `Unavailable` if a containment does not work here."""
    reason = why_not(tier)
    if reason is not None:
        raise Unavailable(reason)


@asynccontextmanager
async def open_ptykill(tier: str) -> AsyncIterator[Spawn]:
    """Hold a supervisor."""
    async with ptykill.open_supervisor(containment=tier, max_sessions=10_000) as supervisor:

        async def spawn(program: Program) -> Session:
            return PtykillSession(await supervisor.spawn(program.argv, env=ENVIRONMENT))

        yield spawn


@dataclass(frozen=True, slots=True)
class PtykillSession:
    """A `ptykill.Session`."""

    session: ptykill.Session

    @property
    def pid(self) -> int:
        """The leader's pid."""
        return self.session.pid

    async def read(self, within: float) -> bytes:
        """Receive output."""
        return await receive(self.session, within)

    async def end(self, grace: float) -> Span:
        """Terminate, or kill, and require an empty verdict."""
        start = time.perf_counter_ns()
        verdict = await (self.session.terminate(grace=grace) if grace else self.session.kill())
        stop = time.perf_counter_ns()
        checked(verdict)
        return Span(start, stop)


async def receive(session: ptykill.Session, within: float) -> bytes:
    """Receive output; ``b""`` if none comes in time."""
    with trio.move_on_after(within):
        return await session.receive()
    return b""


def checked(verdict: ptykill.Verdict) -> None:
    """Raise RuntimeError unless the verdict says that the session is empty."""
    if not verdict.empty:
        raise RuntimeError(f"survivors: {verdict.survivors}")
