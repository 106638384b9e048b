"""Deadlines in the host, on a virtual clock with fake sessions."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import AsyncIterator
from typing import NoReturn

import pytest
import structlog
import trio
from trio.testing import MockClock

import ptykill
from ptykill import Deadlines, Elapsed, EndReason, Outcome, Session, State, Supervisor
from ptykill.errors import InvalidArgument, SessionEnded
from ptykill.rules.protocols import Ending
from ptykill.rules.verdict import Caveat
from ptykill.testing import FakeContainment, FakeTier, Member

POLITE = Member(dies_of={"HUP": 0.0})
DEAF = Member()
PLAN = "HUP@session 2s, KILL 3s"


class Faked:
    """A supervisor of fake sessions, and the last one's containment."""

    def __init__(self, supervisor: Supervisor, tier: FakeTier) -> None:
        self.supervisor = supervisor
        self._tier = tier

    async def spawn(self, deadlines: Deadlines | None = None) -> tuple[Session, FakeContainment]:
        """Spawn a session; return it with its containment."""
        session = await self.supervisor.spawn(["x"], plan=PLAN, deadlines=deadlines)
        return session, self._tier.spawned[-1]


@pytest.fixture
async def faked(autojump_clock: MockClock) -> AsyncIterator[Faked]:
    """Open a supervisor."""
    tier = FakeTier(POLITE)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        yield Faked(supervisor, tier)


async def ended_after(session: Session) -> float:
    """Wait until it is over; return the seconds from now on."""
    began = trio.current_time()
    verdict = await session.wait()
    assert verdict.empty
    assert verdict.reason is session.end_reason
    return trio.current_time() - began


@pytest.mark.parametrize("name", ["lifetime", "idle", "detached"])
async def test_each_deadline_ends_the_session_by_its_plan(
    faked: Faked, autojump_clock: MockClock, name: str
) -> None:
    """The reason is in the session and in its verdict; the outcome is that of any plan."""
    session, containment = await faked.spawn(Deadlines(**{name: 60}))
    assert session.end_reason is None
    assert await ended_after(session) == pytest.approx(60)
    assert session.end_reason == name
    assert session.end_requested
    assert session.verdict is not None
    assert session.verdict.outcome is Outcome.GRACEFUL
    assert containment.leader.got == ["HUP"]


async def test_a_deaf_session_is_killed_by_the_plan_of_its_deadline(
    autojump_clock: MockClock,
) -> None:
    """The whole plan follows the deadline."""
    async with ptykill.open_supervisor(containment=FakeTier(DEAF), plan=PLAN) as supervisor:
        session = await supervisor.spawn(["x"], deadlines=Deadlines(lifetime=60))
        assert await ended_after(session) == pytest.approx(62)
        assert session.verdict is not None
        assert session.verdict.outcome is Outcome.KILLED


