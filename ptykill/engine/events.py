"""Logs what happens to one session: its transitions, its deliveries, and ptykill's own failures."""

from __future__ import annotations

import logging

from ptykill import log
from ptykill.engine.deliveries import KillRounds, StepDelivery
from ptykill.rules.lifecycle import State
from ptykill.rules.steps import Reach, Step
from ptykill.rules.verdict import Delivery, Verdict

__all__ = ["SessionEvents"]

_FAILURES = 16
"""Different failures of ptykill's own that are logged for one session."""


class SessionEvents:
    """The log events of one session. No method raises, whatever the host's logger does."""

    __slots__ = ("_logged", "_pid", "_session_id")

    def __init__(self, session_id: str, pid: int) -> None:
        self._session_id = session_id
        self._pid = pid
        self._logged: set[str] = set()

    def changed(self, state: State, seconds: float, verdict: Verdict | None) -> None:
        """Log a transition, ``seconds`` after the teardown began."""
        level = logging.WARNING if state is State.STUCK else logging.INFO
        if log.wanted(level):
            fields: dict[str, object] = {}
            if verdict is not None and state in (State.STUCK, State.ENDED):
                fields = {"outcome": verdict.outcome.value, "empty": verdict.empty}
            self._log(level, f"session.{state}", state, ms=_ms(seconds), **fields)

    def delivered(self, state: State, delivery: StepDelivery, began: float) -> None:
        """Log that a step has been delivered, or has failed."""
        level = logging.INFO if delivery.error is None else logging.WARNING
        if log.wanted(level):
            self._delivery(level, state, delivery.record(began), delivery.step)

    def killed(self, state: State, kills: KillRounds, began: float) -> None:
        """Log the first round of SIGKILL."""
        if log.wanted(logging.INFO):
            self._delivery(logging.INFO, state, kills.record(began), None)

    def failed(self, state: State, error: Exception) -> str:
        """Log an error of ptykill's own, each different one once; return it as text."""
        failure = f"{type(error).__name__}: {error}"
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


def _ms(seconds: float) -> float:
    return round(1000 * max(0.0, seconds), 3)
