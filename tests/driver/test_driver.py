"""The driver on a virtual clock with fake sessions: plans, waits, failures, and callers."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import pytest
import structlog
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import ptykill
from ptykill import Leftovers, Outcome, Plan, Reach, Signal, State, Step, Target, log
from ptykill.engine.records import MOST_BYTES
from ptykill.engine.session import spawn_number
from ptykill.rules.command import Command
from ptykill.rules.protocols import Ending, Handover, Spawned
from ptykill.rules.verdict import EndReason
from ptykill.testing import FakeTier, Member

DEAF = Member()
POLITE = Member(dies_of={"HUP": 0.0})
SLOW = Member(dies_of={"HUP": 0.5})
UNKILLABLE = Member(dies_of={"KILL": math.inf})


def on_virtual_clock(main: Callable[[], Awaitable[None]]) -> None:
    """Run an async function on a clock that jumps whenever no task can run."""
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_polite_session_ends_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """The grace ends when every process has died."""
    async with ptykill.open_supervisor(containment=FakeTier(POLITE)) as supervisor:
        session = await supervisor.spawn(["x"])
        verdict = await session.terminate()
        assert (verdict.empty, verdict.outcome, verdict.took) == (True, Outcome.GRACEFUL, 0.0)
        whats = [delivery.what for delivery in verdict.deliveries]
        assert whats == ["HUP@session", "TERM@escaped"]
        assert session.state is State.ENDED


async def test_the_grace_ends_when_the_last_member_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The session waits for a member that outlives its leader, and not for the whole grace."""
    async with ptykill.open_supervisor(containment=FakeTier(POLITE, [SLOW])) as supervisor:
        verdict = await (await supervisor.spawn(["x"])).terminate()
        assert verdict.outcome is Outcome.GRACEFUL
        assert verdict.took == pytest.approx(0.5)


@pytest.mark.parametrize("in_that_pass", [False, True])
async def test_a_death_that_a_busy_loop_has_not_heard_of(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, *, in_that_pass: bool
) -> None:
    """Nobody is looked for to be signalled, and no plan is handed over, before the first look.

    A pass of the loop polls, wakes the timer, and runs what that has woken in any order. The leader
    has died before it, or dies in it: then only the next pass hears of that.
    """
    tier, finished = FakeTier(POLITE), []
    async with ptykill.open_supervisor(containment=tier) as supervisor, trio.open_nursery() as busy:
        for _ in range(20):
            session = await supervisor.spawn(["x"])
            containment = tier.spawned[-1]
            reading, writing = os.pipe()

            async def wait_exited(reading: int = reading) -> None:
                await trio.lowlevel.wait_readable(reading)

            async def die(writing: int = writing) -> None:
                await trio.sleep(1.0)
                os.close(writing)

            monkeypatch.setattr(containment, "wait_exited", wait_exited)
            monkeypatch.setattr(containment, "finish_signal", lambda: finished.append(1))
            if in_that_pass:
                busy.start_soon(die)
                await trio.testing.wait_all_tasks_blocked()
            session.request_end()
            if not in_that_pass:
                os.close(writing)
            mock_clock.jump(1.0)
            verdict = await session.settled()
            os.close(reading)
            assert (finished, containment.handovers) == ([], [])
            assert (verdict.empty, verdict.outcome) == (True, Outcome.GRACEFUL)


async def test_sigkill_follows_when_the_grace_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is on time, and reaches the processes that left the session, too."""
    escaped = Member(escaped=True)
    async with ptykill.open_supervisor(containment=FakeTier(DEAF, [escaped])) as supervisor:
        session = await supervisor.spawn(["x"])
        verdict = await session.terminate(grace=1.5)
        assert verdict.empty
        assert verdict.outcome is Outcome.KILLED
        assert verdict.grace == pytest.approx(1.5)
        assert verdict.deliveries[-1].reached == 2
        assert verdict.deliveries[-1].at == pytest.approx(1.5)


async def test_each_step_has_its_wait_and_its_reach(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A plan of three steps, to a leader that obeys the last one."""
    tier = FakeTier(Member(dies_of={"TERM": 0.25}))
    plan = "INT@leader 1s, HUP@session 2s, TERM@all 3s, KILL"
    async with ptykill.open_supervisor(containment=tier, plan=plan) as supervisor:
        verdict = await (await supervisor.spawn(["x"])).terminate()
        assert [(d.what, d.at) for d in verdict.deliveries] == [
            ("INT@leader", 0.0),
            ("HUP@session", 1.0),
            ("TERM@all", 3.0),
        ]
        assert verdict.took == pytest.approx(3.25)
        assert tier.spawned[0].leader.got == ["INT", "HUP", "TERM"]


