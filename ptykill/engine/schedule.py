"""Keeps the time of one teardown: what is due when, and when the session's task wakes up for it.

Times are of trio's clock, durations in seconds. Each step and each round of SIGKILL has up to three
wake-ups after it:

1. After the leader's head start, the other processes get the signal.
2. Shortly before the next step is due, the precise timer is set. Most sessions end within their
   grace, and so never pay for it.
3. When it is due, the timer's task calls ``on_due``, and the session's task goes on waiting.
   A deadline is set a little later, for a loop that is held up. Without a precise timer, the
   deadline is set to the time itself, and the session's task does what is due.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

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
"""The longest once the kill bound has passed: what keeps a process alive may last."""


class Schedule:
    """One session's times. A change takes effect on the current wait with `apply`.

    ``due`` is when the plan's next step, round of SIGKILL or verdict is; ``wake_at`` when the
    session's task wakes up next. ``on_due`` is called in the precise timer's task, with the time.
    It must not raise.
    """

    __slots__ = (
        "_on_due",
        "_retry",
        "_retry_longest",
        "_scope",
        "_timer",
        "due",
        "grace_until",
        "kill_bound",
        "kill_until",
        "wake_at",
    )

    def __init__(
        self, kill_bound: float, timer: PreciseTimer, on_due: Callable[[float], None]
    ) -> None:
        self.due: float = math.inf
        self.wake_at: float = math.inf
        self.grace_until: float = math.inf
        self.kill_until: float = math.inf
        self.kill_bound: float = kill_bound
        """Seconds from the first SIGKILL to the verdict."""
        self._retry = _RETRY_FIRST
        self._retry_longest = _RETRY_LONGEST
        self._timer = timer
        self._on_due = on_due
        self._scope = trio.CancelScope()

    # --- what is due when -------------------------------------------------------------------------

    def start_grace(self, grace: float, now: float) -> None:
        """Note that the polite steps begin, and when SIGKILL follows at the latest."""
        self.grace_until = now + grace

    def start_wait(self, wait: float, now: float) -> None:
        """Note that a step begins: the next is due after its wait."""
        self._set_due(min(now + wait, self.grace_until), now)

    def end_wait(self, now: float) -> None:
        """Note that the current step has failed: the next one is due now."""
        self._set_due(now, now)

    def start_kill(self, now: float) -> None:
        """Note that SIGKILL begins, and when the kill bound will have passed."""
        self.kill_until = now + self.kill_bound
        self._retry, self._retry_longest = _RETRY_FIRST, _RETRY_LONGEST

    def start_retry(self, now: float) -> None:
        """Note that SIGKILL was sent: the next round is due after a while, longer each time."""
        self._set_due(min(now + self._retry, self.kill_until), now)
        self._retry = min(self._retry * 2, self._retry_longest)

    def pass_kill_bound(self, now: float) -> None:
        """Note that the kill bound has passed: from now on there are rounds of SIGKILL alone."""
        self.kill_until, self._retry_longest = math.inf, _STUCK_LONGEST
        self.due = self.wake_at = now + self._retry

    def hurry(self, plan: Plan, now: float, *, polite: bool) -> bool:
        """Bring the times nearer as a later request's plan has them; True if the grace is over.

        ``polite`` is whether the polite steps go on. Nothing is put off.
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

    # --- waking up --------------------------------------------------------------------------------

    def until_wake_up(self) -> trio.CancelScope:
        """Return the scope for the task's next wait, which ends at ``wake_at``."""
        self._scope = trio.CancelScope(deadline=self.wake_at)
        return self._scope

    def for_pause(self, least: float, seconds: float, now: float) -> trio.CancelScope:
        """Return the scope for a pause, which lasts beyond ``wake_at`` only for ``least``."""
        until = max(now + least, min(now + seconds, self.wake_at))
        self._scope = trio.CancelScope(deadline=until)
        return self._scope

    def apply(self) -> None:
        """Have the current wait end at ``wake_at``, which may have changed.

        It is a call of its own since a signal is sent first: moving a deadline takes longer.
        """
        if self._scope.deadline != self.wake_at:
            self._scope.deadline = self.wake_at

    def set_next_wake_up(self, now: float) -> None:
        """Set the wake-up that follows one before anything is due."""
        if now < self.due - _TIMER_LEAD:
            self.wake_at = self.due - _TIMER_LEAD
        else:
            exact = self._timer.call_at(self.due, self._call)
            self.wake_at = self.due + _TIMER_LATE * exact

    def close(self) -> None:
        """Call nothing from now on, and refer to nothing that refers to this."""
        self.due = math.inf
        self._on_due = _ignore

    def _call(self) -> None:
        """Do what is due, in the precise timer's task."""
        now = trio.current_time()
        if now >= self.due:  # Else it was put off: there is another step, or round, by now.
            self._on_due(now)


def _ignore(now: float) -> None:
    """Do nothing: the session is over."""
