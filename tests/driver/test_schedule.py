"""The schedule of one teardown, without a loop or a clock: the due times and wake-ups."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from ptykill.engine import schedule
from ptykill.engine.schedule import Schedule
from ptykill.engine.session_timer import SessionTimer
from ptykill.rules.plan import Plan
from ptykill.rules.steps import Signal, Step

CLOSE = 1e-9


class Timer:
    """A precise timer that is there or not, and notes what it is to call when."""

    def __init__(self, *, there: bool = True) -> None:
        self.there = there
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def call_at(self, when: float, function: Callable[[], None]) -> bool:
        """Note the call; False if there is no timer."""
        if self.there:
            self.calls.append((when, function))
        return self.there


class Times(SessionTimer):
    """A session timer that nobody runs: a test calls what it has been set to."""

    def at(self) -> float:
        """Return the time that is set, infinite if there is none."""
        return min((each.when for each in self._calls.values()), default=math.inf)

    def waits_until(self) -> float:
        """Return until when a busy loop may hear of deaths before the one call is made."""
        (call,) = self._calls.values()
        return call.until


def made(
    kill_bound: float, *, there: bool = True, on_wake: Callable[[float], None] = print
) -> tuple[Schedule, Timer, Times]:
    """Return a schedule, its precise timer, and its session timer."""
    precise, timer = Timer(there=there), Times()
    return Schedule(kill_bound, timer, precise, on_wake), precise, timer  # type: ignore[arg-type]


def plan_of(grace: float, kill_bound: float) -> Plan:
    """Return a plan of one step."""
    return Plan((Step(Signal("HUP"), grace),), kill_bound)


def wake_up(times: Schedule, late: float) -> tuple[float, int]:
    """Wake up as the driver does, each time so late, until something is due.

    Return when that was, and after how many wake-ups.
    """
    for count in range(1, 10):
        now = times.wake_at + late
        if times.due <= now:
            return now, count
        times.set_next_wake_up(now)
    pytest.fail("what is due is never done")


seconds = st.floats(0.0, 10.0) | st.sampled_from([0.0, 1e-6, 0.002, 0.003, 0.005, 0.1, 5.0])
lateness = st.sampled_from([0.0, 1e-6, 0.0005, 0.002, 0.01, 1.0])


def test_nothing_is_due_before_anything_is_asked() -> None:
    """No deadline is set while a session runs."""
    times, precise, timer = made(3.0)
    times.apply()
    assert times.due == times.wake_at == timer.at() == math.inf
    assert precise.calls == []


@given(start=seconds, wait=seconds, grace=seconds, late=lateness, there=st.booleans())
def test_what_is_due_is_done_in_time_and_never_early(
    start: float, wait: float, grace: float, late: float, *, there: bool
) -> None:
    """In at most three wake-ups, and as late as the loop is, but for the timer's margin."""
    times, timer, _ = made(3.0, there=there)
    times.start_grace(grace, start)
    times.start_wait(wait, start)
    assert times.due == min(start + wait, start + grace)
    done, count = wake_up(times, late)
    assert count <= 3
    assert times.due <= done <= times.due + schedule._TIMER_LATE * there + late + CLOSE
    assert {when for when, _ in timer.calls} <= {times.due}


@given(start=seconds, wait=st.floats(0.01, 10.0), there=st.booleans())
def test_the_timer_is_set_late_and_once(start: float, wait: float, *, there: bool) -> None:
    """A session that ends within most of its grace never pays for it."""
    times, timer, _ = made(3.0, there=there)
    times.start_grace(wait, start)
    times.start_wait(wait, start)
    while (now := times.wake_at) < times.due - schedule._TIMER_LEAD:
        times.set_next_wake_up(now)
        assert timer.calls == []
    times.set_next_wake_up(now)
    assert [when for when, _ in timer.calls] == [times.due] * there


def test_a_busy_loop_hears_of_deaths_first() -> None:
    """Before the others are looked for, and before another SIGKILL; the first one is on time."""
    times, precise, timer = made(3.0)
    times.start_grace(1.0, 0.0)
    times.start_wait(1.0, 0.0)
    times.apply()
    assert (timer.at(), timer.waits_until()) == (schedule._HEAD_START, 1.0)
    times.set_next_wake_up(timer.at())
    times.apply()
    times.set_next_wake_up(timer.at())
    times.apply()
    assert timer.at() == 1.0 + schedule._TIMER_LATE
    assert timer.waits_until() == -math.inf
    assert [when for when, _ in precise.calls] == [1.0]
    times.start_kill(1.0)
    times.start_retry(1.0)
    times.apply()
    assert (timer.at(), timer.waits_until()) == (1.0 + schedule._HEAD_START, 4.0)
    times.set_next_wake_up(timer.at())
    times.apply()
    assert (timer.at(), timer.waits_until()) == (1.0 + schedule._RETRY_FIRST, 4.0)
    assert len(precise.calls) == 1


