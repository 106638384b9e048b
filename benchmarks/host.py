"""A host of sessions: ``python -m benchmarks.host MEGABYTES MODULE ...``.

Every system is measured in a process of its own, as a daemon would have it: one that forks leaves
all pages of its host write-protected, and whoever shares that host pays a page fault for each that
it touches next.

The first line tells what the host is and has. Then it does what each line on stdin asks for; the
answer is nanoseconds, or what went wrong:

    spawn SYSTEM PROGRAM         how long the spawning call took
    end SYSTEM PROGRAM GRACE     how long the end took of a session that was ready
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager

import trio

from benchmarks.report import proc_field
from benchmarks.systems import PROGRAMS, Spawn, load, ready

__all__: list[str] = []

MADV_POPULATE_WRITE = 23
"""madvise(2): as if every page were written to, and several times as fast."""
BOUND = 20.0
"""Seconds that one session may take."""


async def main(megabytes: int, modules: Sequence[str]) -> None:
    """Grow, and serve stdin. One thing happens at a time here, so a blocking read is fine."""
    systems, skipped = load(modules)
    async with AsyncExitStack() as stack:
        spawns = {each.name: await stack.enter_async_context(each.open()) for each in systems}
        ballast = grow(megabytes)
        resident = proc_field("self/status", "VmRSS")
        print(json.dumps({"resident": resident, "systems": list(spawns), "skipped": skipped}))
        sys.stdout.flush()
        for line in sys.stdin:
            print(await answer(spawns, *line.rstrip("\n").split("\t")), flush=True)
        ballast.close()


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


async def answer(
    spawns: dict[str, Spawn], verb: str, system: str, program: str, grace: str = "0"
) -> str:
    """Do what a line asks for."""
    time_it = {"spawn": time_spawn, "end": time_end}[verb]
    try:
        with trio.fail_after(BOUND):
            return str(await time_it(spawns[system], program, float(grace)))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this system's result
        return " ".join(repr(error).split())


async def time_spawn(spawn: Spawn, program: str, grace: float) -> int:
    """Time the spawning call, and end the session when the clock has stopped."""
    start = time.perf_counter_ns()
    session = await spawn(PROGRAMS[program])
    took = time.perf_counter_ns() - start
    with watched(session.pid):
        await session.end(grace)
    return took


async def time_end(spawn: Spawn, program: str, grace: float) -> int:
    """Time the end of a session that is ready, and see that its leader has been reaped."""
    session = await spawn(PROGRAMS[program])
    with watched(session.pid) as pidfd:
        await ready(session, PROGRAMS[program])
        took = await session.end(grace)
        if signalled(pidfd, 0):
            raise RuntimeError("it returned before the leader was reaped")
    return took


@contextmanager
def watched(pid: int) -> Iterator[int]:
    """Hold a pidfd of a leader, and leave it dead in any case."""
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        signalled(pidfd, signal.SIGKILL)
        os.close(pidfd)


def signalled(pidfd: int, number: int) -> bool:
    """Send a signal (0: none) and return whether the process is there, if only as a zombie."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2:])
