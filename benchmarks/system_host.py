"""A host of sessions: ``python -m benchmarks.system_host MEGABYTES MODULE ...``.

Every system is measured in a process of its own, as in a daemon. A system that forks leaves all
pages of its host write-protected: another system in the same host would pay the page faults.

The first line describes the host. Then it reads requests from stdin, and answers each in JSON.
Times are nanoseconds of the monotonic clock, which all processes share:

    spawn SYSTEM PROGRAM           the time to the return and to the first byte; ends the session
    prepare SYSTEM PROGRAM COUNT   the pids of so many sessions that are ready
    end SYSTEM GRACE               when ending them all was called, and when the call returned
    churn SYSTEM PROGRAM AT_ONCE SECONDS GRACE     `benchmarks.churn.churn`
    burst SYSTEM PROGRAM COUNT     the time until each of so many sessions has written a byte
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial

from benchmarks.churn import churn
from benchmarks.loops import LOOPS, pause, readable, together
from benchmarks.machine import proc_field
from benchmarks.systems import (
    PROGRAMS,
    Churned,
    Session,
    Spawn,
    System,
    check,
    load,
    loop_of,
    ready,
)
from ptykill.testing.observer import Observer

__all__: list[str] = []

MADV_POPULATE_WRITE = 23
"""madvise(2): the effect of a write to every page, several times as fast."""
SETTLE = 1.0
"""Seconds for work that many spawns have deferred."""
FIRST_BYTE = 10.0
"""Seconds that the first byte may take."""


async def main(megabytes: int, modules: Sequence[str]) -> None:
    """Fill the memory, and answer requests from stdin."""
    systems, skipped = load(modules)
    async with AsyncExitStack() as stack:
        held = {
            each.name: Held(each, await stack.enter_async_context(each.open())) for each in systems
        }
        ballast = grow(megabytes)
        resident = proc_field("self/status", "VmRSS")
        ends = {each.name: each.ends for each in systems}
        tell({"resident": resident, "systems": ends, "skipped": skipped})
        async for verb, name, *about in lines():
            try:
                tell(await getattr(held[name], verb)(*about))
            except Exception as error:  # noqa: BLE001 - any error is this system's result
                tell({"error": " ".join(repr(error).split())})
        ballast.close()


async def lines() -> AsyncIterator[list[str]]:
    """Receive requests; the loop runs meanwhile, and wakes only for a request."""
    buffered = b""
    while True:
        await readable(0)
        data = os.read(0, 65_536)
        if not data:
            return
        *whole, buffered = (buffered + data).split(b"\n")
        for line in whole:
            yield line.decode().split("\t")


def tell(answer: object) -> None:
    """Write an answer."""
    print(json.dumps(answer), flush=True)


def grow(megabytes: int) -> mmap.mmap:
    """Return so much private memory, all pages written to, without huge pages."""
    pages = max(1, megabytes * 1_000_000 // mmap.PAGESIZE)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=flags)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    try:
        memory.madvise(MADV_POPULATE_WRITE)
    except OSError:  # before Linux 5.14
        memory[:: mmap.PAGESIZE] = b"x" * pages
    return memory


async def first_byte(session: Session) -> None:
    """Wait until a session has written a byte."""
    bound = time.monotonic() + FIRST_BYTE
    while not await session.read(FIRST_BYTE):
        check(bound, "no byte of output")


class Held:
    """An open system, and the sessions that it has prepared."""

    def __init__(self, system: System, spawn: Spawn) -> None:
        self._system, self._spawn = system, spawn
        self._sessions: list[Session] = []

    async def spawn(self, program: str) -> dict[str, int]:
        """Time the spawning call and the first byte, and then end the session."""
        start = time.perf_counter_ns()
        session = await self._spawn(PROGRAMS[program])
        returned = time.perf_counter_ns()
        with Observer([session.pid], records=False, kills=True):
            await first_byte(session)
            byte = time.perf_counter_ns()
            await session.end(0)
        return {"returned": returned - start, "byte": byte - start}

    async def burst(self, program: str, count: str) -> tuple[int, list[int]]:
        """Spawn sessions at once; return the time until each has written a byte, and their pids."""
        sessions: list[Session] = []

        async def one() -> None:
            sessions.append(await self._spawn(PROGRAMS[program]))

        start = time.perf_counter_ns()
        await together([one] * int(count))
        await together(partial(first_byte, session) for session in sessions)
        took = time.perf_counter_ns() - start
        pids = [session.pid for session in sessions]
        with Observer(pids, records=False, kills=True) as observer:
            if self._system.blocking:
                observer.kill()  # It would end one after the other, each for as long as it sleeps.
            await self._system.end_all(sessions, 0)
        return took, pids

    async def churn(self, program: str, at_once: str, seconds: str, grace: str) -> Churned:
        """Spawn sessions and end them, again and again."""
        return await churn(
            self._system,
            self._spawn,
            PROGRAMS[program],
            at_once=int(at_once),
            seconds=float(seconds),
            grace=float(grace),
        )

    async def prepare(self, program: str, count: str) -> list[int]:
        """Spawn sessions, and wait until they are ready."""
        while len(self._sessions) < int(count):
            self._sessions.append(await self._spawn(PROGRAMS[program]))
        await ready(self._sessions[-1], PROGRAMS[program])
        if len(self._sessions) > 1:
            await pause(SETTLE)
        return [session.pid for session in self._sessions]

    async def end(self, grace: str) -> tuple[int, int]:
        """End all sessions, at once."""
        sessions, self._sessions = self._sessions, []
        if len(sessions) == 1:
            return await sessions[0].end(float(grace))
        return await self._system.end_all(sessions, float(grace))


if __name__ == "__main__":
    LOOPS[loop_of(sys.argv[2:])](partial(main, int(sys.argv[1]), sys.argv[2:]))
