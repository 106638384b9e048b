"""Teardown one session, either way, before the eyes of the observer."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ptykill import Outcome, Verdict
from ptykill.cli.demo.ptyprocess_peer import PtyprocessSession
from ptykill.cli.demo.scenarios import CHAPTERS, Scenario
from ptykill.cli.demo.server import DemoServer, Response
from ptykill.cli.demo.session_setup import DemoError, prepare
from ptykill.cli.demo.timeline import Bar
from ptykill.testing import processes
from ptykill.testing.observer import Observer

__all__ = ["Report", "Teardown", "end_by_ptykill", "end_by_ptyprocess", "find_problems"]

_AFTERWARDS = 0.5
"""Seconds for which ptyprocess's session is watched once it says that it is done: what only takes
a moment more to die is not held against it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What ptykill told of it: the answer over HTTP, and the verdict."""

    session_id: str
    grace: float
    answer: Response
    verdict: Verdict


@dataclasses.dataclass(frozen=True, slots=True)
class Teardown:
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
    report: Report | None = None

    def died(self, since: float, until: float) -> int:
        """Return how many died in that time."""
        return sum(bar.died is not None and since <= bar.died < until for bar in self.bars)


def end_by_ptykill(
    scenario: Scenario, daemon: DemoServer, env: dict[str, str], directory: Path, grace: float
) -> Teardown:
    """Have a session created and deleted over HTTP."""
    session_id, leader = daemon.create(scenario.command, env, directory)
    named = prepare(scenario, leader, daemon.terminal(session_id))
    mark = env["PTYKILL_DEMO"]
    members = _members(named, mark)
    groups = _groups(members)
    names = _names(scenario, named, members)
    with _observing(members) as observer:
        answer = daemon.delete(session_id, grace)
        # Now, and not a moment later: 204 means that it is over.
        observer.record()
        alive = {*observer.alive, *_marked(mark)}
        observer.wait(1.0)
        verdict = daemon.verdict(session_id)
        began = daemon.teardown_started(session_id) - verdict.deliveries[0].at
        killed = [each.at for each in verdict.deliveries if each.what.startswith("KILL")]
        bars = _bars(observer, names, began, *killed)
    claimed = answer.answered - began
    return Teardown(
        scenario,
        bars,
        alive=tuple(Bar(names.get(pid, "?"), pid, None) for pid in sorted(alive)),
        claim=str(answer.status),
        claimed=claimed,
        took=answer.answered - answer.sent,
        end=max(claimed, *(bar.died or 0.0 for bar in bars)),
        groups=groups,
        saved=scenario.saved(directory),
        report=Report(session_id, grace, answer, verdict),
    )


def end_by_ptyprocess(
    scenario: Scenario, env: dict[str, str], directory: Path, *, at_least: float
) -> Teardown:
    """Have such a session made and ended by ptyprocess; watch it for ``at_least`` so long."""
    with PtyprocessSession(scenario, env, directory) as peer:
        members = _members(peer.pids, env["PTYKILL_DEMO"]) - {peer.worker}
        groups = _groups(members)
        names = _names(scenario, peer.pids, members)
        with _observing(members) as observer:
            try:
                returned, called, done = peer.terminate()
                until = max(called + at_least, done + _AFTERWARDS)
                observer.wait(until - time.perf_counter())
                bars = _bars(observer, names, called)
                saved = scenario.saved(directory)
            finally:
                observer.kill()
                observer.wait(1.0)
    return Teardown(
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


def find_problems(teardown: Teardown) -> list[str]:
    """Return what ptykill claims, or the demo of it, and what was not seen."""
    assert teardown.report is not None
    verdict = teardown.report.verdict
    problems = []
    if teardown.report.answer.status != 204:
        problems.append(f"the answer was {teardown.report.answer.status}, not 204")
    if not verdict.empty:
        problems.append(f"the verdict is that something is left: {verdict.survivors}")
    if teardown.alive:
        problems.append(f"alive after the answer: {_told(teardown.alive)}")
    # Not: did not die of SIGKILL. A server may exit because its worker was killed just before it.
    early = [
        bar
        for bar, job in zip(teardown.bars, teardown.scenario.jobs, strict=False)
        if job.deaf and not job.escaped and bar.died is not None and bar.died < verdict.grace
    ]
    if early:
        problems.append(f"deaf to SIGHUP, and yet dead before SIGKILL: {_told(early)}")
    if teardown.scenario.saves and (
        teardown.saved != CHAPTERS or verdict.outcome is not Outcome.GRACEFUL
    ):
        problems.append(f"saved {teardown.saved} of {CHAPTERS}, and was {verdict.outcome.value}")
    return problems


def _members(named: list[int], mark: str) -> set[int]:
    """Return all there are: who was named, who is in the session, who carries its mark."""
    members = {each.pid for each in processes.session_members(named[0])}
    return {*named, *members, *_marked(mark)}


def _marked(mark: str) -> set[int]:
    return {each.pid for each in processes.marked(f"PTYKILL_DEMO={mark}")}


@contextmanager
def _observing(members: set[int]) -> Iterator[Observer]:
    """Observe processes in a thread: this one waits for an answer meanwhile."""
    with Observer(members) as observer:
        if observer.pids != members:
            raise DemoError("a process of a session ended before its time")
        observer.record_in_thread()
        yield observer


def _groups(pids: Iterable[int]) -> int:
    return len({os.getpgid(pid) for pid in pids})


def _names(scenario: Scenario, named: list[int], members: set[int]) -> dict[int, str]:
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in sorted(members)}
    ours = {pid: job.name for pid, job in zip(named, scenario.jobs, strict=True)}
    return {**ours, **{pid: name for pid, name in names.items() if pid not in ours}}


def _bars(observer: Observer, names: dict[int, str], began: float, *kill: float) -> tuple[Bar, ...]:
    """Return each process's life, on an axis that begins then; ``kill`` is when SIGKILL came."""
    bars = []
    for pid, name in names.items():
        at = observer.died.get(pid)
        died = None if at is None else at / 1e9 - began
        cause = observer.cause(pid) if died is not None else ""
        # An old kernel does not tell what somebody else's child died of; the time does.
        killed = cause == "SIGKILL" if cause else any(died is not None and died >= k for k in kill)
        bars.append(Bar(name, pid, died, cause or ("SIGKILL" if killed else "ended"), killed))
    return tuple(bars)


def _told(bars: Iterable[Bar]) -> str:
    return ", ".join(f"{bar.name} ({bar.pid})" for bar in bars)
