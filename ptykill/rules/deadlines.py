"""Deadlines: when a session is ended although nobody has asked for its end.

`Deadlines` is what a caller gives. `DeadlineClock` knows when they are due. A host and a keeper
each have one of them: the keeper's is for a host that is stopped.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

from ptykill.errors import InvalidDeadline
from ptykill.rules.processor_time import ProcessorTime
from ptykill.rules.verdict import EndReason

__all__ = [
    "LONGEST_DEADLINE",
    "SHORTEST_DEADLINE",
    "DeadlineClock",
    "Deadlines",
    "Elapsed",
    "deadline_seconds",
]

SHORTEST_DEADLINE = 0.1
"""No deadline is shorter (seconds): processor time is counted in steps of 0.01 s."""
LONGEST_DEADLINE = 31_536_000.0
"""No deadline is longer (seconds: 365 days)."""
_KEEPER_LATE = 1.0
"""Seconds that a keeper waits for its host to act on a deadline."""
_MOST_SLACK = 10.0
"""The longest time (seconds) for which a host keeps activity to itself."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """The deadlines of a session, each in seconds, from 0.1 to 365 days; None for no deadline.

    The time for which the machine is suspended does not count (clock_gettime(2), CLOCK_MONOTONIC).
    Raises `InvalidDeadline`.
    """

    lifetime: float | None = None
    """The time from the spawn on."""
    idle: float | None = None
    """The time without input, without output and without processor time of any member."""
    detached: float | None = None
    """The time without an attachment (`Session.attach`), from the spawn or from the last detach
    on."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                object.__setattr__(self, field.name, deadline_seconds(field.name, value))

    def __bool__(self) -> bool:
        """Return whether there is any deadline."""
        return not (self.lifetime is None and self.idle is None and self.detached is None)

    @property
    def slack(self) -> float:
        """How much activity (seconds) a host may see before it tells the keeper of it."""
        return 0.0 if self.idle is None else min(self.idle / 8, _MOST_SLACK)

    def of_keeper(self) -> Deadlines:
        """Return these deadlines as a keeper has them: later, so that a host that runs is first.

        The last activity that the keeper was told of may be as much as ``slack`` too old.
        """
        late = _KEEPER_LATE
        return Deadlines(
            lifetime=_later(self.lifetime, late),
            idle=_later(self.idle, late + self.slack),
            detached=_later(self.detached, late),
        )

    def within(self, caps: Deadlines) -> Deadlines:
        """Return these deadlines with those of ``caps`` where there is none.

        Raises `InvalidDeadline` if one is later than its cap.
        """
        found = {}
        for name, cap in dataclasses.asdict(caps).items():
            own = getattr(self, name)
            if own is not None and cap is not None and own > cap:
                msg = f"{name} is {own:g} s, and may be at most {cap:g} s here"
                raise InvalidDeadline(msg)
            found[name] = cap if own is None else own
        return Deadlines(**found)


def deadline_seconds(name: str, value: object) -> float:
    """Return a deadline, in seconds. Raises `InvalidDeadline`, with its name."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not SHORTEST_DEADLINE <= value <= LONGEST_DEADLINE  # also true for nan
    ):
        msg = (
            f"{name} must be None, or a number of seconds from {SHORTEST_DEADLINE:g} to"
            f" {LONGEST_DEADLINE:.0f}, not {value!r:.100}"
        )
        raise InvalidDeadline(msg)
    return float(value)


def _later(deadline: float | None, seconds: float) -> float | None:
    return None if deadline is None else min(deadline + seconds, LONGEST_DEADLINE)


class Elapsed(NamedTuple):
    """How long ago, in seconds, the events were that the deadlines count from."""

    age: float = 0.0
    """Seconds since the spawn."""
    quiet: float = 0.0
    """Seconds since the last sign of activity."""
    detached: float | None = 0.0
    """Seconds since the last detach; None while there is an attachment."""


class DeadlineClock:
    """When the deadlines of one session are due. It has no clock: callers pass the time.

    The deadlines count from ``began``, from the last activity, and from ``detached_at`` (None while
    there is an attachment). `check` has to be called at ``due``. Activity moves ``due``, so a
    caller may find at that time that it is later. It looks at the members' processor time only
    then.

    The processor time that was used since the look before, or since the spawn, counts as used at
    the look. So an idle session ends when it has been idle for one to two times its deadline.
    """

    __slots__ = (
        "_busy_at",
        "_looked_at",
        "_seen",
        "active_at",
        "began",
        "deadlines",
        "detached_at",
    )

    def __init__(self, deadlines: Deadlines, now: float) -> None:
        self.deadlines: Deadlines = deadlines
        self._busy_at = -math.inf
        self._looked_at = now
        self._seen = ProcessorTime()
        self.began: float = now
        self.active_at: float = now
        """When the last input or output was seen."""
        self.detached_at: float | None = now

    def set_elapsed(self, elapsed: Elapsed, now: float) -> None:
        """Set the times that the deadlines count from."""
        self.began = now - elapsed.age
        self.active_at = now - elapsed.quiet
        self.detached_at = None if elapsed.detached is None else now - elapsed.detached

    def elapsed(self, now: float) -> Elapsed:
        """Return how long ago those times were."""
        detached = None if self.detached_at is None else now - self.detached_at
        return Elapsed(now - self.began, now - self.quiet_since, detached)

    @property
    def quiet_since(self) -> float:
        """When the session was active last, as far as that is known."""
        return max(self.active_at, self._busy_at)

    @property
    def due(self) -> float:
        """When to call `check`."""
        return min(self._times().values(), default=math.inf)

    def _times(self) -> dict[EndReason, float]:
        deadlines, times = self.deadlines, {}
        if deadlines.lifetime is not None:
            times[EndReason.LIFETIME] = self.began + deadlines.lifetime
        if deadlines.detached is not None and self.detached_at is not None:
            times[EndReason.DETACHED] = self.detached_at + deadlines.detached
        if deadlines.idle is not None:
            times[EndReason.IDLE] = self.quiet_since + deadlines.idle
        return times

    def look(self, now: float, processor_time: Callable[[], ProcessorTime]) -> None:
        """Look at the members' processor time, if there is an idle deadline."""
        if self.deadlines.idle is None:
            return
        seen = processor_time()
        if seen.used_since(self._seen, now - self._looked_at):
            self._busy_at = now
        self._seen, self._looked_at = seen, now

    def check(self, now: float, processor_time: Callable[[], ProcessorTime]) -> EndReason | None:
        """Return the deadline that has passed; None if there is none, and ``due`` is later."""
        passed = self._passed(now)
        if passed is None or passed is EndReason.IDLE:
            self.look(now, processor_time)
            passed = self._passed(now)
        return passed

    def _passed(self, now: float) -> EndReason | None:
        # In the order of `_times`: only an idle deadline asks for a look.
        return next((reason for reason, when in self._times().items() if now >= when), None)
