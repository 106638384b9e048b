"""Sessions per second, and what each takes of the machine's processors."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.cases.teardown import GRACE
from benchmarks.hosts import Hosts, Limits, interleave
from benchmarks.loads import IDLE, Load, Loads, idle
from benchmarks.processor import measured
from benchmarks.report import Result
from benchmarks.systems import LEADER, TIERS, Churned, Unavailable
from benchmarks.systems.floor import FLOOR, VERIFIED, compiled
from ptykill.testing import processes

__all__ = ["AT_ONCE", "PAUSE", "churn", "left"]

AT_ONCE = (1, 8, 64)
MODULES = (
    "floor",
    "bare_python",
    *TIERS,
    "trio_process",
    "asyncio_process",
    "go_exec",
    "node_pty",
    "popen",
    "psutil_recipe",
    "pty_process",
    "pexpect_spawn",
    "terminado_manager",
)
ONE, UNIT = "one session", "sessions/s"
PAUSE = "pause"
"""The program that starts so fast that it hardly matters how early it is ended (pause.c)."""


def churn(at_once: int, limits: Limits, program: str = "sleep", *, grace: float = GRACE) -> Result:
    """Have each system spawn and end sessions of a program, so many at a time.

    ``"pause"`` is compiled first. Without a grace they are killed at once, by the systems that have
    no waits of their own.
    """
    end = "ended" if grace else "killed"
    title = f"sessions of {program}, spawned and {end}, {at_once} at a time"
    try:
        if program == PAUSE:
            compiled(PAUSE, "-static")
    except Unavailable as error:
        return Loads(title, [], UNIT, {}, {}, (ONE,), "C", remarks=[f"skipped: {error}"])
    with ExitStack() as stack:
        hosts = Hosts(stack)
        names = [*hosts.start_each(MODULES), *hosts.start_other(limits.other, TIERS)]
        result = Loads(
            title,
            names,
            UNIT,
            hosts.ends,
            {name: FLOOR if hosts.ends[name] == LEADER else VERIFIED for name in names},
            (ONE,),
            "C",
            remarks=hosts.remarks,
        )

        def turn(label: str) -> Load:
            if label == IDLE:
                return idle(limits.turn)
            answer, machine = measured(
                lambda: hosts.ask("churn", label, program, at_once, limits.turn, grace)
            )
            churned = Churned(*answer)
            problems = wrong(churned, machine.forks)
            result.problems += [f"{label}: {each}" for each in problems]
            times = {ONE: [took for _, took in churned.ended]}
            return Load(len(churned.ended), churned.stop - churned.start, machine, times)

        result.rounds = interleave([*names, IDLE], turn, limits, result)
    return result


def wrong(churned: Churned, forks: int) -> list[str]:
    """Return what can't be true of sessions that are said to have been spawned and ended.

    ``forks`` is how many processes the machine has made meanwhile. A leader that is there, by its
    pid and its session's number, has not been ended, or not been reaped.
    """
    pids = [pid for pid, _ in churned.ended]
    problems = []
    if not pids:
        problems.append("no session")
    if len(set(pids)) < len(pids):
        problems.append(f"{len(pids)} sessions have {len(set(pids))} pids")
    if forks < len(pids):
        problems.append(f"{len(pids)} sessions, and only {forks} processes were made")
    return problems + left(pids)


def left(leaders: Sequence[int]) -> list[str]:
    """Return which of these sessions' leaders are there, perhaps as zombies."""
    there = [pid for pid in leaders if (found := processes.look_up(pid)) and found.session == pid]
    return [f"left when it was over: {there}"] if there else []
