"""End one session, by ptykill or by ptyprocess, and observe its processes."""

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
"""Seconds for which ptyprocess's session is observed after `terminate` has returned, so that a
process that dies a moment later is not counted as left alive."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What ptykill reported: the answer over HTTP, and the verdict."""

    session_id: str
    grace: float
    answer: Response
    verdict: Verdict


@dataclasses.dataclass(frozen=True, slots=True)
class Teardown:
    """How one session ended. Times are seconds since the first signal, or the call."""

    scenario: Scenario
    bars: tuple[Bar, ...]
    alive: tuple[Bar, ...]
    """The processes that were alive at the answer; for ptyprocess, when the observation ended."""
    answer: str
    """The status of ptykill's answer, or what ptyprocess's `terminate` returned."""
    answered_at: float
    took: float
    """From the request to the answer."""
    end: float
    """When the observation ended."""
    groups: int
    """How many process groups the session had."""
    saved: int | None
    report: Report | None = None

    def died(self, since: float, until: float) -> int:
        """Return how many processes died in that time."""
        return sum(bar.died is not None and since <= bar.died < until for bar in self.bars)


def end_by_ptykill(
    scenario: Scenario, daemon: DemoServer, env: dict[str, str], directory: Path, grace: float
) -> Teardown:
    """Create a session over HTTP, and delete it."""
    session_id, leader = daemon.create(scenario.command, env, directory)
    named = prepare(scenario, leader, daemon.terminal(session_id))
    mark = env["PTYKILL_DEMO"]
    members = _members(named, mark)
    groups = _groups(members)
    names = _names(scenario, named, members)
    with _observing(members) as observer:
        answer = daemon.delete(session_id, grace)
        # At once: 204 says that no process is left.
        observer.record()
        alive = {*observer.alive, *_marked(mark)}
        observer.wait(1.0)
        verdict = daemon.verdict(session_id)
        began = daemon.teardown_started(session_id) - verdict.deliveries[0].at
        killed = [each.at for each in verdict.deliveries if each.what.startswith("KILL")]
        bars = _bars(observer, names, began, *killed)
    answered_at = answer.answered - began
    return Teardown(
        scenario,
        bars,
        alive=tuple(Bar(names.get(pid, "?"), pid, None) for pid in sorted(alive)),
        answer=str(answer.status),
        answered_at=answered_at,
        took=answer.answered - answer.sent,
        end=max(answered_at, *(bar.died or 0.0 for bar in bars)),
        groups=groups,
        saved=scenario.saved(directory),
        report=Report(session_id, grace, answer, verdict),
    )


def end_by_ptyprocess(
    scenario: Scenario, env: dict[str, str], directory: Path, *, at_least: float
) -> Teardown:
    """Have ptyprocess spawn such a session and end it; observe it for ``at_least`` so long."""
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
        answer=str(returned),
        answered_at=done - called,
        took=done - called,
        end=until - called,
        groups=groups,
        saved=saved,
    )


def find_problems(teardown: Teardown) -> list[str]:
    """Return what ptykill, or the demo, claims about this teardown and the observer did not see."""
    assert teardown.report is not None
    verdict = teardown.report.verdict
    problems = []
    if teardown.report.answer.status != 204:
        problems.append(f"the answer was {teardown.report.answer.status}, not 204")
    if not verdict.empty:
        problems.append(f"the verdict says that something is left: {verdict.survivors}")
    if teardown.alive:
        problems.append(f"alive after the answer: {_list(teardown.alive)}")
    # They need not die of SIGKILL: a server may exit because its worker was killed before it.
    early = [
        bar
        for bar, job in zip(teardown.bars, teardown.scenario.jobs, strict=False)
        if job.deaf and not job.escaped and bar.died is not None and bar.died < verdict.grace
    ]
    if early:
        problems.append(f"deaf to SIGHUP, and yet dead before SIGKILL: {_list(early)}")
    if teardown.scenario.saves and (
        teardown.saved != CHAPTERS or verdict.outcome is not Outcome.GRACEFUL
    ):
        problems.append(f"saved {teardown.saved} of {CHAPTERS}, and was {verdict.outcome.value}")
    return problems


def _members(named: list[int], mark: str) -> set[int]:
    """Return all processes of a session: its jobs, its members, and all with its mark."""
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
    """Return a bar for each process, on an axis from ``began``; ``kill``: times of SIGKILL."""
    bars = []
    for pid, name in names.items():
        at = observer.died.get(pid)
        died = None if at is None else at / 1e9 - began
        cause = observer.cause(pid) if died is not None else ""
        # An old kernel does not say what another process's child died of: then the time decides.
        killed = cause == "SIGKILL" if cause else any(died is not None and died >= k for k in kill)
        bars.append(Bar(name, pid, died, cause or ("SIGKILL" if killed else "ended"), killed))
    return tuple(bars)


def _list(bars: Iterable[Bar]) -> str:
    return ", ".join(f"{bar.name} ({bar.pid})" for bar in bars)
