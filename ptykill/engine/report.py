"""Collects the facts of one teardown, and makes the verdict of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TypeVar

from ptykill.engine.deliveries import KillRounds, StepDelivery
from ptykill.rules.protocols import Containment
from ptykill.rules.usage import Usage
from ptykill.rules.verdict import Caveat, EndReason, ExitStatus, Outcome, Survivor, Verdict

__all__ = ["Report"]

T = TypeVar("T")

_SPARED = "spared, as the caller has asked; it is no longer watched"
_DEADLINES = (EndReason.LIFETIME, EndReason.IDLE, EndReason.DETACHED)


class Report:
    """The facts of one teardown. The driver and the watcher write them.

    ``began`` is when the end was requested, or the leader exited; ``kill_began`` when SIGKILL was
    first due: times of trio's clock. ``empty`` is set once no process of the session is left.
    ``unproven`` is set if none is found, but that proves nothing. ``failure`` is an error of
    ptykill's own since the last look for members that succeeded. ``reason`` is the first cause of
    the end, None while there is none.
    """

    __slots__ = (
        "_containment",
        "_session_id",
        "began",
        "deliveries",
        "empty",
        "exit_status",
        "failure",
        "kill_began",
        "kills",
        "reason",
        "unproven",
    )

    def __init__(self, session_id: str, containment: Containment) -> None:
        self.began: float = math.inf
        self.kill_began: float = math.inf
        self.deliveries: list[StepDelivery] = []
        self.kills: KillRounds | None = None
        self.empty: bool = False
        self.unproven: bool = False
        self.exit_status: ExitStatus | None = None
        self.reason: EndReason | None = None
        self.failure: str | None = None
        self._session_id = session_id
        self._containment = containment

    def because(self, reason: EndReason) -> None:
        """Note a cause of the end, unless there was one before."""
        self.reason = self.reason or reason

    @property
    def ended_by_itself(self) -> bool:
        """Whether nothing was delivered."""
        return not self.deliveries and self.kills is None

    def outcome(self) -> Outcome:
        """Return how the session ended, in one word, once it has ended."""
        if not self.empty:
            return Outcome.UNPROVEN if self.unproven else Outcome.SPARED
        killed = self.kills is not None and self.kills.record(self.began).reached
        if killed or self._containment.killed:
            return Outcome.KILLED
        # A keeper that has ended it by a deadline does not say what it has delivered.
        asked = self.deliveries or self.reason in _DEADLINES
        return Outcome.GRACEFUL if asked else Outcome.EXITED

    def verdict(
        self,
        outcome: Outcome,
        survivors: tuple[Survivor, ...] | None,
        now: float,
        fail: Callable[[Exception], None],
    ) -> Verdict:
        """Return the verdict as of now. With None as survivors, the containment is asked for them.

        ``fail`` records an error of the containment; the verdict then has a caveat.
        """
        caveats = _ask(self._containment.caveats, fail) or frozenset()
        if survivors is None:
            survivors = _ask(self._containment.survivors, fail) or ()
        if outcome is Outcome.SPARED:
            survivors = tuple(dataclasses.replace(each, why=_SPARED) for each in survivors)
        usage = _ask(self._containment.usage, fail) or Usage()
        began, kill_began = min(self.began, now), min(self.kill_began, now)
        failure = self.failure
        deliveries = [delivery.record(began) for delivery in self.deliveries]
        if self.kills is not None:
            deliveries.append(self.kills.record(began))
            if not self.empty:
                failure = failure or self.kills.failure
        return Verdict(
            session_id=self._session_id,
            pid=self._containment.pid,
            outcome=outcome,
            empty=self.empty,
            exit_status=self.exit_status,
            deliveries=tuple(deliveries),
            survivors=survivors,
            containment=self._containment.name,
            caveats=caveats | {Caveat.INTERNAL_ERROR} if failure else caveats,
            took=now - began,
            grace=kill_began - began,
            kill=now - kill_began,
            reason=self.reason or EndReason.REQUESTED,
            usage=usage,
        )


def _ask(question: Callable[[], T], fail: Callable[[Exception], None]) -> T | None:
    """Ask the containment; return None if it fails."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001 - there has to be a verdict
        fail(error)
        return None
