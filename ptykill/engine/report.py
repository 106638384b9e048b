"""Collects the facts of one teardown, and makes the verdict of them."""

from __future__ import annotations

import math

from ptykill.engine.deliveries import KillRounds, StepDelivery
from ptykill.rules.protocols import Containment
from ptykill.rules.verdict import Caveat, ExitStatus, Outcome, Survivor, Verdict

__all__ = ["Report"]


class Report:
    """The facts of one teardown. The driver and the watcher write them.

    ``began`` is when the end was requested, or the leader exited; ``kill_began`` when SIGKILL was
    first due: times of trio's clock. ``empty`` is set once no process of the session is left.
    ``unproven`` is set if none is found, but that proves nothing. ``failure`` is an error of
    ptykill's own since the last look for members that succeeded.
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
        self.failure: str | None = None
        self._session_id = session_id
        self._containment = containment

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
        return Outcome.GRACEFUL if self.deliveries else Outcome.EXITED

    def verdict(
        self,
        outcome: Outcome,
        caveats: frozenset[Caveat],
        survivors: tuple[Survivor, ...],
        now: float,
    ) -> Verdict:
        """Return the verdict as of now."""
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
        )
