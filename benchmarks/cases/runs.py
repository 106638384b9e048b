"""Commands per second by `run`, beside `subprocess.run` and asyncio's subprocesses."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack

from benchmarks.hosts import START_BOUND, Limits, interleave
from benchmarks.loads import IDLE, Load, Loads, idle
from benchmarks.processor import measured
from benchmarks.report import Result
from benchmarks.runners import KINDS
from benchmarks.worker import Worker

__all__ = ["RUNS", "runs"]

RUNS = (1, 50)
REFERENCE = {1: "subprocess.run", 50: "create_subprocess_exec"}
LEADER, ALL = "the command", "all, proven"
ONE = "one run"


def runs(at_once: int, limits: Limits) -> Result:
    """Have each way run ``true``, so many at a time."""
    with ExitStack() as stack:
        program = [sys.executable, "-m", "benchmarks.runners"]
        workers = {kind: stack.enter_context(Worker([*program, kind])) for kind in KINDS}
        for each in workers.values():
            each.answer(START_BOUND)
        result = Loads(
            f"runs of true, {at_once} at a time",
            list(KINDS),
            "runs/s",
            {kind: LEADER if "sub" in kind else ALL for kind in KINDS},
            dict.fromkeys(KINDS, REFERENCE[at_once]),
            (ONE,),
            REFERENCE[at_once],
        )

        def turn(label: str) -> Load:
            if label == IDLE:
                return idle(limits.turn)
            asked = f"{limits.turn} {at_once}"
            answer, machine = measured(lambda: workers[label].ask(asked))
            elapsed, times = json.loads(answer)
            return Load(len(times), elapsed, machine, {ONE: times})

        result.rounds = interleave([*result.names, IDLE], turn, limits, result)
    return result
