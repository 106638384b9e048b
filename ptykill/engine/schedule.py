"""Sets the times of one teardown: when a step is due, and when the timers wake the driver up.

Times are of trio's clock, durations in seconds. Each step has up to three wake-ups after it:

1. After the leader's head start, the other processes get the signal.
2. Shortly before the next step is due, the precise timer is set. Most sessions end within their
   grace, and so need no precise timer.
3. The step is due. The precise timer is on time. The session timer comes a little later, in case
   the precise one has failed; or at that time, if there is no precise one.

A round of SIGKILL has two: the first of these, and the next round. That need not be on time: a busy
loop hears of the deaths first, and mostly needs no further round then.

The timers' tasks make these calls. The session's own task waits for exits.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from ptykill.engine.session_timer import SessionTimer
from ptykill.engine.timer import PreciseTimer
from ptykill.rules.plan import Plan

__all__ = ["Schedule"]

_HEAD_START = 0.002
"""Seconds that the leader has to die, before the other processes are looked for and signalled."""
_TIMER_LEAD = 0.003
"""Seconds before a step is due at which the precise timer is set."""
_TIMER_LATE = 0.001
"""Seconds from the precise timer to the deadline behind it."""
_RETRY_FIRST, _RETRY_LONGEST = 0.005, 0.1
"""Seconds between two rounds of SIGKILL: doubling, up to the longest."""
_STUCK_LONGEST = 5.0
"""The longest pause once the kill bound has passed: the survivors may live for long."""


class Schedule:
    """The times of one session's teardown.

    ``due`` is the time of the next step, round of SIGKILL or verdict; ``wake_at`` is the next time
    at which ``on_wake`` is called, with the time. `apply` tells the timer a change. ``on_wake`` is
    called in the task of a timer, and must not raise.
    """

    __slots__ = (
        "_in_head_start",
        "_killing",
        "_on_wake",
        "_pause",
        "_precise",
        "_retry",
        "_retry_longest",
        "_set_to",
        "_timer",
        "due",
        "grace_until",
        "kill_bound",
        "kill_until",
        "wake_at",
    )

    def __init__(
        self,
        kill_bound: float,
        timer: SessionTimer,
        precise: PreciseTimer,
        on_wake: Callable[[float], None],
    ) -> None:
        self.due: float = math.inf
        self.wake_at: float = math.inf
        self.grace_until: float = math.inf
        self.kill_until: float = math.inf
        self.kill_bound: float = kill_bound
        """Seconds from the first SIGKILL to the verdict."""
        self._retry = _RETRY_FIRST
        self._retry_longest = _RETRY_LONGEST
        self._pause = _RETRY_FIRST
        self._in_head_start = False
        self._killing = False
        self._timer = timer
        self._precise = precise
        self._on_wake = on_wake
        self._set_to = math.inf
        """The time that the session timer has."""

    # --- what is due when -------------------------------------------------------------------------

    def start_grace(self, grace: float, now: float) -> None:
        """Start the plan: SIGKILL follows after ``grace`` at the latest."""
        self.grace_until = now + grace

    def start_wait(self, wait: float, now: float) -> None:
        """Start the wait of a step: the next step is due after it."""
        self._set_due(min(now + wait, self.grace_until), now)

    def wait_for_kill(self, grace: float, now: float) -> None:
        """Wait for SIGKILL alone, which follows after ``grace``: the keeper delivers the steps."""
        self.start_grace(grace, now)
        self._set_due(self.grace_until, now)
        self.apply()

    def end_wait(self, now: float) -> None:
        """End the wait of a step that has failed: the next one is due now."""
        self._set_due(now, now)

    def start_kill(self, now: float) -> None:
        """Start the rounds of SIGKILL, and the kill bound."""
        self._killing = True
        self.kill_until = now + self.kill_bound
        self._retry, self._retry_longest = _RETRY_FIRST, _RETRY_LONGEST

    def start_retry(self, now: float) -> None:
        """Start the pause after a round of SIGKILL: it is longer each time."""
        self._set_due(min(now + self._retry, self.kill_until), now)
        self._retry = min(self._retry * 2, self._retry_longest)

    def pass_kill_bound(self, now: float) -> None:
        """End the kill bound: from now on only rounds of SIGKILL are due."""
        self.kill_until, self._retry_longest = math.inf, _STUCK_LONGEST
        self.due = self.wake_at = now + self._retry

    def hurry(self, plan: Plan, now: float, *, polite: bool) -> bool:
        """Make the times earlier by a later request's plan; return True if the grace is over.

        ``polite`` is whether SIGKILL has not begun. No time becomes later.
        """
        self.kill_bound = min(self.kill_bound, plan.kill_bound)
        self.grace_until = min(self.grace_until, now + plan.grace)
        self.kill_until = min(self.kill_until, now + plan.longest)
        if polite and self.grace_until <= now:
            return True
        self._set_due(min(self.due, self.grace_until if polite else self.kill_until), now)
        return False

    def _set_due(self, when: float, now: float) -> None:
        self.due = when
        self.wake_at = min(when, now + _HEAD_START)
        self._in_head_start = True

    # --- waking up --------------------------------------------------------------------------------

    def apply(self) -> None:
        """Tell the timer when to wake the driver up, if that has changed.

        It is a call of its own, so that a signal is sent first.
        """
        if self._set_to != self.wake_at:
            self._set_to = self.wake_at
            # Before the other processes are looked for, a busy loop hears of the leader's death;
            # and of all deaths before another round of SIGKILL.
            if self._killing:
                until = self.kill_until
            else:
                until = self.due if self._in_head_start else -math.inf
            self._timer.set(self._on_wake, self.wake_at, until)

    def set_next_wake_up(self, now: float) -> None:
        """Set the next wake-up: shortly before the next step is due, or at its time."""
        self._pause, self._in_head_start = _RETRY_FIRST, False
        if self._killing:
            self.wake_at = self.due
        elif now < self.due - _TIMER_LEAD:
            self.wake_at = self.due - _TIMER_LEAD
        else:
            exact = self._precise.call_at(self.due, self._call)
            self.wake_at = self.due + _TIMER_LATE * exact

    def woken(self) -> None:
        """Set the timer again, once what was due at this wake-up has been done."""
        self._set_to = math.inf
        self.apply()

    def put_off(self, now: float) -> None:
        """Wake the driver up again a little later, since it has failed; later each time.

        But what is due is done when it is due.
        """
        self.wake_at = min(now + self._pause, max(self.due, now + _RETRY_FIRST))
        self._pause = min(self._pause * 2, _RETRY_LONGEST)

    def end(self) -> None:
        """Wake nobody up any more: the session is over."""
        self.due = self.wake_at = math.inf
        self.apply()

    def close(self) -> None:
        """Do as `end`, and drop the reference to the driver, which refers to this."""
        self.end()
        self._on_wake = _ignore

    def _call(self) -> None:
        """Do what is due, in the precise timer's task."""
        now = trio.current_time()
        if now >= self.due:  # Otherwise another step, or round, has begun by now.
            self._on_wake(now)


def _ignore(now: float) -> None:
    """Do nothing: the session is over."""
