"""A host of sessions: ``python -m benchmarks.host MEGABYTES MODULE ...``.

Every system is measured in a process of its own, as a daemon would have it: one that forks leaves
all pages of its host write-protected, and whoever shares that host pays a page fault for each that
it touches next.

The first line tells what the host is and has. Then it does what each line on stdin asks for; the
answer is nanoseconds, or what went wrong:

    spawn SYSTEM PROGRAM         how long the spawning call took
    end SYSTEM PROGRAM GRACE     how long the end took of a session that was ready
    many SYSTEM PROGRAM COUNT    how long the end took of so many at once, each with two seconds
    idle SYSTEM PROGRAM COUNT    what so many sessions hold that have nothing to do (JSON)
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import trio

from benchmarks.report import proc_field
from benchmarks.systems import PROGRAMS, Session, Spawn, System, load, ready

__all__: list[str] = []

MADV_POPULATE_WRITE = 23
"""madvise(2): as if every page were written to, and several times as fast."""
BOUND = 60.0
"""Seconds that one line may take."""
GRACE = 2.0
SETTLE, WATCH = 1.0, 5.0
"""Seconds in which what a spawn leaves to be done is done, and for which idleness is watched."""
OWN_WAKES = 1
"""How often this process sleeps by itself, to watch."""


async def main(megabytes: int, modules: Sequence[str]) -> None:
    """Grow, and serve stdin. One thing happens at a time here, so a blocking read is fine."""
    systems, skipped = load(modules)
    async with AsyncExitStack() as stack:
        spawns = {each.name: await stack.enter_async_context(each.open()) for each in systems}
        held = {each.name: each for each in systems}
        ballast = grow(megabytes)
        resident = proc_field("self/status", "VmRSS")
        print(json.dumps({"resident": resident, "systems": list(spawns), "skipped": skipped}))
        sys.stdout.flush()
        for line in sys.stdin:
            print(await answer(held, spawns, *line.rstrip("\n").split("\t")), flush=True)
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
    systems: dict[str, System], spawns: dict[str, Spawn], verb: str, name: str, *about: str
) -> str:
    """Do what a line asks for."""
    program, number = about[0], float(about[1]) if about[1:] else 0.0
    try:
        with trio.fail_after(BOUND):
            match verb:
                case "spawn":
                    return str(await time_spawn(spawns[name], program))
                case "many":
                    return str(await time_many(systems[name], spawns[name], program, int(number)))
                case "idle":
                    return json.dumps(await look_at_idle(spawns[name], program, int(number)))
                case _:
                    return str(await time_end(spawns[name], program, number))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this system's result
        return " ".join(repr(error).split())


async def time_spawn(spawn: Spawn, program: str) -> int:
    """Time the spawning call, and end the session when the clock has stopped."""
    start = time.perf_counter_ns()
    session = await spawn(PROGRAMS[program])
    took = time.perf_counter_ns() - start
    with watched(session.pid):
        await session.end(0)
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


async def time_many(system: System, spawn: Spawn, program: str, count: int) -> int:
    """Time the end of many sessions at once, and see that every leader has been reaped."""
    sessions: list[Session] = []
    with ExitStack() as stack:
        pidfds = []
        for _ in range(count):
            sessions.append(await spawn(PROGRAMS[program]))
            pidfds.append(stack.enter_context(watched(sessions[-1].pid)))
        await ready(sessions[-1], PROGRAMS[program])
        await trio.sleep(1)  # What a spawn leaves to be done afterwards is done.
        took = await system.end_all(sessions, GRACE)
        if any(signalled(pidfd, 0) for pidfd in pidfds):
            raise RuntimeError("it returned before every leader was reaped")
    return took


async def look_at_idle(spawn: Spawn, program: str, count: int) -> dict[str, float]:
    """Count what a session holds that does nothing, and how often anybody wakes for it."""
    first = await spawn(PROGRAMS[program])  # What is held once, by the first, is not a session's.
    await trio.sleep(SETTLE)
    before, memory = descriptors(), beside()
    sessions = [await spawn(PROGRAMS[program]) for _ in range(count)]
    await trio.sleep(SETTLE)
    after = descriptors()
    woken = wakes()
    await trio.sleep(WATCH)
    told = {
        "descriptors": (after - before) / count,
        "memory": (beside() - memory) / count,
        "processes": len(own_processes()) / (count + 1),
        # This one's own: it wakes to look.
        "wakes": (wakes() - woken - OWN_WAKES) / WATCH,
    }
    for session in (first, *sessions):
        await session.end(0)
    return told


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len([*Path("/proc/self/fd").iterdir()])


def beside() -> int:
    """Return the proportional memory (bytes, PSS) of what a system has beside its host."""
    total = 0
    for pid in own_processes():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def wakes() -> int:
    """Return how often this process, and those beside it, have gone to sleep by themselves."""
    total = 0
    for pid in (os.getpid(), *own_processes()):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def own_processes() -> list[int]:
    """Return the pids of wardens and keepers below this process."""
    found = []
    left = [os.getpid()]
    while left:
        pid = left.pop()
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if (Path("/proc") / child / "comm").read_text().startswith("ptykill-"):
                found.append(int(child))
                left.append(int(child))
    return found


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