@given(
    kill_bound=seconds,
    late=lateness,
    there=st.booleans(),
    stuck_for=st.floats(0.0, 60.0),
)
def test_rounds_of_sigkill_get_rarer_until_the_bound_and_after_it(
    kill_bound: float, late: float, stuck_for: float, *, there: bool
) -> None:
    """The verdict is due at the bound, not before; the rounds go on, at most five seconds apart."""
    times, *_ = made(kill_bound, there=there)
    times.start_kill(0.0)
    now, last = 0.0, 0.0
    while now < times.kill_until:
        times.start_retry(now)
        assert times.due <= times.kill_until
        pause = times.due - now
        assert pause <= schedule._RETRY_LONGEST + CLOSE
        assert pause >= last - CLOSE or times.due == times.kill_until
        last = pause
        now, _ = wake_up(times, late)
    assert kill_bound <= now <= kill_bound + schedule._TIMER_LATE + late + CLOSE
    times.pass_kill_bound(now)
    until = now + stuck_for
    while now < until:
        assert now < times.due <= now + schedule._STUCK_LONGEST + CLOSE
        now, _ = wake_up(times, late)
        times.start_retry(now)


@given(
    grace=seconds,
    kill_bound=seconds,
    after=st.floats(0.0, 1.0),
    asked=st.tuples(seconds, seconds),
    polite=st.booleans(),
)
def test_a_later_request_brings_things_nearer_alone(
    grace: float, kill_bound: float, after: float, asked: tuple[float, float], *, polite: bool
) -> None:
    """Neither the next step, nor SIGKILL, nor the verdict is ever put off; nor is it forgotten."""
    times, *_ = made(kill_bound)
    now = after * (grace if polite else kill_bound)
    if polite:
        times.start_grace(grace, 0.0)
        times.start_wait(grace, 0.0)
    else:
        times.start_kill(0.0)
        times.start_retry(0.0)
    before = times.due, times.grace_until, times.kill_until, times.kill_bound
    plan = plan_of(*asked)
    over = times.hurry(plan, now, polite=polite)
    then = times.due, times.grace_until, times.kill_until, times.kill_bound
    assert all(new <= old for new, old in zip(then, before, strict=True))
    assert over == (polite and times.grace_until <= now)
    assert times.kill_bound == min(kill_bound, plan.kill_bound)
    if polite and not over:
        assert times.due <= now + plan.grace
    elif not polite:
        assert times.due <= now + plan.longest
    assert wake_up(times, 0.0)[0] <= max(now, times.due) + schedule._TIMER_LATE + CLOSE


async def test_the_timer_does_what_is_due_and_nothing_that_was_put_off(
    mock_clock: trio.testing.MockClock,
) -> None:
    """The step that it was set for may have failed, and the next one have begun; or all is over."""
    done: list[float] = []
    times, timer, _ = made(3.0, on_wake=done.append)
    began = trio.current_time()
    times.start_grace(1.0, began)
    times.start_wait(0.001, began)
    times.set_next_wake_up(began)
    ((_, call),) = timer.calls
    call()
    assert done == []
    mock_clock.jump(0.001)
    times.start_wait(0.001, trio.current_time())
    call()
    assert done == []
    mock_clock.jump(0.001)
    call()
    assert done == [trio.current_time()]
    times.close()
    call()
    assert len(done) == 1


def test_a_change_is_told_to_the_timer_when_it_is_applied() -> None:
    """And not before: the signal goes first. At the end nothing is left in the timer."""
    times, _, timer = made(3.0)
    times.start_grace(1.0, 5.0)
    times.start_wait(1.0, 5.0)
    assert timer.at() == math.inf
    times.apply()
    assert timer.at() == times.wake_at < times.due
    times.end()
    assert timer.at() == times.due == math.inf


def test_a_wake_up_sets_the_timer_again() -> None:
    """The timer forgets what it calls, also if nothing has changed since."""
    times, _, timer = made(3.0)
    times.start_grace(1.0, 5.0)
    times.start_wait(1.0, 5.0)
    times.apply()
    timer._call_due(times.due)
    assert timer.at() == math.inf
    times.woken()
    assert timer.at() == times.wake_at


def test_a_failure_is_made_up_for_later_and_later() -> None:
    """So that a failure that stays does not keep the loop busy; a success begins anew."""
    times, *_ = made(3.0)
    times.start_grace(60.0, 0.0)
    times.start_wait(60.0, 0.0)
    pauses = []
    for _ in range(7):
        times.put_off(10.0)
        pauses.append(times.wake_at - 10.0)
    assert pauses == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.08, 0.1, 0.1])
    times.set_next_wake_up(10.0)
    times.put_off(10.0)
    assert times.wake_at == pytest.approx(10.005)


@pytest.mark.parametrize(("now", "wakes_at"), [(59.99, 60.0), (59.999, 60.004), (61.0, 61.005)])
def test_a_failure_puts_nothing_off_that_is_due(now: float, wakes_at: float) -> None:
    """But it never keeps the loop busy."""
    times, *_ = made(3.0)
    times.start_grace(60.0, 0.0)
    times.start_wait(60.0, 0.0)
    for _ in range(5):
        times.put_off(0.0)
    times.put_off(now)
    assert times.wake_at == pytest.approx(wakes_at)
