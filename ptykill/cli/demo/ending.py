"""Ending one session, either way, before the eyes of the onlooker."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable
from pathlib import Path

from ptykill import Outcome, Verdict
from ptykill.cli.demo.daemon import Answer, Daemon
from ptykill.cli.demo.onlooker import Onlooker, in_session, marked
from ptykill.cli.demo.rival import Rival
from ptykill.cli.demo.scenarios import CHAPTERS, Scenario
from ptykill.cli.demo.setting import set_up
from ptykill.cli.demo.timeline import Bar

__all__ = ["Ending", "Told", "by_ptykill", "by_ptyprocess", "problems_of"]

_AFTERWARDS = 0.5
"""Seconds for which ptyprocess's session is watched once it says that it is done: what only takes
a moment more to die is not held against it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What ptykill told of it: the answer over HTTP, and the verdict."""

    session_id: str
    grace: float
    answer: Answer
    verdict: Verdict


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How one session ended, in seconds since the first was signalled."""

    scenario: Scenario
    bars: tuple[Bar, ...]
    alive: tuple[Bar, ...]
    """Who lived when it was said to be over; for ptyprocess, when the watch ended."""
    claim: str
    """What was said."""
    claimed: float
    """When it was said."""
    took: float
    """From the request to that."""
    end: float
    """When the watch ended."""
    groups: int
    """How many process groups the session had."""
    saved: int | None
    told: Told | None = None

    def died(self, since: float, until: float) -> int:
        """Return how many died in that time."""
        return sum(bar.died is not None and since <= bar.died < until for bar in self.bars)


def by_ptykill(
    scenario: Scenario, daemon: Daemon, env: dict[str, str], directory: Path, grace: float
) -> Ending:
    """Have a session created and deleted over HTTP."""
    session_id, leader = daemon.create(scenario.command, env, directory)
    named = set_up(scenario, leader, daemon.terminal(session_id))
    mark = env["PTYKILL_DEMO"]
    members = _members(named, mark)
    groups = _groups(members)
    names = _names(scenario, named, members)
    with Onlooker(members) as onlooker:
        answer = daemon.delete(session_id, grace)
        # Now, and not a moment later: 204 means that it is over.
        alive = {*onlooker.alive(), *marked(mark)}
        onlooker.wait_all_dead(1.0)
        verdict = daemon.verdict(session_id)
        began = daemon.began(session_id) - verdict.deliveries[0].at
        killed = [each.at for each in verdict.deliveries if each.what.startswith("KILL")]
        bars = _bars(onlooker, names, onlooker.deaths, began, *killed)
    claimed = answer.answered - began
    return Ending(
        scenario,
        bars,
        alive=tuple(Bar(names.get(pid, "?"), pid, None) for pid in sorted(alive)),
        claim=str(answer.status),
        claimed=claimed,
        took=answer.answered - answer.sent,
        end=max(claimed, *(bar.died or 0.0 for bar in bars)),
        groups=groups,
        saved=scenario.saved(directory),
        told=Told(session_id, grace, answer, verdict),
    )


def by_ptyprocess(
    scenario: Scenario, env: dict[str, str], directory: Path, *, at_least: float
) -> Ending:
    """Have such a session made and ended by ptyprocess; watch it for ``at_least`` so long."""
    with Rival(scenario, env, directory) as rival:
        members = _members(rival.pids, env["PTYKILL_DEMO"]) - {rival.stage}
        groups = _groups(members)
        names = _names(scenario, rival.pids, members)
        with Onlooker(members) as onlooker:
            try:
                returned, called, done = rival.terminate()
                until = max(called + at_least, done + _AFTERWARDS)
                onlooker.wait_all_dead(until - time.perf_counter())
                alive = onlooker.alive()
                deaths = {p: at for p, at in onlooker.deaths.items() if p not in alive}
                bars = _bars(onlooker, names, deaths, called)
                saved = scenario.saved(directory)
            finally:
                onlooker.kill()
                onlooker.wait_all_dead(1.0)
    return Ending(
        scenario,
        bars,
        alive=tuple(bar for bar in bars if bar.died is None),
        claim=str(returned),
        claimed=done - called,
        took=done - called,
        end=until - called,
        groups=groups,
        saved=saved,
    )


def problems_of(ending: Ending) -> list[str]:
    """Return what ptykill claims, or the demo of it, and what was not seen."""
    assert ending.told is not None
    verdict = ending.told.verdict
    problems = []
    if ending.told.answer.status != 204:
        problems.append(f"the answer was {ending.told.answer.status}, not 204")
    if not verdict.empty:
        problems.append(f"the verdict is that something is left: {verdict.survivors}")
    if ending.alive:
        problems.append(f"alive after the answer: {_told(ending.alive)}")
    # Not: did not die of SIGKILL. A server may exit because its worker was killed just before it.
    early = [
        bar
        for bar, job in zip(ending.bars, ending.scenario.jobs, strict=False)
        if job.deaf and not job.escaped and bar.died is not None and bar.died < verdict.grace
    ]
    if early:
        problems.append(f"deaf to SIGHUP, and yet dead before SIGKILL: {_told(early)}")
    if ending.scenario.saves and (
        ending.saved != CHAPTERS or verdict.outcome is not Outcome.GRACEFUL
    ):
        problems.append(f"saved {ending.saved} of {CHAPTERS}, and was {verdict.outcome.value}")
    return problems


def _members(named: list[int], mark: str) -> set[int]:
    """Return all there are: who was named, who is in the session, who carries its mark."""
    return {*named, *in_session(named[0]), *marked(mark)}


def _groups(pids: Iterable[int]) -> int:
    return len({os.getpgid(pid) for pid in pids})


def _names(scenario: Scenario, named: list[int], members: set[int]) -> dict[int, str]:
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in sorted(members)}
    ours = {pid: job.name for pid, job in zip(named, scenario.jobs, strict=True)}
    return {**ours, **{pid: name for pid, name in names.items() if pid not in ours}}


def _bars(
    onlooker: Onlooker, names: dict[int, str], deaths: dict[int, float], began: float, *kill: float
) -> tuple[Bar, ...]:
    """Return each process's life, on an axis that begins then; ``kill`` is when SIGKILL came."""
    bars = []
    for pid, name in names.items():
        died = deaths[pid] - began if pid in deaths else None
        cause = onlooker.cause(pid) if died is not None else ""
        # An old kernel does not tell what somebody else's child died of; the time does.
        killed = cause == "SIGKILL" if cause else any(died is not None and died >= k for k in kill)
        bars.append(Bar(name, pid, died, cause or ("SIGKILL" if killed else "ended"), killed))
    return tuple(bars)


def _told(bars: Iterable[Bar]) -> str:
    return ", ".join(f"{bar.name} ({bar.pid})" for bar in bars)
