"""Spawn sessions and end them for a time, so many at a time: the load of a busy daemon.

Each of so many workers spawns a session, ends it as soon as the spawn has returned, and begins
again. A system in another language does that by itself (`benchmarks.systems.external`).
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

from benchmarks.loops import together
from benchmarks.systems import Churned, Program, Spawn, System

__all__ = ["churn"]


@runtime_checkable
class OwnChurn(Protocol):
    """A ``Spawn`` that has the workers elsewhere."""

    def churn(self, program: Program, at_once: int, seconds: float, grace: float) -> Churned:
        """Do the same."""


async def churn(  # noqa: PLR0913 - what is spawned, how, and for how long
    system: System, spawn: Spawn, program: Program, *, at_once: int, seconds: float, grace: float
) -> Churned:
    """Return the sessions that were spawned and ended; none is begun after so many seconds."""
    if isinstance(spawn, OwnChurn):
        return spawn.churn(program, at_once, seconds, grace)
    ended: list[tuple[int, int]] = []
    start = time.perf_counter_ns()

    async def work() -> None:
        while (begun := time.perf_counter_ns()) < start + seconds * 1e9:
            session = await spawn(program)
            await session.end(grace)
            ended.append((session.pid, time.perf_counter_ns() - begun))

    if system.blocking:
        with ThreadPoolExecutor(at_once) as pool:
            for each in [pool.submit(run_blocking, work()) for _ in range(at_once)]:
                each.result()
    else:
        await together([work] * at_once)
    return Churned(start, time.perf_counter_ns(), ended)


def run_blocking(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that blocks in place of waiting for a loop."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("it waits for a loop, and is not blocking")
