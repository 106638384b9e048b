"""ptykill in a trio thread of the benchmark's own, called by `trio.from_thread`."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

import ptykill
from benchmarks.systems import ENVIRONMENT, Program, Session, Span, Spawn, System
from benchmarks.systems.ptykill_tier import checked, receive, required

__all__ = ["LOOP", "systems"]

LOOP = "asyncio"
"""A thread with a trio run of its own can't use `trio.from_thread`."""


def systems(tier: str) -> list[System]:
    """Return the one system."""
    required(tier)
    return [System(f"trio.from_thread, {tier}", partial(open_thread, tier))]


@asynccontextmanager
async def open_thread(tier: str) -> AsyncIterator[Spawn]:
    """Hold a thread with a supervisor in it."""
    opened: queue.SimpleQueue[tuple[Callable[..., Any], trio.Event, ptykill.Supervisor]]
    opened = queue.SimpleQueue()

    async def main() -> None:
        async with ptykill.open_supervisor(containment=tier) as supervisor:
            token, over = trio.lowlevel.current_trio_token(), trio.Event()
            opened.put((partial(trio.from_thread.run, trio_token=token), over, supervisor))
            await over.wait()

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    run, over, supervisor = opened.get()

    async def spawn(program: Program) -> Session:
        call = partial(supervisor.spawn, program.argv, env=ENVIRONMENT)
        return CallSession(run, run(call))

    async def leave() -> None:
        over.set()

    try:
        yield spawn
    finally:
        run(leave)
        thread.join()


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
