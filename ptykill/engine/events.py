"""Tells what happens to one session: its transitions, its deliveries, and ptykill's own failures.

Log events are for the host's log; events of the ring are for programs that follow sessions.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from ptykill import log
from ptykill.engine.deliveries import KillRounds, StepDelivery
from ptykill.engine.event_ring import EventRing
from ptykill.engine.report import Report
from ptykill.rules.lifecycle import State
from ptykill.rules.session_event import EventKind
from ptykill.rules.steps import Reach, Step
from ptykill.rules.verdict import Delivery, EndReason, ExitStatus, Survivor, Verdict

__all__ = ["SessionEvents"]

_ENDING = (State.STOPPING, State.KILLING)
_NOT_TOLD = "not told"

_FAILURES = 16
"""Different failures of ptykill's own that are logged for one session."""


class SessionEvents:
    """The events of one session. No method raises, whatever the host's logger does."""

    __slots__ = ("_logged", "_pid", "_ring", "_session_id", "_told")

    def __init__(self, session_id: str, pid: int, ring: EventRing) -> None:
        self._session_id = session_id
        self._pid = pid
        self._ring = ring
        self._logged: set[str] = set()
        self._told: ExitStatus | str | None = _NOT_TOLD

    # --- for the ring -----------------------------------------------------------------------------

    def entered(self, before: State, state: State, reason: EndReason | None) -> None:
        """Tell that the plan has begun, before its first step is delivered."""
        if self._ring.followed and state in _ENDING and before not in _ENDING:
            changes = {"status": "ending", **_end(reason)}
            self._ring.add(EventKind.ENDING, self._session_id, changes, reason)

    def exited(self, status: ExitStatus | None, state: State, reason: EndReason | None) -> None:
        """Tell that the leader is dead; once, and again if its status has become known."""
        if status == self._told:
            return
        self._told = status
        if self._ring.followed:
            now = "stuck" if state is State.STUCK else "ending"
            changes = {"status": now, **_exit(status), **_end(reason)}
            self._ring.add(EventKind.EXITED, self._session_id, changes)

    def stuck(self, verdict: Verdict) -> None:
        """Tell that the kill bound has passed."""
        self._ring.add(EventKind.STUCK, self._session_id, {"status": "stuck"}, verdict)

    def ended(self, verdict: Verdict, ended_at: float) -> None:
        """Tell that the session is over."""
        if not self._ring.followed:
            return
        changes: dict[str, object] = {
            "status": "ended",
            "is_alive": False,
            "ended_at": ended_at,
            "usage": verdict.usage.known(),
        }
        self._ring.add(EventKind.ENDED, self._session_id, changes, verdict)

    # --- for the log, and for both ----------------------------------------------------------------

    def changed(self, state: State, now: float, report: Report, verdict: Verdict | None) -> None:
        """Log a transition, and the cause of the end."""
        level = logging.WARNING if state is State.STUCK else logging.INFO
        if log.wanted(level):
            fields: dict[str, object] = {"reason": report.reason and report.reason.value}
            if verdict is not None and state in (State.STUCK, State.ENDED):
                fields |= {
                    "outcome": verdict.outcome.value,
                    "empty": verdict.empty,
                    "usage": verdict.usage.known(),
                }
                if verdict.survivors:
                    fields["survivors"] = [_survivor(each) for each in verdict.survivors]
            self._log(level, f"session.{state}", state, ms=_ms(now - report.began), **fields)

    def delivered(self, state: State, delivery: StepDelivery, began: float) -> None:
        """Tell that a step has been delivered, or has failed."""
        level = logging.INFO if delivery.error is None else logging.WARNING
        logged = log.wanted(level)
        if logged or self._ring.followed:
            record = delivery.record(began)
            self._ring.add(EventKind.DELIVERY, self._session_id, details=record)
            if logged:
                self._delivery(level, state, record, delivery.step)

    def killed(self, state: State, kills: KillRounds, began: float) -> None:
        """Tell of the first round of SIGKILL."""
        logged = log.wanted(logging.INFO)
        if logged or self._ring.followed:
            record = kills.record(began)
            self._ring.add(EventKind.DELIVERY, self._session_id, details=record)
            if logged:
                self._delivery(logging.INFO, state, record, None)

    def failed(self, state: State, error: BaseException) -> str:
        """Log an error of ptykill's own, each different one once; return it as text."""
        failure = type(error).__name__
        with suppress(Exception):  # A user's exception may not have a text.
            failure = f"{failure}: {error}"
        if failure not in self._logged and len(self._logged) < _FAILURES:
            self._logged.add(failure)
            self._log(logging.ERROR, "session.broken", state, exc_info=error)
        return failure

    def _delivery(self, level: int, state: State, record: Delivery, step: Step | None) -> None:
        self._log(
            level,
            "session.delivery",
            state,
            signal=str(step.what) if step else "KILL",
            reach=(step.reach if step else Reach.ALL).value,
            reached=record.reached,
            refused=record.refused,
            error=record.error,
            ms=_ms(record.at),
        )

    def _log(self, level: int, name: str, state: State, **fields: object) -> None:
        log.event(
            level,
            name,
            session_id=self._session_id,
            pid=self._pid,
            state=state.value,
            **fields,
        )


def _survivor(survivor: Survivor) -> str:
    return f"pid {survivor.pid} ({survivor.name}, state {survivor.state}): {survivor.why}"


def _exit(status: ExitStatus | None) -> dict[str, object]:
    """Return the fields of a record that follow from the leader's status."""
    if status is None:
        return {"exit_code": None}
    killed = {"oom_killed": True} if status.oom_killed else {}
    return {"exit_code": status.shell_code, **killed}


def _end(reason: EndReason | None) -> dict[str, object]:
    """Return the field of a record that says why the session ends."""
    return {"end_reason": None if reason is None else reason.value}


def _ms(seconds: float) -> float:
    return round(1000 * max(0.0, seconds), 3)
