"""ptykill in a trio thread of the benchmark's own, called by `trio.from_thread`."""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

import ptykill
from benchmarks.systems import ENVIRONMENT, Program, Session, Spawn, System
from benchmarks.systems.host_call import CallSession
from benchmarks.systems.ptykill_tier import required

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
