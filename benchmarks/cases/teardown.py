"""The end of one session: cooperative, deaf, and with a tree of jobs."""

from __future__ import annotations

import shutil
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.hosts import Hosts, Limits, interleave
from benchmarks.report import Ending, Endings, Result
from benchmarks.systems import PROGRAMS, TERMINATORS
from benchmarks.systems.floor import FLOOR

__all__ = [
    "COOPERATIVE",
    "GRACE",
    "STUBBORN",
    "cooperative",
    "ended",
    "judged",
    "stubborn",
    "tree",
]

COOPERATIVE = "from the call"
STUBBORN = "from the end of the grace (100 ms)"

GRACE = 2.0
"""Seconds of grace for a cooperative session."""
SHORT_GRACE = 0.1
"""Seconds of grace for a deaf one; ptyprocess has no other."""
IN_A_ROW = 3
"""Sessions that a system ends in one turn after the first, unobserved."""
SLOW = 0.1
"""Seconds: a system that needs more for the first, all in all, ends no further ones."""


def cooperative(title: str, program: str, limits: Limits) -> Result:
    """Time the end of sessions whose leader dies of SIGHUP."""
    needs = PROGRAMS[program].needs
    if needs and shutil.which(needs) is None:
        return Endings(title, [], FLOOR, [f"skipped: {needs} is not on PATH"])
    with ExitStack() as stack:
        hosts = Hosts(stack)
        result = Endings(title, hosts.start_each(TERMINATORS), FLOOR, hosts.remarks)
        warm: dict[str, list[int]] = {name: [] for name in result.names}

        def turn(label: str) -> Ending:
            began = time.monotonic()
            ending = ended(hosts, result, label, program, GRACE)
            if time.monotonic() - began < SLOW:
                row = [hosts.end_unobserved(label, program, GRACE) for _ in range(IN_A_ROW)]
                warm[label].append(round(statistics.median(row)))
            return ending

        result.rounds = interleave(result.names, turn, limits, result)
    for number in range(len(result.rounds)):
        result.warm.append(
            {
                name: times[-len(result.rounds) :][number]
                for name, times in warm.items()
                if len(times) >= len(result.rounds)
            }
        )
    return result


def stubborn(title: str, limits: Limits) -> Result:
    """Time the end of sessions whose leader dies of SIGKILL alone, less the grace."""
    with ExitStack() as stack:
        hosts = Hosts(stack)
        result = Endings(title, hosts.start_each(TERMINATORS), FLOOR, hosts.remarks)

        def turn(label: str) -> Ending:
            return past(ended(hosts, result, label, "deaf", SHORT_GRACE), SHORT_GRACE)

        result.rounds = interleave(result.names, turn, limits, result)
    return result


def tree(jobs: int, limits: Limits, *, deaf: bool) -> Result:
    """Count the members of a large session that are left alive, and time the answer."""
    with ExitStack() as stack:
        hosts = Hosts(stack)
        result = Endings(
            f"bash -i with {jobs} jobs{', half of them deaf' * deaf}: from the call"
            + f", with a grace of {SHORT_GRACE * 1000:.0f} ms" * deaf,
            hosts.start_each(TERMINATORS),
            FLOOR,
            hosts.remarks,
        )
        program, grace = f"tree {jobs}{', half deaf' * deaf}", SHORT_GRACE if deaf else GRACE
        result.rounds = interleave(
            result.names,
            lambda label: ended(hosts, result, label, program, grace),
            limits,
            result,
        )
    return result


def ended(  # noqa: PLR0913 - what is ended, and by whom
    hosts: Hosts, result: Endings, label: str, program: str, grace: float, *, count: int = 1
) -> Ending:
    """Have sessions ended; a broken promise of ptykill's is a problem."""
    ending = hosts.end(label, program, grace, count)
    if judged(label) and (ending.left or not ending.reaped):
        result.problems.append(f"{label}, {program}: not over at its answer: {ending}")
    return ending


def judged(label: str) -> bool:
    """Return whether a system is ptykill."""
    return label.startswith(("ptykill", "Host"))


def past(ending: Ending, grace: float) -> Ending:
    """Return an ending with times from the end of the grace."""
    nanoseconds = round(grace * 1e9)
    dead = None if ending.dead is None else ending.dead - nanoseconds
    return replace(ending, answered=ending.answered - nanoseconds, dead=dead)
