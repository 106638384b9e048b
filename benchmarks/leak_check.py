"""Does anything leak: ``python -m benchmarks.leak_check SESSIONS SECONDS`` prints its counts.

It ends a session as soon as it is spawned, and waits for one that ends by itself, by turns.
Everything is counted inside the supervisor, after the first sessions (which may fill caches) and
after the last; and around it, before it is opened and after it was closed. Another one is opened
and closed before, since the first holds ``/proc`` open for the whole process. A count is taken when
nothing changes any more: a keeper whose session has ended exits a moment later.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import trio

import ptykill
from benchmarks.systems import ENVIRONMENT, PROGRAMS

__all__ = ["Counts", "LeakCounts"]

FIRST = 20
"""Sessions before the first count."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What this process holds: descriptors, threads, and descendants dead and alive."""

    descriptors: int
    threads: int
    zombies: int
    processes: int


@dataclass(frozen=True, slots=True)
class LeakCounts:
    """The result of a run; ``sessions`` is smaller than asked for if the time was up."""

    sessions: int
    seconds: float
    around: tuple[Counts, Counts]
    inside: tuple[Counts, Counts]
    resident: tuple[int, int]


async def main(sessions: int, seconds: float) -> LeakCounts:
    """Spawn and end, and count."""
    async with ptykill.open_supervisor():
        pass
    before = await settled()
    async with ptykill.open_supervisor() as supervisor:
        # From then on a keeper is idle whenever a session is spawned, so no other one is started.
        async with trio.open_nursery() as two_at_once:
            for number in range(2):
                two_at_once.start_soon(one_session, supervisor, number)
        for number in range(FIRST):
            await one_session(supervisor, number)
        first, first_resident = await settled(), resident()
        began, done = time.monotonic(), 0
        while done < sessions and time.monotonic() < began + seconds:
            await one_session(supervisor, done)
            done += 1
        took = time.monotonic() - began
        last, last_resident = await settled(), resident()
    return LeakCounts(
        done, took, (before, await settled()), (first, last), (first_resident, last_resident)
    )


async def one_session(supervisor: ptykill.Supervisor, number: int) -> None:
    """Run one session, from its spawn to its verdict."""
    if number % 2:
        session = await supervisor.spawn(["true"], env=ENVIRONMENT)
        verdict = await session.wait()
    else:
        session = await supervisor.spawn(PROGRAMS["sleep"].argv, env=ENVIRONMENT)
        verdict = await session.terminate(grace=1.0)
    if not verdict.empty:
        raise RuntimeError(f"survivors: {verdict.survivors}")


async def settled() -> Counts:
    """Count until two counts are equal and there is no zombie; return the last."""
    counts = count()
    for _ in range(50):
        await trio.sleep(0.1)
        before, counts = counts, count()
        if before == counts and not counts.zombies:
            break
    return counts


def count() -> Counts:
    """Count everything now."""
    states = list(descendants(Path("/proc/self")))
    return Counts(
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        threads=len(list(Path("/proc/self/task").iterdir())),
        zombies=states.count("Z"),
        processes=len(states) - states.count("Z"),
    )


def descendants(process: Path) -> list[str]:
    """Return the state of each descendant of a process."""
    states = []
    for children in process.glob("task/*/children"):
        pids = []
        with suppress(OSError):
            pids = children.read_text().split()
        for pid in pids:
            child = Path("/proc", pid)
            with suppress(OSError):
                states.append((child / "stat").read_text().rpartition(") ")[2][0])
                states += descendants(child)
    return states


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    print(json.dumps(asdict(trio.run(main, int(sys.argv[1]), float(sys.argv[2])))))
