"""The cases. Each returns a `Result`, and keeps to its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.cases.bursts import burst
from benchmarks.cases.calls import calls, delete
from benchmarks.cases.growth import many, neighbours
from benchmarks.cases.http_rates import CLIENTS, requests
from benchmarks.cases.idle import idle
from benchmarks.cases.leaks import leaks
from benchmarks.cases.phases import phases
from benchmarks.cases.pools import pool
from benchmarks.cases.rates import AT_ONCE, PAUSE, churn
from benchmarks.cases.runs import RUNS, runs
from benchmarks.cases.spawning import spawn
from benchmarks.cases.start_up import start_up
from benchmarks.cases.teardown import COOPERATIVE, STUBBORN, cooperative, stubborn, tree
from benchmarks.cases.websocket import FLOODS, floods, output
from benchmarks.hosts import Limits
from benchmarks.report import Result

__all__ = ["CASES", "Case"]


@dataclass(frozen=True, slots=True)
class Case:
    """A case, and its limits in the full and in the quick form; None: it is left out there."""

    about: str
    run: Callable[[Limits], Result]
    full: Limits
    quick: Limits | None


CASES = {
    **{
        name: Case(
            f"teardown of a cooperative {what}",
            partial(cooperative, f"{what}: {COOPERATIVE}", program),
            Limits(rounds, 90),
            quick,
        )
        for name, what, program, rounds, quick in (
            ("sleep", "sleep", "sleep", 40, Limits(4, 8)),
            ("cat", "cat", "cat", 15, None),
            ("bash", "bash -i", "bash", 50, Limits(6, 10)),
            ("python", "interactive python3", "python", 15, None),
            ("vim", "vim", "vim", 15, None),
        )
    },
    "phases": Case("where the time of a kill goes", phases, Limits(100, 30), Limits(10, 5)),
    "stubborn": Case(
        "overshoot past a grace of 100 ms, the leader being deaf to all but SIGKILL",
        partial(stubborn, f"deaf: {STUBBORN}"),
        Limits(15, 70),
        Limits(2, 8),
    ),
    **{
        f"tree-{jobs}{'-deaf' * deaf}": Case(
            f"an interactive bash with {jobs} jobs{', half of them deaf' * deaf}",
            partial(tree, jobs, deaf=deaf),
            Limits(3, 45),
            quick,
        )
        for jobs, deaf, quick in (
            (10, False, None),
            (10, True, Limits(1, 10)),
            (100, False, None),
            (100, True, None),
        )
    },
    "many": Case(
        "many sessions ended at once", many, Limits(5, 120, largest=1000), Limits(1, 6, largest=100)
    ),
    **{
        f"churn-{at_once}": Case(
            f"sessions per second, {at_once} at a time",
            partial(churn, at_once),
            Limits(7, 240),
            quick,
        )
        for at_once, quick in zip(AT_ONCE, (None, Limits(1, 4, turn=0.2), None), strict=True)
    },
    "churn-64-kill": Case(
        "the same, 64 at a time, by SIGKILL at once",
        partial(churn, 64, grace=0.0),
        Limits(7, 240),
        None,
    ),
    "churn-8-pause": Case(
        "the same, 8 at a time, of a program that hardly has to start",
        partial(churn, 8, program=PAUSE),
        Limits(7, 240),
        None,
    ),
    "neighbours": Case(
        "teardown of a cooperative bash among many other processes",
        neighbours,
        Limits(30, 30, largest=5000),
        Limits(6, 5, largest=1000),
    ),
    "spawn": Case(
        "spawning from hosts of several sizes",
        spawn,
        Limits(40, 60, largest=2000),
        Limits(6, 8, largest=500),
    ),
    "burst": Case(
        "many spawns at once, to the last first byte",
        burst,
        Limits(15, 60, largest=64),
        Limits(2, 6, largest=16),
    ),
    "idle": Case(
        "what idle sessions hold", idle, Limits(1, 10, largest=100), Limits(1, 2, largest=20)
    ),
    "pool": Case(
        "what is held after many sessions have ended at once",
        pool,
        Limits(1, 60, largest=500),
        Limits(1, 1, largest=20),
    ),
    "calls": Case(
        "calls by ptykill.blocking and ptykill.aio beside the trio call",
        calls,
        Limits(60, 60),
        Limits(6, 6),
    ),
    "delete": Case("DELETE over HTTP", delete, Limits(60, 60), Limits(6, 8)),
    **{
        f"requests-{clients}": Case(
            f"creates and DELETEs per second, {clients} at a time",
            partial(requests, clients),
            Limits(12, 100),
            quick,
        )
        for clients, quick in zip(CLIENTS, (None, Limits(1, 4, turn=0.3)), strict=True)
    },
    **{
        f"runs-{at_once}": Case(
            f"commands run to their end, {at_once} at a time",
            partial(runs, at_once),
            Limits(7, 90),
            quick,
        )
        for at_once, quick in zip(RUNS, (Limits(1, 4, turn=0.3), None), strict=True)
    },
    "output": Case("output through a WebSocket", output, Limits(10, 40), Limits(3, 8)),
    "floods": Case(f"a DELETE beside {FLOODS} sessions that flood", floods, Limits(30, 60), None),
    "start-up": Case("start-up of the command line", start_up, Limits(20, 60), Limits(5, 15)),
    "leaks": Case("what many sessions leave behind", leaks, Limits(3_000, 30), Limits(300, 4)),
}
"""All cases, by their names on the command line."""
