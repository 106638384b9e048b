"""The deadlines of one session, in the host: notes its activity, and ends it by its plan.

Activity moves no timer: it only sets a time. When a deadline is due, the session may have been
active since, and then the timer is set again. The session's keeper has the deadlines too, for a
host that is stopped; it is told of activity now and then (`rules.deadlines`).
"""

from __future__ import annotations

import math

import trio

from ptykill.engine.driver import Driver
from ptykill.engine.output import Output
from ptykill.engine.session_timer import SessionTimer
from ptykill.engine.settings import Settings
from ptykill.errors import SessionEnded
from ptykill.rules.deadlines import DeadlineClock, Deadlines, Elapsed
from ptykill.rules.lifecycle import State
from ptykill.rules.plan import Plan

__all__ = ["SessionDeadlines"]

_RETRY = 1.0
"""Seconds from an error of ptykill's own to the next try."""
_AFTER_PLAN = 1.0
"""Seconds that a host that is ending a session may be late before its keeper ends it."""


class SessionDeadlines:
    """The deadlines of one session, which its driver ends by the plan of its settings."""

    def __init__(
        self, settings: Settings, driver: Driver, output: Output, timer: SessionTimer
    ) -> None:
        self._plan = settings.plan
        self._driver = driver
        self._containment = driver.containment
        self._output = output
        self._timer = timer
        driver.on_ending = self.leave_to_plan
        output.on_readers = self.attached
        now = trio.current_time()
        self._clock = DeadlineClock(settings.deadlines, now)
        self._tell_at = math.inf
        """From when on the keeper has to be told of activity."""
        self._closed = False
        if settings.deadlines:
            self._look(now)
            self._set_timer()
            self._note_told()

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines."""
        return self._clock.deadlines

    def touch(self) -> None:
        """Note that there was input or output."""
        now = self._clock.active_at = trio.current_time()
        if now >= self._tell_at:
            self._tell(now)

    def attached(self, clients: int) -> None:
        """Note how many clients are attached, when that has changed."""
        clock = self._clock
        if (clock.detached_at is None) is (clients > 0):
            return
        now = trio.current_time()
        clock.detached_at = None if clients else now
        if clock.deadlines.detached is not None and not self._closed:
            self._set_timer()
            self._tell(now)

    def change(self, deadlines: Deadlines) -> None:
        """Replace the deadlines. They count from when they would have counted before.

        Raises `SessionEnded` if the session is over, or is being ended.
        """
        if self._driver.state is not State.RUNNING or self._taken_over():
            msg = "the session is over, or is being ended"
            raise SessionEnded(msg)
        now = trio.current_time()
        had_idle = self.deadlines.idle is not None
        self._clock.deadlines = deadlines
        if not had_idle:
            self._look(now)
        self._set_timer()
        self._tell(now)

    def leave_to_plan(self, plan: Plan) -> None:
        """Set no more timer: the session is being ended by ``plan``.

        The keeper is told to go on with the plan if this host is stopped before that is done.
        """
        if self._closed:
            return
        if self.deadlines:
            self._tell_keeper(Deadlines(lifetime=plan.longest + _AFTER_PLAN), Elapsed())
        self._closed = True
        self._tell_at = math.inf
        self._timer.set(self._on_due, math.inf)
        self._output.on_readers = None  # It would be a reference cycle.

    def _on_due(self, now: float) -> None:
        """Do what is due, in the timer's task."""
        try:
            # In the context of the session's task, as its other log events.
            self._driver.context.run(self._do_due, now)
        except BaseException as error:  # noqa: BLE001 - no session may take the others down
            self._timer.set(self._on_due, now + _RETRY)
            self._driver.fail(error)

    def _do_due(self, now: float) -> None:
        if self._taken_over():
            return
        if (reason := self._clock.check(now, self._containment.processor_time)) is not None:
            self._driver.request(self._plan, reason)
            self._output.flow()  # A clean-up that writes must not wait for a slow receiver.
        else:
            self._set_timer()
            self._tell(now)

    def _taken_over(self) -> bool:
        """Take over the end that the keeper has begun, if it has: this host was stopped."""
        ending = self._containment.ending()
        # That has read what the keeper has sent. The session's task, which sleeps until there is
        # something to read, would not hear of an exit.
        self._driver.look_again()
        if ending is None:
            return False
        self._driver.take_over(ending)
        self._output.flow()
        return True

    def _set_timer(self) -> None:
        if not self._closed:
            self._timer.set(self._on_due, self._clock.due)

    def _tell(self, now: float) -> None:
        """Tell the keeper of the deadlines and the last activity."""
        self._tell_keeper(self.deadlines, self._clock.elapsed(now))
        self._note_told()

    def _note_told(self) -> None:
        """Set when the keeper has to be told of activity again."""
        idle = self.deadlines.idle is not None and not self._closed
        self._tell_at = self._clock.quiet_since + self.deadlines.slack if idle else math.inf

    def _tell_keeper(self, deadlines: Deadlines, elapsed: Elapsed) -> None:
        try:
            self._containment.set_deadlines(deadlines, elapsed)
        except Exception as error:  # noqa: BLE001 - what it has been told stays in force
            self._driver.fail(error)

    def _look(self, now: float) -> None:
        try:
            self._clock.look(now, self._containment.processor_time)
        except Exception as error:  # noqa: BLE001 - the next look may succeed
            self._driver.fail(error)
