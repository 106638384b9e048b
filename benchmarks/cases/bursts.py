"""Many spawns at once: the time until each session has written its first byte."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.cases.rates import left
from benchmarks.hosts import Hosts, Limits, interleave
from benchmarks.report import Result, Timings
from benchmarks.systems import TIERS
from benchmarks.systems.posix_spawn import POSIX_SPAWN

__all__ = ["burst"]

MODULES = (
    POSIX_SPAWN,
    *TIERS,
    "trio_process",
    "asyncio_process",
    "pty_process",
    "terminado_manager",
)
"""Those in other languages are left out: their programs read the last session's terminal alone."""
PROGRAM = "first byte"


def burst(limits: Limits) -> Result:
    """Time bursts of spawns; one that spawns one after the other blocks its loop for all."""
    count = limits.largest
    with ExitStack() as stack:
        hosts = Hosts(stack)
        names = [*hosts.start_each(MODULES), *hosts.start_other(limits.other, TIERS)]
        result = Timings(
            f"{count} spawns at once: from the first call to the last session's first byte",
            names,
            {f"/ {POSIX_SPAWN}": dict.fromkeys(names, POSIX_SPAWN)},
            hosts.remarks,
        )

        def turn(label: str) -> int:
            took, pids = hosts.ask("burst", label, PROGRAM, count)
            result.problems += [f"{label}: {each}" for each in wrong(pids, count)]
            return int(took)

        result.rounds = interleave(names, turn, limits, result)
    return result


def wrong(pids: list[int], count: int) -> list[str]:
    """Return what can't be true of so many sessions that were spawned, and have been ended."""
    problems = []
    if len(set(pids)) != count:
        problems.append(f"{len(set(pids))} sessions of {count}")
    return problems + left(pids)
