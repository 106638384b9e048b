"""Teardown by size: the sessions that end at once, and the other processes of the machine."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.cases.teardown import GRACE, ended, judged
from benchmarks.hosts import START_BOUND, Hosts, Limits, interleave
from benchmarks.report import Curve, Ending, Endings, Result
from benchmarks.systems import TIERS
from benchmarks.systems.floor import FLOOR, VERIFIED
from benchmarks.worker import Worker

__all__ = ["many", "neighbours"]

AT_ONCE = (1, 10, 100, 500, 1000)
QUICKLY = (
    "floor",
    "bare_python",
    "bare_python:session",
    *TIERS,
    "trio_process",
    "asyncio_process",
    "go_exec",
    "node_pty",
)
SLOWLY = ("psutil_recipe", "pty_process", "pexpect_spawn", "terminado_manager", "tmux")
FEW = 10
"""The most sessions for the slow systems: most of them end one after the other."""
OTHERS = (100, 500, 2000, 5000)
"""The numbers of other processes."""
PLANNED = GRACE + 3.0
"""Seconds that a plan of this grace takes at most."""


def many(limits: Limits) -> Result:
    """Time the end of many sessions at once."""
    with ExitStack() as stack:
        hosts = Hosts(stack)
        quick, slow = hosts.start_each(QUICKLY), hosts.start_each(SLOWLY)
        parts = {}
        for count in AT_ONCE:
            if count > limits.largest:
                break
            names = [name for name in quick if name != FLOOR] + slow * (count <= FEW)
            part = Endings(f"{count} at once", names, VERIFIED)

            def turn(label: str, count: int = count, part: Endings = part) -> Ending:
                ending = ended(hosts, part, label, "sleep", GRACE, count=count)
                if judged(label) and (ending.dead or 0) > PLANNED * 1e9:
                    part.problems.append(f"{label}: past its plan: {ending}")
                return ending

            part.rounds = interleave(names, turn, limits, part)
            parts[count] = part
    remark = f"more than {FEW} at once: without {', '.join(SLOWLY)}"
    title = "sessions of sleep, ended at once: from the call to the last answer"
    return Curve(title, "sessions", parts, [*hosts.remarks, remark])


def neighbours(limits: Limits) -> Result:
    """Time the end of a session among growing numbers of other processes."""
    sizes = [size for size in OTHERS if size <= limits.largest]
    with ExitStack() as stack:
        hosts = Hosts(stack)
        names = hosts.start_each(("floor", *TIERS, "trio_process", "psutil_recipe"))
        others = stack.enter_context(Worker([sys.executable, "-m", "benchmarks.idle_processes"]))
        others.answer(START_BOUND)
        parts = {size: Endings(f"among {size:,}", names, FLOOR) for size in sizes}
        half = replace(limits, rounds=max(1, limits.rounds // 2), seconds=limits.seconds / 2)
        # Each size twice, up and down, so that a drift of the machine does not look like growth.
        for size in (*sizes, *reversed(sizes)):
            others.ask(str(size))
            part = parts[size]

            def turn(label: str, part: Endings = part) -> Ending:
                return ended(hosts, part, label, "bash", GRACE)

            part.rounds += interleave(names, turn, half, part)
        others.ask("0")
    title = "bash -i among other processes: from the call to the answer"
    return Curve(title, "processes", parts, hosts.remarks)