async def test_without_deadlines_a_session_lives_on(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """That is the default, and nothing asks for its processor time."""
    session, containment = await faked.spawn()
    await trio.sleep(80_000)
    assert session.state is State.RUNNING
    assert not session.deadlines
    assert (containment.deadlines, containment.looks) == ([], 0)


async def test_the_reasons_of_other_ends(faked: Faked, autojump_clock: MockClock) -> None:
    """A request, and a leader that ends by itself."""
    requested, _ = await faked.spawn()
    await requested.terminate()
    assert (requested.end_reason, requested.end_requested) == (EndReason.REQUESTED, True)
    exited, containment = await faked.spawn()
    containment.signal("HUP", ptykill.Reach.LEADER)
    verdict = await exited.wait()
    assert (verdict.reason, exited.end_requested) == (EndReason.EXITED, False)


async def test_a_spawn_replaces_the_defaults_of_its_supervisor(
    autojump_clock: MockClock,
) -> None:
    """All of them: `Deadlines()` has none."""
    defaults = Deadlines(lifetime=60)
    async with ptykill.open_supervisor(containment=FakeTier(), deadlines=defaults) as supervisor:
        assert supervisor.deadlines == defaults
        sessions = [
            await supervisor.spawn(["x"], deadlines=each)
            for each in (None, Deadlines(), Deadlines(idle=90))
        ]
        assert [each.deadlines for each in sessions] == [defaults, Deadlines(), Deadlines(idle=90)]
        await trio.sleep(61)
        assert [each.state for each in sessions] == [State.ENDED, State.RUNNING, State.RUNNING]


async def test_input_and_output_move_the_idle_deadline(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """It counts from the last of them."""
    session, containment = await faked.spawn(Deadlines(idle=60))
    await trio.sleep(50)
    await session.send(b"x")
    await trio.sleep(50)
    containment.terminal.write(b"y")
    assert await ended_after(session) == pytest.approx(60)


async def test_processor_time_moves_it_and_is_looked_at_only_when_it_is_due(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """One look at the spawn, and one at each time that it is due."""
    session, containment = await faked.spawn(Deadlines(idle=60))
    containment.used = 1.0
    await trio.sleep(59)
    assert containment.looks == 1
    assert await ended_after(session) == pytest.approx(61)
    assert containment.looks == 3


async def test_the_detached_time_does_not_run_while_a_client_is_attached(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """With two clients it begins when the second one leaves."""
    session, _ = await faked.spawn(Deadlines(detached=60))
    await trio.sleep(59)
    with session.attach(), session.attach():
        await trio.sleep(1000)
    assert await ended_after(session) == pytest.approx(60)


async def test_deadlines_change_while_the_session_runs(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """They count from when they would have counted before, so one may have passed already."""
    session, _ = await faked.spawn(Deadlines(lifetime=60))
    session.set_deadlines(Deadlines())
    await trio.sleep(100)
    session.set_deadlines(dataclasses.replace(session.deadlines, lifetime=200))
    await trio.sleep(50)
    assert session.state is State.RUNNING
    session.set_deadlines(Deadlines(idle=50))
    assert await ended_after(session) == pytest.approx(0)
    assert session.end_reason is EndReason.IDLE


async def test_a_first_idle_deadline_counts_what_was_computed_before_as_used_at_that_time(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """That takes one look; another change takes none, since the deadline's own look will do."""
    session, containment = await faked.spawn()
    containment.used = 1.0
    await trio.sleep(90)
    containment.terminal.write(b"y")
    await trio.sleep(10)
    session.set_deadlines(Deadlines(idle=50))
    session.set_deadlines(Deadlines(idle=60))
    assert containment.looks == 1
    assert await ended_after(session) == pytest.approx(60)


async def test_deadlines_of_an_end_that_has_begun_do_not_change(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """The caller is told, and nothing else happens; also when the deadline itself began it."""
    session, containment = await faked.spawn(Deadlines(lifetime=60))
    containment.leader.dies_of = {}
    await trio.sleep(61)
    assert session.state is State.STOPPING
    with pytest.raises(SessionEnded):
        session.set_deadlines(Deadlines())
    assert await ended_after(session) == pytest.approx(1)
    with pytest.raises(SessionEnded):
        session.set_deadlines(Deadlines())
    with pytest.raises(InvalidArgument):
        session.set_deadlines(60)  # type: ignore[arg-type]


async def test_a_deadline_does_not_disturb_an_end_that_has_begun(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """The first cause is the reason, and the plan's signals are not sent twice."""
    session, containment = await faked.spawn(Deadlines(lifetime=60, idle=60, detached=60))
    containment.leader.dies_of = {}
    await trio.sleep(59)
    session.request_end()
    assert await ended_after(session) == pytest.approx(2)
    assert session.end_reason is EndReason.REQUESTED
    assert containment.leader.got == ["HUP", "KILL"]


async def test_a_request_joins_the_end_that_a_deadline_has_begun(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """It can only shorten it, and the reason stays the deadline."""
    session, containment = await faked.spawn(Deadlines(lifetime=60))
    containment.leader.dies_of = {}
    await trio.sleep(61)
    verdict = await session.kill()
    assert verdict.reason is EndReason.LIFETIME
    assert containment.leader.got == ["HUP", "KILL"]


async def test_the_spawn_and_each_change_reach_the_keeper(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """Activity does so now and then, and an end that has begun gives it the plan's length."""
    session, containment = await faked.spawn(Deadlines(idle=80, detached=300))
    told = containment.deadlines
    for _ in range(100):
        await session.send(b"x")
        await trio.sleep(0.25)
    assert [elapsed.quiet for _, elapsed in told] == [0.0, 0.0]
    del told[:]
    with session.attach():
        pass
    session.set_deadlines(Deadlines(lifetime=500))
    assert [(each, elapsed.detached) for each, elapsed in told] == [
        (Deadlines(idle=80, detached=300), None),
        (Deadlines(idle=80, detached=300), 0.0),
        (Deadlines(lifetime=500), 0.0),
    ]
    assert told[-1][1].age == pytest.approx(25)
    del told[:]
    await session.terminate()
    assert told == [(Deadlines(lifetime=6), Elapsed())]


@pytest.mark.parametrize("killed", [False, True])
async def test_a_host_that_was_stopped_takes_over_from_the_keeper(
    faked: Faked, autojump_clock: MockClock, *, killed: bool
) -> None:
    """It sends no step again, and SIGKILL when that is due; the reason is the keeper's."""
    session, containment = await faked.spawn(Deadlines(lifetime=60))
    containment.leader.dies_of = {}
    containment.keeper_ends = Ending(EndReason.IDLE, 0.5, killed=killed)
    assert await ended_after(session) == pytest.approx(60 if killed else 60.5)
    assert session.end_reason is EndReason.IDLE
    assert containment.leader.got == ["KILL"]


async def test_deadlines_do_not_change_once_the_keeper_has_begun_the_end(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """The host that was stopped takes over then, and tells the caller."""
    session, containment = await faked.spawn(Deadlines(lifetime=60))
    containment.leader.dies_of = {}
    containment.keeper_ends = Ending(EndReason.LIFETIME, 0.5, killed=False)
    with pytest.raises(SessionEnded):
        session.set_deadlines(Deadlines())
    assert session.state is State.STOPPING
    assert await ended_after(session) == pytest.approx(0.5)
    assert containment.leader.got == ["KILL"]


async def test_a_session_that_the_keeper_has_ended_has_its_reason(
    faked: Faked, autojump_clock: MockClock
) -> None:
    """Though the host sees nothing but an exit."""
    session, containment = await faked.spawn(Deadlines(idle=60))
    containment.keeper_ends = Ending(EndReason.IDLE, 0.5, killed=False)
    containment.signal("HUP", ptykill.Reach.LEADER)
    verdict = await session.wait()
    assert (verdict.reason, verdict.outcome) == (EndReason.IDLE, Outcome.GRACEFUL)


async def test_a_look_that_fails_ends_nothing_and_is_made_again(
    faked: Faked, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle session ends when the look succeeds, and the other deadlines hold all the while."""
    session, containment = await faked.spawn(Deadlines(idle=60, lifetime=300))
    other, _ = await faked.spawn(Deadlines(lifetime=65))

    def fail() -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(containment, "processor_time", fail)
        await trio.sleep(100)
        assert session.state is State.RUNNING
        assert other.end_reason is EndReason.LIFETIME
    assert await ended_after(session) < 61
    assert session.end_reason is EndReason.IDLE
    assert session.verdict is not None
    assert Caveat.INTERNAL_ERROR not in session.verdict.caveats


async def test_one_timer_serves_all_sessions(faked: Faked, autojump_clock: MockClock) -> None:
    """Each ends at its own time, whatever the order in which they were set."""
    seconds = [50, 10, 30, 20, 40]
    began = trio.current_time()
    sessions = [(await faked.spawn(Deadlines(lifetime=each)))[0] for each in seconds]
    ended: list[float] = []

    async def watch(session: Session) -> None:
        await session.wait()
        ended.append(round(trio.current_time() - began))

    async with trio.open_nursery() as nursery:
        for each in sessions:
            nursery.start_soon(watch, each)
    assert ended == sorted(seconds)


async def test_the_log_has_the_reason(faked: Faked, autojump_clock: MockClock) -> None:
    """Each transition has it."""
    session, _ = await faked.spawn(Deadlines(idle=60))
    try:
        with structlog.testing.capture_logs() as events:
            await session.wait()
    finally:
        structlog.reset_defaults()  # The capture leaves structlog configured.
    reasons = [each["reason"] for each in events if each["event"] != "session.delivery"]
    assert reasons == ["idle", "idle"]