async def test_what_can_not_be_killed_is_reported_in_time_and_watched_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The verdict comes at the kill bound; a request tries again; a later end is seen."""
    tier = FakeTier(POLITE, [Member(dies_of={"KILL": math.inf}, lives=60.0)])
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        verdict = await session.terminate()
        assert not verdict.empty
        assert verdict.outcome is Outcome.STUCK
        assert verdict.took == pytest.approx(5.0)
        assert [survivor.pid for survivor in verdict.survivors] == [100_000]
        assert session.state is State.STUCK
        again = await session.terminate()
        assert not again.empty
        assert trio.current_time() == pytest.approx(8.0)
        last = await session.wait()
        assert last.empty
        assert trio.current_time() == pytest.approx(60.0)


async def test_a_later_caller_can_only_hurry(autojump_clock: trio.testing.MockClock) -> None:
    """A shorter grace brings SIGKILL nearer, a longer one delays nothing; all get one verdict."""
    async with ptykill.open_supervisor(containment=FakeTier(DEAF)) as supervisor:
        session = await supervisor.spawn(["x"])
        verdicts = []

        async def ask(after: float, grace: float) -> None:
            await trio.sleep(after)
            verdicts.append(await session.terminate(grace=grace))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 0.0, 10.0)
            nursery.start_soon(ask, 1.0, 3.0)
            nursery.start_soon(ask, 2.0, 50.0)
        assert verdicts[0] is verdicts[1] is verdicts[2]
        assert verdicts[0].took == pytest.approx(4.0)


async def test_kill_cuts_the_grace_short(autojump_clock: trio.testing.MockClock) -> None:
    """`kill` during a grace sends SIGKILL at once."""
    async with ptykill.open_supervisor(containment=FakeTier(DEAF)) as supervisor:
        session = await supervisor.spawn(["x"])
        with trio.move_on_after(1.0):
            await session.terminate(grace=100.0)
        assert session.state is State.STOPPING
        assert (await session.kill()).took == pytest.approx(1.0)


async def test_cancelling_the_caller_changes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The teardown goes on and ends in time."""
    async with ptykill.open_supervisor(containment=FakeTier(DEAF)) as supervisor:
        session = await supervisor.spawn(["x"])
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.terminate(grace=1.0)
        assert scope.cancelled_caught
        assert (await session.wait()).took == pytest.approx(1.0)


async def test_a_leader_that_ends_alone_is_over(autojump_clock: trio.testing.MockClock) -> None:
    """A session that ends by itself gets no signal, and the verdict has its exit status."""
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        tier.spawned[0].exit(7)
        verdict = await session.wait()
        assert verdict.outcome is Outcome.EXITED
        assert verdict.deliveries == ()
        assert verdict.exit_status is not None
        assert verdict.exit_status.shell_code == 7
        assert await session.terminate() is verdict


@pytest.mark.parametrize(
    ("policy", "outcome", "took", "got"),
    [
        ("hangup", Outcome.KILLED, 2.0, ["HUP", "KILL"]),
        ("kill", Outcome.KILLED, 0.0, ["KILL"]),
        ("spare", Outcome.SPARED, 0.0, []),
    ],
)
async def test_the_leftovers_policy_decides_about_remaining_members(
    autojump_clock: trio.testing.MockClock,
    policy: str,
    outcome: Outcome,
    took: float,
    got: list[str],
) -> None:
    """Members that outlive a leader which ended by itself get the plan, SIGKILL, or nothing."""
    tier = FakeTier(members=[DEAF])
    async with ptykill.open_supervisor(containment=tier, leftovers=policy) as supervisor:
        session = await supervisor.spawn(["x"])
        tier.spawned[0].exit()
        verdict = await session.wait()
        assert verdict.outcome is outcome
        assert verdict.took == pytest.approx(took)
        assert verdict.empty == (outcome is not Outcome.SPARED)
        assert len(verdict.survivors) == (outcome is Outcome.SPARED)
        assert all(each.why.startswith("spared") for each in verdict.survivors)
        assert tier.spawned[0].members[0].got == got
        assert tier.spawned[0].reaped


