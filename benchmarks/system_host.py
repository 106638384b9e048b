"""A host of sessions: ``python -m benchmarks.system_host MEGABYTES MODULE ...``.

Every system is measured in a process of its own, as a daemon would have it: one that forks leaves
all pages of its host write-protected, and whoever shares that host pays a page fault for each that
it touches next.

The first line tells what the host is and has. Then it does what each line on stdin asks for, and
answers in JSON; times are nanoseconds of the monotonic clock, which all processes share:

    spawn SYSTEM PROGRAM           how long the call took, and how long the first byte, ends it
    prepare SYSTEM PROGRAM COUNT   the pids of so many sessions that are ready
    end SYSTEM GRACE               when the end of them all was called for, and when it was told
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

from benchmarks.loops import LOOPS, pause, readable
from benchmarks.machine import proc_field
from benchmarks.systems import PROGRAMS, Session, Spawn, System, check, load, loop_of, ready
from ptykill.testing.observer import Observer

__all__: list[str] = []

MADV_POPULATE_WRITE = 23
"""madvise(2): as if every page were written to, and several times as fast."""
SETTLE = 1.0
"""Seconds in which what many spawns leave to be done is done."""
FIRST_BYTE = 10.0
"""Seconds that it may take."""


async def main(megabytes: int, modules: Sequence[str]) -> None:
    """Grow, and serve stdin."""
    systems, skipped = load(modules)
    async with AsyncExitStack() as stack:
        held = {
            each.name: Held(each, await stack.enter_async_context(each.open())) for each in systems
        }
        ballast = grow(megabytes)
        resident = proc_field("self/status", "VmRSS")
        tell({"resident": resident, "systems": list(held), "skipped": skipped})
        async for verb, name, *about in lines():
            try:
                tell(await getattr(held[name], verb)(*about))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this system's result
                tell({"error": " ".join(repr(error).split())})
        ballast.close()


async def lines() -> AsyncIterator[list[str]]:
    """Receive what is asked for; the loop runs meanwhile, and wakes for nothing else."""
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
    """Answer."""
    print(json.dumps(answer), flush=True)


def grow(megabytes: int) -> mmap.mmap:
    """Return so much memory, private and written to, in pages of 4 kB whatever the kernel likes."""
    pages = max(1, megabytes * 1_000_000 // mmap.PAGESIZE)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=flags)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    try:
        memory.madvise(MADV_POPULATE_WRITE)
    except OSError:  # before Linux 5.14
        memory[:: mmap.PAGESIZE] = b"x" * pages
    return memory


class Held:
    """A system, open, and the sessions that it has been asked to prepare."""

    def __init__(self, system: System, spawn: Spawn) -> None:
        self._system, self._spawn = system, spawn
        self._sessions: list[Session] = []

    async def spawn(self, program: str) -> dict[str, int]:
        """Time the spawning call and the first byte, and end the session when both have been."""
        start = time.perf_counter_ns()
        session = await self._spawn(PROGRAMS[program])
        returned = time.perf_counter_ns()
        with Observer([session.pid], records=False, kills=True):
            while not await session.read(FIRST_BYTE):
                check(start / 1e9 + FIRST_BYTE, "no byte of output")
            byte = time.perf_counter_ns()
            await session.end(0)
        return {"returned": returned - start, "byte": byte - start}

    async def prepare(self, program: str, count: str) -> list[int]:
        """Spawn, and wait until they are ready."""
        while len(self._sessions) < int(count):
            self._sessions.append(await self._spawn(PROGRAMS[program]))
        await ready(self._sessions[-1], PROGRAMS[program])
        if len(self._sessions) > 1:
            await pause(SETTLE)
        return [session.pid for session in self._sessions]

    async def end(self, grace: str) -> tuple[int, int]:
        """End them all, at once."""
        sessions, self._sessions = self._sessions, []
        if len(sessions) == 1:
            return await sessions[0].end(float(grace))
        return await self._system.end_all(sessions, float(grace))


if __name__ == "__main__":
    LOOPS[loop_of(sys.argv[2:])](partial(main, int(sys.argv[1]), sys.argv[2:]))
