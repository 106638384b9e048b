"""The phases of a kill, and the time of each."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from itertools import pairwise

from benchmarks.hosts import START_BOUND, Limits, interleave
from benchmarks.report import Result, Timings
from benchmarks.worker import Worker
from ptykill.system.containment import why_not
from ptykill.testing.observer import Observer

__all__ = ["phases"]

PHASES = {
    "asked": "ptykill, up to its signaller",
    "sent": "the signals are sent",
    "dead": "bash exits, and the kernel frees it",
    "woken": "the keeper reports to the host",
    "answered": "ptykill, up to the verdict",
}
"""The phase before each of these moments."""
WITHOUT_KEEPER = {name: text for name, text in PHASES.items() if name != "dead"} | {
    "woken": "bash exits, the kernel frees it and wakes the host"
}
"""Without a keeper, the kernel tells host and observer at the same time: one phase less."""
TIERS = {"session": WITHOUT_KEEPER, "keeper": PHASES, "cgroup": PHASES}


def phases(limits: Limits) -> Result:
    """Time the phases of the end of a ``bash -i``."""
    result = Timings("bash -i, phase by phase", [], {})
    with ExitStack() as stack:
        workers = {}
        for tier in TIERS:
            if (reason := why_not(tier)) is not None:
                result.remarks.append(f"{tier}: skipped, {reason}")
                continue
            worker = stack.enter_context(
                Worker([sys.executable, "-m", "benchmarks.kill_phases", tier])
            )
            worker.answer(START_BOUND)
            workers[tier] = worker
        rounds = interleave(list(workers), lambda tier: one(workers[tier]), limits, result)
    for tier in workers:
        result.names += [f"{tier}: {phase}" for phase in TIERS[tier].values()]
    for taken in rounds:
        between: dict[str, int] = {}
        for tier, noted in taken.items():
            for before, after in pairwise(("called", *TIERS[tier])):
                between[f"{tier}: {TIERS[tier][after]}"] = noted[after] - noted[before]
        result.rounds.append(between)
    return result


def one(worker: Worker) -> dict[str, int]:
    """Return the moments of one kill."""
    pid = json.loads(worker.ask("prepare"))
    with Observer([pid], kills=True) as observer:
        noted: dict[str, int] = json.loads(worker.ask("end", observer=observer))
        observer.wait(1)
        return {**noted, "dead": observer.died[pid]}