async def test_output_ends_with_the_leader_and_is_complete(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The leader's last output is received although other members live on; then the end."""
    tier = FakeTier(members=[DEAF])
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        fake = tier.spawned[0]
        fake.terminal.write(b"first ")
        await trio.sleep(1)
        fake.terminal.write(b"last")
        fake.exit()
        assert await session.receive(3) == b"fir"
        await trio.sleep(0.1)
        assert session.state is State.STOPPING
        assert await session.receive() == b"st last"
        assert await session.receive() == b""
        with pytest.raises(ptykill.SessionEnded):
            await session.send(b"x")


# --- signallers ---------------------------------------------------------------------------------


class Failing:
    """A signaller that fails at once."""

    def deliver(self, target: Target, step: Step) -> None:
        """Fail."""
        raise ConnectionError("no route")


class FailingLater:
    """A signaller that fails after a while."""

    async def deliver(self, target: Target, step: Step) -> None:
        """Fail after 0.25 s."""
        await trio.sleep(0.25)
        raise ConnectionError("no route")


class Slow:
    """A signaller that never finishes unless it is cancelled."""

    cancelled = 0

    async def deliver(self, target: Target, step: Step) -> None:
        """Hang."""
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1


class Shielded:
    """A signaller that does not let itself be cancelled for ten seconds."""

    async def deliver(self, target: Target, step: Step) -> None:
        """Hang, shielded."""
        with trio.CancelScope(shield=True):
            await trio.sleep(10)


@pytest.mark.parametrize(
    ("signaller", "took", "error"),
    [
        (Failing(), 0.0, "ConnectionError: no route"),
        (FailingLater(), 0.5, "ConnectionError: no route"),
        (Slow(), 3.0, "not finished when its time was over"),
        (Shielded(), 3.0, "not finished when its time was over"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_signaller_that_fails_or_hangs_does_not_hold_the_plan_up(
    autojump_clock: trio.testing.MockClock,
    signaller: ptykill.Signaller,
    took: float,
    error: str,
) -> None:
    """After a failed step the next one follows at once, after a slow one when it is due."""
    async with ptykill.open_supervisor(
        containment=FakeTier(DEAF), plan="INT 1s, HUP 2s, KILL", signaller=signaller
    ) as supervisor:
        verdict = await (await supervisor.spawn(["x"])).terminate()
        assert verdict.empty
        assert verdict.outcome is Outcome.KILLED
        assert verdict.took == pytest.approx(took)
        assert [delivery.error for delivery in verdict.deliveries] == [error, error, None]


async def test_a_signaller_is_cancelled_when_the_session_is_empty(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No delivery goes on after the session has ended."""
    slow = Slow()
    tier = FakeTier(Member(lives=0.5))
    async with ptykill.open_supervisor(containment=tier, signaller=slow) as supervisor:
        verdict = await (await supervisor.spawn(["x"])).terminate()
        assert verdict.took == pytest.approx(0.5)
        await trio.testing.wait_all_tasks_blocked()
        assert slow.cancelled == 2  # Both that the default plan delivers.


async def test_a_refusal_is_an_error_that_names_who_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If the kernel refuses a signal, the next step follows at once; the verdict names the pids."""
    async with ptykill.open_supervisor(containment=FakeTier(Member(refuses=True))) as supervisor:
        verdict = await (await supervisor.spawn(["x"])).terminate()
        assert not verdict.empty
        first, escaped, last = verdict.deliveries
        assert (escaped.reached, escaped.error) == (0, None)
        assert first.error is not None
        assert "not permitted to send HUP to 1000" in first.error
        assert last.refused == (1000,)
        assert verdict.survivors[0].why == "not permitted to signal it"
        assert verdict.took == pytest.approx(3.0)


async def test_the_parts_of_a_step_are_delivered_at_the_same_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The session gets SIGHUP and an escaped process SIGTERM at the same time, with one grace."""
    escaped = Member(dies_of={"TERM": 0.5}, escaped=True)
    tier = FakeTier(POLITE, [SLOW, escaped])
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        verdict = await (await supervisor.spawn(["x"])).terminate()
        fake = tier.spawned[0]
        assert [member.got for member in (fake.leader, *fake.members)] == [
            ["HUP"],
            ["HUP"],
            ["TERM"],
        ]
        assert [(d.what, d.at, d.reached) for d in verdict.deliveries] == [
            ("HUP@session", 0.0, 2),
            ("TERM@escaped", 0.0, 1),
        ]
        assert verdict.outcome is Outcome.GRACEFUL
        assert verdict.took == pytest.approx(0.5)


@pytest.mark.parametrize("first", ["HUP@session + TERM@escaped", "TERM@escaped + HUP@session"])
async def test_a_step_that_reached_a_process_has_not_failed(
    autojump_clock: trio.testing.MockClock, first: str
) -> None:
    """A leader that refuses the signal does not shorten an escaped process's grace."""
    escaped = Member(dies_of={"TERM": 0.5}, escaped=True)
    tier = FakeTier(Member(refuses=True, lives=1.0), [escaped])
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        verdict = await session.terminate(plan=f"{first} 2s, KILL")
        assert verdict.outcome is Outcome.GRACEFUL
        assert verdict.took == pytest.approx(1.0)
        assert tier.spawned[0].members[0].got == ["TERM"]


@pytest.mark.parametrize(
    ("signaller", "took"),
    [(Failing(), 0.0), (FailingLater(), 0.25), (Slow(), 2.0), (Shielded(), 2.0)],
    ids=lambda value: type(value).__name__,
)
async def test_a_step_fails_when_all_its_parts_have_failed(
    autojump_clock: trio.testing.MockClock, signaller: ptykill.Signaller, took: float
) -> None:
    """The signaller is called once for each part; the verdict has each failure."""
    async with ptykill.open_supervisor(
        containment=FakeTier(DEAF), plan="HUP + TERM@escaped + INT 2s, KILL", signaller=signaller
    ) as supervisor:
        verdict = await (await supervisor.spawn(["x"])).terminate()
        assert verdict.took == pytest.approx(took)
        *polite, kill = verdict.deliveries
        assert [each.what for each in polite] == ["HUP@session", "TERM@escaped", "INT@session"]
        assert len({each.error for each in polite} - {None}) == 1
        assert kill.reached == 1


async def test_a_delivery_under_way_keeps_a_step_from_failing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One of two parts fails at once; the other is not done yet, so the grace goes on."""

    class Half:
        def deliver(self, target: Target, step: Step) -> Awaitable[None]:
            if step.reach is Reach.ESCAPED:
                msg = "no route"
                raise ConnectionError(msg)
            return Slow().deliver(target, step)

    tier = FakeTier(Member(lives=1.5))
    async with ptykill.open_supervisor(containment=tier, signaller=Half()) as supervisor:
        verdict = await (await supervisor.spawn(["x"])).terminate()
        assert verdict.outcome is Outcome.GRACEFUL
        assert verdict.took == pytest.approx(1.5)


async def test_typing_and_hanging_up_are_ways_to_deliver(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One plan may type, hang up, and send signals."""
    tier = FakeTier(Member(dies_of={"HUP": 0.5}))
    plan = '"^C" 1s, hangup 2s, KILL'
    async with ptykill.open_supervisor(containment=tier, plan=plan) as supervisor:
        verdict = await (await supervisor.spawn(["x"])).terminate()
        assert tier.spawned[0].terminal.typed == b"\x03"
        assert verdict.outcome is Outcome.GRACEFUL
        assert verdict.took == pytest.approx(1.5)


# --- the supervisor -----------------------------------------------------------------------------


async def test_leaving_the_block_ends_every_session(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """All at once, not one after the other."""
    tier = FakeTier(DEAF)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        sessions = [await supervisor.spawn(["x"]) for _ in range(20)]
    assert trio.current_time() == pytest.approx(2.0)
    assert all(session.verdict is not None and session.verdict.empty for session in sessions)
    assert all(fake.closed and not fake.terminal.open for fake in tier.spawned)
    assert tier.closed


async def test_the_blocks_exception_is_raised_as_it_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is not wrapped in a group, and the sessions are ended."""
    tier = FakeTier(DEAF)
    error = RuntimeError("mine")
    with pytest.raises(RuntimeError) as caught:  # noqa: PT012 - the block is what is tested
        async with ptykill.open_supervisor(containment=tier) as supervisor:
            await supervisor.spawn(["x"])
            raise error
    assert caught.value is error
    assert tier.spawned[0].reaped


async def test_a_close_that_fails_is_raised(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that runs for all sessions keeps the block from being left."""

    async def broken_close(_: ptykill.Supervisor) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ptykill.Supervisor, "close", broken_close)
    with trio.fail_after(10), pytest.raises(ExceptionGroup):
        async with ptykill.open_supervisor(containment=FakeTier()):
            await trio.lowlevel.checkpoint()


async def test_a_cancelled_block_ends_its_sessions_within_their_plan(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The shield lasts as long as the plan, also for a session that can't be killed."""
    tier = FakeTier(UNKILLABLE)
    with trio.move_on_after(1.0) as scope:
        async with ptykill.open_supervisor(containment=tier) as supervisor:
            session = await supervisor.spawn(["x"], plan="HUP 1s, KILL 2s")
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(4.0)
    assert session.verdict is not None
    assert not session.verdict.empty


async def test_leaving_a_sessions_block_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    """It is ended by its plan although the block was cancelled."""
    async with ptykill.open_supervisor(containment=FakeTier(SLOW)) as supervisor:
        with trio.move_on_after(1.0):
            async with await supervisor.spawn(["x"]) as session:
                await trio.sleep_forever()
        assert session.verdict is not None
        assert session.verdict.took == pytest.approx(0.5)


async def test_max_sessions_bounds_the_live_sessions(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An ended session makes room for another."""
    async with ptykill.open_supervisor(containment=FakeTier(), max_sessions=2) as supervisor:
        first = await supervisor.spawn(["x"])
        await supervisor.spawn(["x"])
        with pytest.raises(ptykill.TooManySessions):
            await supervisor.spawn(["x"])
        await first.terminate()
        await supervisor.spawn(["x"])


async def test_a_failed_spawn_leaves_no_session(autojump_clock: trio.testing.MockClock) -> None:
    """The caller gets the tier's own error, and no session is listed."""
    error = ptykill.SpawnError(2, "No such file", "exec", "nope")
    async with ptykill.open_supervisor(
        containment=FakeTier(failure=error), max_sessions=1
    ) as supervisor:
        for _ in range(3):
            with pytest.raises(ptykill.SpawnError) as caught:
                await supervisor.spawn(["nope"])
            assert caught.value is error
        assert supervisor.sessions == ()


async def test_records_are_bounded_in_age_and_number(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A record is dropped when it is too old, or when there are too many newer ones."""
    async with ptykill.open_supervisor(
        containment=FakeTier(), keep_seconds=60, keep_records=2
    ) as supervisor:
        ids = []
        for _ in range(3):
            session = await supervisor.spawn(["x"])
            await session.terminate()
            ids.append(session.id)
            await trio.sleep(1)
        assert [session.id for session in supervisor.sessions] == ids[1:]
        with pytest.raises(ptykill.SessionNotFound):
            supervisor.get(ids[0])
        await trio.sleep(58.5)
        assert [session.id for session in supervisor.sessions] == ids[2:]
        assert (await supervisor.terminate(ids[2])).empty
        await trio.sleep(1)
        with pytest.raises(ptykill.SessionNotFound):
            await supervisor.terminate(ids[2])


@pytest.mark.parametrize("step", [-1e6, 1e6])
async def test_a_clock_that_is_set_changes_no_duration(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """Records, their order and the verdict's times do not depend on the wall clock."""
    now = 1e9
    monkeypatch.setattr("time.time", lambda: now)
    async with ptykill.open_supervisor(containment=FakeTier(SLOW), keep_seconds=60) as supervisor:
        first = await supervisor.spawn(["x"])
        first.request_end()
        now += step
        assert (await first.settled()).took == pytest.approx(0.5)
        await supervisor.spawn(["x"])
        now += step
        assert list(map(spawn_number, supervisor.sessions)) == [1, 2]
        await trio.sleep(59)
        assert (await supervisor.terminate(first.id)).empty
        await trio.sleep(2)
        assert list(map(spawn_number, supervisor.sessions)) == [2]


async def test_large_records_make_room_for_newer_ones(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Arguments and environments in records are bounded in bytes; the newest record is kept."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        ids = []
        for command, env in [
            (["x"], None),
            (["x", "a" * (MOST_BYTES // 2)], None),
            (["x"], {"A": "a" * (MOST_BYTES // 2)}),
            (["x", "a" * 2 * MOST_BYTES], None),
        ]:
            session = await supervisor.spawn(command, env=env)
            await session.terminate()
            ids.append(session.id)
            known = [each.id for each in supervisor.sessions]
            assert known == {2: ids[:2], 3: ids[2:], 4: ids[3:]}.get(len(ids), ids)
        await (await supervisor.spawn(["x"])).terminate()
        assert len(supervisor.sessions) == 1


async def test_old_records_give_up_output_for_newer_ones(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output in records is bounded in bytes; neither a record nor an attachment is dropped."""
    monkeypatch.setattr("ptykill.engine.records.MOST_OUTPUT", 250)
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier, backlog=100, keep_records=4) as supervisor:
        sessions: list[ptykill.Session] = []
        for _ in range(5):
            session = await supervisor.spawn(["x"])
            reading = session.attach()
            tier.spawned[-1].terminal.write(b"x" * 100)
            await session.terminate()
            await trio.sleep(1)  # Output ends some time after the session.
            if sessions:
                reading.close()  # The first one's client has not received it yet.
            else:
                first = reading
            sessions.append(session)
        assert list(map(spawn_number, supervisor.sessions)) == [2, 3, 4, 5]
        assert await first.receive() == b"x" * 100
        first.close()
        held = [await each.attach().receive() for each in sessions]
        assert held == [b"", b"", b"", b"x" * 100, b"x" * 100]


async def test_a_closed_supervisor_spawns_nothing() -> None:
    """After the block nothing would end a new session."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        pass
    with pytest.raises(ptykill.SupervisorClosed):
        await supervisor.spawn(["x"])


@pytest.mark.parametrize("grace", [-1, math.nan, math.inf, 1e9, "1"])
async def test_a_bad_grace_signals_nobody(grace: float) -> None:
    """It is refused before any signal is sent."""
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        with pytest.raises(ptykill.InvalidGrace):
            await session.terminate(grace=grace)
        with pytest.raises(ptykill.PlanError):
            await session.terminate(plan="HUP")
        assert session.state is State.RUNNING
        assert tier.spawned[0].leader.got == []


def broken(*_: object) -> NoReturn:
    """Fail, in place of a method of ptykill's own."""
    raise ZeroDivisionError


async def test_our_own_failure_is_reported_and_ends_no_other_session(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that can't be watched is stuck at its kill bound; the next request tries again."""
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier, plan="HUP 1s, KILL 2s") as supervisor:
        other = await supervisor.spawn(["x"])
        session = await supervisor.spawn(["x"])
        healthy = tier.spawned[1].members_left
        tier.spawned[1].members_left = broken  # type: ignore[method-assign]
        began = trio.current_time()
        verdict = await session.terminate()
        assert trio.current_time() - began == pytest.approx(3, abs=0.01)
        assert (verdict.outcome, verdict.empty) == (Outcome.STUCK, False)
        assert ptykill.Caveat.INTERNAL_ERROR in verdict.caveats
        tier.spawned[1].members_left = healthy  # type: ignore[method-assign]
        verdict = await session.terminate()
        assert verdict.empty
        assert ptykill.Caveat.INTERNAL_ERROR not in verdict.caveats
        assert other.state is State.RUNNING
    assert caplog.text.count("session.broken") == 1


@pytest.mark.parametrize("part", ["wait_exited", "wait_members", "members_left", "kill", "reap"])
async def test_a_containment_that_fails_for_a_while_is_asked_again(
    autojump_clock: trio.testing.MockClock, part: str
) -> None:
    """Each method that fails three times is called again, and the session ends as it should."""
    tier = FakeTier(Member(), members=[Member(dies_of={"KILL": 0.2})])
    async with ptykill.open_supervisor(containment=tier, plan="HUP 1s, KILL 5s") as supervisor:
        session = await supervisor.spawn(["x"])
        containment = tier.spawned[0]
        healthy, tries = getattr(containment, part), []

        def fails_thrice(*arguments: object) -> object:
            tries.append(arguments)
            if len(tries) <= 3:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            return healthy(*arguments)

        setattr(containment, part, fails_thrice)
        verdict = await session.terminate()
        assert len(tries) > 3
        assert (verdict.outcome, verdict.empty) == (Outcome.KILLED, True)
        assert verdict.caveats == containment.caveats()


async def test_a_failure_that_is_made_up_for_is_no_caveat(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Watching fails once, then works: the verdict on a stuck session has no INTERNAL_ERROR."""
    tier = FakeTier(POLITE, [UNKILLABLE])
    async with ptykill.open_supervisor(containment=tier, plan="HUP 1s, KILL 2s") as supervisor:
        session = await supervisor.spawn(["x"])
        containment = tier.spawned[0]
        healthy, tries = containment.wait_exited, []

        async def fails_once() -> None:
            tries.append(trio.current_time())
            if len(tries) == 1:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            await healthy()

        containment.wait_exited = fails_once  # type: ignore[method-assign]
        verdict = await session.terminate()
        assert len(tries) > 1
        assert verdict.outcome is Outcome.STUCK
        assert ptykill.Caveat.INTERNAL_ERROR not in verdict.caveats


@pytest.mark.parametrize("proven", [True, False])
async def test_a_failed_sigkill_is_a_caveat_unless_the_session_is_proven_empty(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, *, proven: bool
) -> None:
    """No process is found after SIGKILL failed; without proof, one may have been missed."""
    tier = FakeTier(Member(lives=1.0))
    async with ptykill.open_supervisor(containment=tier, plan="KILL 5s") as supervisor:
        session = await supervisor.spawn(["x"])
        containment = tier.spawned[0]
        own = frozenset() if proven else frozenset({ptykill.Caveat.UNPROVEN})
        monkeypatch.setattr(containment, "kill", broken)
        monkeypatch.setattr(containment, "caveats", lambda: own)
        verdict = await session.terminate()
        assert verdict.empty is proven
        assert verdict.outcome is (Outcome.EXITED if proven else Outcome.UNPROVEN)
        assert verdict.deliveries[-1].error == "ZeroDivisionError: "
        assert verdict.caveats == (own if proven else own | {ptykill.Caveat.INTERNAL_ERROR})


@pytest.mark.parametrize("asked", [True, False])
async def test_a_sigkill_of_the_containments_own_is_told(
    autojump_clock: trio.testing.MockClock, *, asked: bool
) -> None:
    """A keeper may have killed when the host could not: the outcome is KILLED, asked for or not."""
    tier = FakeTier(Member(dies_of={"HUP": 1.0}))
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        tier.spawned[0].killed = True
        if asked:
            verdict = await session.terminate()
        else:
            tier.spawned[0].exit()
            verdict = await session.wait()
        assert verdict.empty
        assert len(verdict.deliveries) == (2 if asked else 0)
        assert verdict.outcome is Outcome.KILLED


async def test_a_stuck_session_is_killed_now_and_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The cause may go away without an event; SIGKILL is sent again without a request."""
    tier = FakeTier(Member(refuses=True))
    async with ptykill.open_supervisor(containment=tier, plan="KILL 1s") as supervisor:
        session = await supervisor.spawn(["x"])
        assert (await session.terminate()).outcome is Outcome.STUCK
        tier.spawned[0].leader.refuses = False
        tier.spawned[0].leader.dies_of = {"KILL": 0.0}
        with trio.fail_after(60):
            assert (await session.wait()).empty


@pytest.mark.parametrize("asked", [True, False])
async def test_a_failed_close_changes_no_verdict(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, *, asked: bool
) -> None:
    """It is logged, the terminal is closed all the same, and other sessions go on."""
    tier = FakeTier(Member(lives=1.0, dies_of={"HUP": 0.0}))
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])

        def broken() -> None:
            raise ZeroDivisionError

        tier.spawned[0].close = broken  # type: ignore[method-assign]
        verdict = await session.terminate() if asked else await session.wait()
        await trio.sleep(1)
        assert verdict.empty
        assert session.verdict is verdict
        assert not tier.spawned[0].terminal.open
        other = await supervisor.spawn(["x"])
        assert other.state is State.RUNNING
    assert "session.broken" in caplog.text


async def test_a_terminal_that_can_not_be_read_stops_no_session(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its output ends, and that is logged; it is ended like any other, and others go on."""
    tier = FakeTier(Member(dies_of={"HUP": 0.0}))

    def closed() -> bytes:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session, other = await supervisor.spawn(["x"]), await supervisor.spawn(["x"])
        terminal = tier.spawned[0].terminal
        terminal.receive_now = closed  # type: ignore[method-assign]
        terminal.write(b"never to be read")
        assert await session.receive() == b""
        assert "session.unreadable" in caplog.text
        assert (await session.terminate()).empty
        tier.spawned[1].terminal.write(b"alive")
        assert await other.receive() == b"alive"
        by_itself = await supervisor.spawn(["x"])
        tier.spawned[2].terminal.receive_now = closed  # type: ignore[method-assign]
        tier.spawned[2].exit(3)
        assert (await by_itself.wait()).exit_status == ptykill.ExitStatus(code=3)
        assert await by_itself.receive() == b""


@pytest.mark.parametrize("error", [BrokenPipeError, SystemExit])
async def test_a_logger_that_raises_stops_nothing(
    autojump_clock: trio.testing.MockClock, error: type[BaseException]
) -> None:
    """The log's file may be gone; sessions are ended all the same, and on time."""
    told = []

    class Gone:
        def msg(self, text: str) -> None:
            told.append(text)
            raise error(text)

        info = warning = error = msg

    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: Gone(),
    )
    try:
        async with ptykill.open_supervisor(containment=FakeTier(DEAF, [UNKILLABLE])) as supervisor:
            verdict = await (await supervisor.spawn(["x"])).terminate(grace=0.5)
            assert verdict.outcome is Outcome.STUCK
            assert verdict.took == pytest.approx(3.5)
        assert len(told) > 3
    finally:
        structlog.reset_defaults()


@pytest.mark.parametrize("cached", [True, False])
async def test_a_logger_is_kept_if_the_host_says_so(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, *, cached: bool
) -> None:
    """With ``cache_logger_on_first_use`` it is made once, else for each event."""
    made, told = [], []

    class Logger:
        def msg(self, text: str) -> None:
            told.append(text)

        info = warning = error = msg

    def make(*_: object) -> Logger:
        made.append(Logger())
        return made[-1]

    fresh = structlog.get_logger("ptykill")
    monkeypatch.setattr(log, "_hosts_logger", lambda: fresh)
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=make,
        cache_logger_on_first_use=cached,
    )
    try:
        async with ptykill.open_supervisor(containment=FakeTier(DEAF)) as supervisor:
            await (await supervisor.spawn(["x"])).terminate(grace=0.5)
    finally:
        structlog.reset_defaults()
    assert len(told) > 3
    assert len(made) == (1 if cached else len(told))


async def test_a_signaller_that_would_exit_is_recorded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The plan goes on after a signaller raised SystemExit."""

    class Exits:
        def deliver(self, target: Target, step: Step) -> None:
            sys.exit("a mistake")

    async with ptykill.open_supervisor(containment=FakeTier(DEAF), signaller=Exits()) as supervisor:
        verdict = await (await supervisor.spawn(["x"])).terminate(grace=1.0)
        assert (verdict.empty, verdict.outcome) == (True, Outcome.KILLED)
        assert verdict.deliveries[0].error == "SystemExit: a mistake"


class SlowSpawns(FakeTier):
    """A tier whose spawns, after the first, take a minute, also when they are cancelled."""

    async def spawn(self, command: Command, handover: Handover) -> Spawned:
        """Spawn, in a minute."""
        with trio.CancelScope(shield=True):
            await trio.sleep(60.0 if self.spawned else 0.0)
        return await super().spawn(command, handover)


async def test_a_slow_spawn_keeps_no_session_from_being_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Live sessions are ended by their plan; a session spawned too late is killed at once."""
    tier = SlowSpawns(POLITE)
    refused = []
    async with trio.open_nursery() as nursery:
        async with ptykill.open_supervisor(containment=tier) as supervisor:
            session = await supervisor.spawn(["x"])

            async def spawn() -> None:
                with pytest.raises(ptykill.SupervisorClosed) as error:
                    await supervisor.spawn(["y"])
                refused.append(error)

            nursery.start_soon(spawn)
            await trio.sleep(1.0)
        assert session.verdict is not None
        assert session.verdict.outcome is Outcome.GRACEFUL
    assert len(refused) == 1
    assert tier.spawned[1].leader.got == ["KILL"]
    assert not tier.spawned[1].terminal.open


async def test_closing_by_a_longer_plan_takes_its_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Closing waits as long as the plan that it was given."""
    tier = FakeTier(DEAF)
    async with ptykill.open_supervisor(containment=tier, plan="KILL 1s") as supervisor:
        session = await supervisor.spawn(["x"])
        await supervisor.close(plan=Plan.parse("HUP@session 20s, KILL"))
        assert session.verdict is not None
        assert session.verdict.outcome is Outcome.KILLED


async def test_closing_takes_no_longer_than_the_supervisor_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """`Supervisor.longest` is the longest plan of any session so far, and a second."""
    async with ptykill.open_supervisor(
        containment=FakeTier(UNKILLABLE), plan="KILL 1s"
    ) as supervisor:
        assert supervisor.longest == 2.0
        await supervisor.spawn(["x"])
        await supervisor.spawn(["x"], plan="HUP@session 5s, KILL 2s")
        assert supervisor.longest == 8.0
        began = trio.current_time()
        await supervisor.close()
        assert 7.0 <= trio.current_time() - began <= supervisor.longest


async def test_hurry_kills_every_session_and_does_not_wait() -> None:
    """SIGKILL is sent before it returns, also to a session that is in its grace."""
    tier = FakeTier(DEAF)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        sessions = [await supervisor.spawn(["x"]) for _ in range(2)]
        sessions[0].request_end()
        supervisor.hurry()
        assert [each.state for each in sessions] == [State.KILLING] * 2
        assert [each.leader.got[-1] for each in tier.spawned] == ["KILL"] * 2


async def test_nothing_wakes_while_idle(mock_clock: trio.testing.MockClock) -> None:
    """A hundred idle sessions set no timer and run no task."""

    class Counter(trio.abc.Instrument):
        steps = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.steps += 1

    async with ptykill.open_supervisor(containment=FakeTier(), max_sessions=100) as supervisor:
        for _ in range(100):
            await supervisor.spawn(["x"])
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(1)  # Until the next spawn has been prepared, when idle.
        await trio.testing.wait_all_tasks_blocked()
        counter = Counter()
        trio.lowlevel.add_instrument(counter)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf
        mock_clock.jump(1_000_000)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(counter)
        assert counter.steps <= 2  # This test's own.


@pytest.mark.parametrize("taken_over", [False, True])
async def test_an_exit_that_another_task_has_read_is_heard_of(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, *, taken_over: bool
) -> None:
    """A deadline reads what the keeper has sent; the session's task is told to look again."""
    tier = FakeTier(Member(lives=1.0))
    deadlines = ptykill.Deadlines(lifetime=2.0)
    async with ptykill.open_supervisor(containment=tier, deadlines=deadlines) as supervisor:
        session = await supervisor.spawn(["x"])
        (containment,) = tier.spawned
        read = False

        def ending() -> Ending | None:
            nonlocal read
            read = not containment.alive(containment.leader)
            return Ending(EndReason.LIFETIME, 5.0, killed=False) if taken_over else None

        async def wait_exited() -> None:
            while not read:
                await trio.sleep_forever()

        monkeypatch.setattr(containment, "ending", ending)
        monkeypatch.setattr(containment, "wait_exited", wait_exited)
        with trio.fail_after(3.0):
            assert (await session.wait()).empty


async def test_the_lost_news_of_an_exit_are_found_by_sigkill(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for the exit is made anew with each further round."""
    tier = FakeTier(DEAF)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        (containment,) = tier.spawned

        async def wait_exited() -> None:
            while containment.alive(containment.leader):
                await trio.sleep_forever()

        monkeypatch.setattr(containment, "wait_exited", wait_exited)
        verdict = await session.terminate(grace=1.0)
        assert (verdict.empty, verdict.outcome) == (True, Outcome.KILLED)
        assert verdict.took < 1.1


class WithoutText(Exception):
    """An error that can't be put into words."""

    def __str__(self) -> str:
        """Raise, as a user's exception may."""
        raise ZeroDivisionError


@pytest.mark.parametrize("error", [OSError, WithoutText])
async def test_a_look_that_has_failed_is_made_again_whatever_wakes_the_task(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """A deadline may do so during the pause."""
    tier = FakeTier(Member(lives=0.3))
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        deadlines = ptykill.Deadlines(idle=0.302)
        session = await supervisor.spawn(["x"], deadlines=deadlines)
        (containment,) = tier.spawned
        healthy, tries = containment.members_left, []

        def fails_once() -> bool:
            tries.append(trio.current_time())
            if len(tries) == 1:
                raise error
            return healthy()

        monkeypatch.setattr(containment, "members_left", fails_once)
        with trio.fail_after(1.0):
            assert (await session.wait()).empty


@pytest.mark.parametrize("error", [OSError, SystemExit, WithoutText])
async def test_an_error_in_the_step_of_one_session_holds_up_no_other(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    """The steps of all have one timer; and the session itself is killed on time as well."""
    tier = FakeTier(DEAF)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session, other = [await supervisor.spawn(["x"]) for _ in range(2)]

        def fails() -> NoReturn:
            raise error

        monkeypatch.setattr(tier.spawned[0], "finish_signal", fails)
        session.request_end(grace=1.0)
        other.request_end(grace=1.0)
        for each in session, other:
            verdict = await each.settled()
            assert (verdict.empty, verdict.outcome) == (True, Outcome.KILLED)
            assert verdict.took == pytest.approx(1.0)


async def test_a_request_during_a_failed_finish_changes_nothing(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is over, and only its last step has failed: no time is set any more."""
    tier = FakeTier(POLITE)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        monkeypatch.setattr(tier.spawned[0], "reap", broken)
        session.request_end()
        await trio.sleep(0.001)
        assert session.state is State.ENDED
        session.request_end(grace=0.5)
        assert session._driver.schedule.due == math.inf
        assert (await session.settled()).empty


# --- any plan, any members, any callers ---------------------------------------------------------

delays = st.sampled_from([0.0, 0.001, 0.5, 1.0, 3.0, math.inf])
members = st.builds(
    Member,
    dies_of=st.dictionaries(st.sampled_from(["HUP", "TERM", "INT", "KILL"]), delays),
    lives=delays,
    refuses=st.booleans(),
    escaped=st.booleans(),
)
plans = st.builds(
    Plan,
    st.lists(
        st.builds(
            Step,
            st.sampled_from(["HUP", "TERM", "INT"]).map(Signal),
            st.sampled_from([0.0, 0.1, 1.0, 2.5]),
            st.sampled_from(Reach),
            st.lists(
                st.tuples(st.sampled_from(["HUP", "TERM"]).map(Signal), st.sampled_from(Reach)),
                max_size=2,
            ).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    st.sampled_from([0.0, 0.5, 3.0]),
)
callers = st.tuples(
    st.sampled_from([0.0, 0.05, 0.7, 2.0]),  # when it asks
    plans,
    st.none() | st.sampled_from([0.0, 0.3, 2.0]),  # the grace it asks for
    st.none() | st.sampled_from([0.0, 0.2, 1.0]),  # when it is cancelled
)


@settings(max_examples=300, deadline=None)
@given(
    leader=members,
    others=st.lists(members, max_size=3),
    asking=st.lists(callers, min_size=1, max_size=4),
    leftovers=st.sampled_from(Leftovers),
    signaller=st.sampled_from([None, Failing, FailingLater, Slow, Shielded]),
)
def test_every_teardown_ends_within_its_plan_and_tells_the_truth(
    leader: Member,
    others: list[Member],
    asking: list[tuple[float, Plan, float | None, float | None]],
    leftovers: Leftovers,
    signaller: type | None,
) -> None:
    """No caller waits past its plan, and a verdict is empty only if no process lives.

    That holds whatever the session does, and whatever callers and signallers do.
    """

    async def main() -> None:
        tier = FakeTier(leader, others)
        async with ptykill.open_supervisor(
            containment=tier,
            leftovers=leftovers,
            signaller=signaller() if signaller else None,
            plan="HUP 1s, KILL 1s",
        ) as supervisor:
            session = await supervisor.spawn(["x"])
            fake = tier.spawned[0]

            async def ask(
                after: float, plan: Plan, grace: float | None, cancelled: float | None
            ) -> None:
                await trio.sleep(after)
                began = trio.current_time()
                longest = (plan if grace is None else plan.with_grace(grace)).longest
                with trio.move_on_after(math.inf if cancelled is None else cancelled):
                    verdict = await session.terminate(plan=plan, grace=grace)
                    took = trio.current_time() - began
                    assert took <= longest + 1e-6
                    alive = [m for m in (fake.leader, *fake.members) if fake.alive(m)]
                    if verdict.empty:
                        assert not alive
                        assert fake.reaped
                        assert verdict.survivors == ()
                    elif verdict is session.verdict and verdict.outcome is Outcome.STUCK:
                        assert session.state in (State.STUCK, State.KILLING, State.ENDED)

            async with trio.open_nursery() as nursery:
                for caller in asking:
                    nursery.start_soon(ask, *caller)
            left = trio.current_time()
        assert trio.current_time() - left <= supervisor_bound
        assert session.verdict is not None
        if session.verdict.empty:
            assert not any(fake.alive(m) for m in (fake.leader, *fake.members))
        elif not session.verdict.survivors:
            # Only a member that dies exactly at the bound is neither alive nor seen to be dead.
            assert session.verdict.outcome is Outcome.STUCK

    # What leaving the supervisor may take: the longest plan, its slack, and a shielded signaller.
    supervisor_bound = 15.0
    with contextlib.suppress(trio.TooSlowError):
        on_virtual_clock(main)
