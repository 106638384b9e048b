"""Where the time of a kill goes."""

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

STAGES = {
    "asked": "ptykill, up to its signaller",
    "sent": "the signals are sent",
    "dead": "bash leaves, and the kernel takes it apart",
    "woken": "the host is told, by the keeper",
    "answered": "ptykill, up to the verdict",
}
"""What happens until each of these moments."""
TOLD_BY_THE_KERNEL = {name: text for name, text in STAGES.items() if name != "dead"} | {
    "woken": "bash leaves, the kernel takes it apart and tells the host"
}
"""Without a keeper, host and observer are told at the same time, and the observer no sooner."""
TIERS = {"session": TOLD_BY_THE_KERNEL, "keeper": STAGES, "cgroup": STAGES}


def phases(limits: Limits) -> Result:
    """Take ``bash -i`` apart: the time between each moment and the next."""
    result = Timings("bash -i, stage by stage", [], {})
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
        result.names += [f"{tier}: {told}" for told in TIERS[tier].values()]
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
