"""Deadlines, the clock that knows when they are due, and what counts as processor time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptykill import Deadlines, Elapsed, EndReason, ProcessorTime
from ptykill.errors import InvalidDeadline
from ptykill.rules.deadlines import LONGEST_DEADLINE, SHORTEST_DEADLINE, DeadlineClock

SECONDS = st.none() | st.floats(SHORTEST_DEADLINE, LONGEST_DEADLINE)
DEADLINES = st.builds(Deadlines, lifetime=SECONDS, idle=SECONDS, detached=SECONDS)
MILLISECOND = 1_000


def idle(microseconds: int = 0) -> ProcessorTime:
    """Return the processor time of a session that has used so much in all."""
    return ProcessorTime(microseconds)


def test_deadlines_are_none_unless_given_and_then_they_count() -> None:
    """A value without a deadline is false, and any with one is true."""
    assert not Deadlines()
    assert Deadlines(lifetime=1) == Deadlines(lifetime=1.0)
    assert all(map(bool, (Deadlines(lifetime=1), Deadlines(idle=1), Deadlines(detached=1))))
    assert Deadlines(idle=SHORTEST_DEADLINE, detached=LONGEST_DEADLINE)


@given(DEADLINES, DEADLINES)
def test_what_is_left_out_is_the_cap_and_nothing_is_above_it(
    asked: Deadlines, caps: Deadlines
) -> None:
    """The result has every deadline of the caps, none later; or the later one is refused."""
    pairs = [(getattr(asked, n), getattr(caps, n)) for n in ("lifetime", "idle", "detached")]
    if any(own is not None and cap is not None and own > cap for own, cap in pairs):
        with pytest.raises(InvalidDeadline, match="may be at most"):
            asked.within(caps)
        return
    found = asked.within(caps)
    expected = [cap if own is None else own for own, cap in pairs]
    assert [found.lifetime, found.idle, found.detached] == expected


@given(DEADLINES)
def test_a_keeper_is_later_than_its_host(deadlines: Deadlines) -> None:
    """By a second, and for the idle deadline by what it may not have been told of yet."""
    kept = deadlines.of_keeper()
    for name, late in (("lifetime", 1.0), ("idle", 1.0 + deadlines.slack), ("detached", 1.0)):
        own, later = getattr(deadlines, name), getattr(kept, name)
        assert (own is None) == (later is None)
        if own is not None:
            assert later == min(own + late, LONGEST_DEADLINE)
    assert deadlines.idle is None or 0 < deadlines.slack <= min(deadlines.idle / 8, 10.0)


def test_the_lifetime_counts_from_the_spawn_and_activity_does_not_move_it() -> None:
    """It is not passed before it is due."""
    clock = DeadlineClock(Deadlines(lifetime=10), 100.0)
    clock.active_at = 109.0
    assert clock.due == 110.0
    assert clock.check(109.9, idle) is None
    assert clock.check(110.0, idle) is EndReason.LIFETIME


def test_the_detached_time_counts_from_the_spawn_and_from_the_last_detach() -> None:
    """There is none while a client is attached."""
    clock = DeadlineClock(Deadlines(detached=10), 100.0)
    assert clock.due == 110.0
    clock.detached_at = None
    assert clock.due == math.inf
    assert clock.check(1000.0, idle) is None
    clock.detached_at = 1000.0
    assert clock.due == 1010.0
    assert clock.check(1010.0, idle) is EndReason.DETACHED


def test_activity_moves_the_idle_deadline() -> None:
    """It counts from the last input or output."""
    clock = DeadlineClock(Deadlines(idle=10), 100.0)
    clock.look(100.0, idle)
    clock.active_at = 105.0
    assert clock.check(110.0, idle) is None
    assert clock.due == 115.0
    assert clock.check(115.0, idle) is EndReason.IDLE


def test_processor_time_moves_the_idle_deadline_and_a_step_of_the_kernel_does_not() -> None:
    """More than 10 ms since the look before are use, wherever in between that was."""
    clock = DeadlineClock(Deadlines(idle=10), 0.0)
    clock.look(0.0, idle)
    assert clock.check(10.0, lambda: idle(11 * MILLISECOND)) is None
    assert clock.due == 20.0
    assert clock.check(20.0, lambda: idle(21 * MILLISECOND)) is EndReason.IDLE


def test_the_first_look_counts_from_the_spawn() -> None:
    """An idle deadline may be set late, when nobody has looked before."""
    for used, reason in ((0, EndReason.IDLE), (11 * MILLISECOND, None)):
        clock = DeadlineClock(Deadlines(), 0.0)
        clock.deadlines = Deadlines(idle=10)
        clock.look(60.0, lambda: idle(used))  # noqa: B023
        assert clock.check(60.0, lambda: idle(used)) is reason  # noqa: B023


def test_a_look_is_made_only_when_the_idle_deadline_is_due() -> None:
    """A session without one has no look at all, and a passed lifetime needs none."""
    looks: list[None] = []

    def look() -> ProcessorTime:
        looks.append(None)
        return ProcessorTime()

    lasting = DeadlineClock(Deadlines(lifetime=10, detached=5), 0.0)
    lasting.detached_at = None
    lasting.look(0.0, look)
    lasting.check(10.0, look)
    both = DeadlineClock(Deadlines(lifetime=10, idle=10), 0.0)
    assert both.check(10.0, look) is EndReason.LIFETIME
    assert not looks


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**8)), max_size=20),
    st.floats(SHORTEST_DEADLINE, 100),
)
def test_an_idle_session_ends_after_one_to_two_times_its_deadline(
    bursts: list[tuple[float, int]], deadline: float
) -> None:
    """Whenever its members run, and if it is looked at only at the times when that is due."""
    clock = DeadlineClock(Deadlines(idle=deadline), 0.0)
    clock.look(0.0, idle)
    last = 0.0

    def used(now: float) -> ProcessorTime:
        return ProcessorTime(sum(took for when, took in bursts if when <= now))

    now, before = 0.0, 0.0
    for _ in range(10_000):
        now = clock.due
        if clock.check(now, lambda: used(now)) is not None:  # noqa: B023
            break
        if used(now).used_since(used(before), now - before):
            last = max([when for when, _ in bursts if before < when <= now])
        before = now
    assert last + deadline <= now + 1e-6
    assert now <= last + 2 * deadline + 1e-6


@given(DEADLINES, st.floats(0, 1e6), st.floats(0, 1e3), st.none() | st.floats(0, 1e3))
def test_a_second_clock_is_set_by_what_has_passed_on_the_first(
    deadlines: Deadlines, age: float, quiet: float, detached: float | None
) -> None:
    """The clocks of host and keeper need not show the same time."""
    first = DeadlineClock(deadlines, 0.0)
    first.set_elapsed(Elapsed(age, quiet, detached), 5.0)
    second = DeadlineClock(deadlines, 1000.0)
    second.set_elapsed(first.elapsed(5.0), 1000.0)
    if deadlines and first.due < math.inf:
        assert second.due - 1000.0 == pytest.approx(first.due - 5.0, abs=1e-3)
    else:
        assert second.due == math.inf


def test_use_is_seen_of_the_living_when_the_dead_take_theirs_with_them() -> None:
    """A parent that ignores SIGCHLD does not get the time of its children."""
    before = ProcessorTime(900 * MILLISECOND, {(1, 1): 0, (2, 5): 900 * MILLISECOND})
    after = ProcessorTime(20 * MILLISECOND, {(1, 1): 0, (3, 9): 20 * MILLISECOND})
    assert after.used_since(before, 10.0)
    assert not after.used_since(after, 10.0)


def test_a_pid_that_is_used_again_is_another_process() -> None:
    """Its time does not begin where the other's ended."""
    before = ProcessorTime(50 * MILLISECOND, {(2, 5): 50 * MILLISECOND})
    after = ProcessorTime(50 * MILLISECOND, {(2, 9): 50 * MILLISECOND})
    assert after.used_since(before, 10.0)


def test_a_cgroup_counts_what_nobody_has_waited_for() -> None:
    """The kernel's count has the time of every process that was in it."""
    assert ProcessorTime(0, {}, 11 * MILLISECOND).used_since(ProcessorTime(), 10.0)
    assert not ProcessorTime(0, {}, 10 * MILLISECOND).used_since(ProcessorTime(), 10.0)


def test_a_poller_does_not_count() -> None:
    """0.01 % of a processor: 360 ms in an hour."""
    assert not idle(359 * MILLISECOND).used_since(idle(), 3600.0)
    assert idle(361 * MILLISECOND).used_since(idle(), 3600.0)
