"""Counts what becomes of a supervisor's sessions, for a program that watches it.

A supervisor has no figures until they are asked for. What is counted here was counted since then.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from ptykill.engine.output import Output
from ptykill.rules.verdict import Caveat, Outcome, Verdict

__all__ = ["Figures", "Histogram", "Traffic"]

_SHORT: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LONG: Final = (0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """How many values are at most as large as each of some bounds, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds: tuple[float, ...] = tuple(bounds)
        self.sum: float = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    def counts(self) -> list[int]:
        """Return how many values are at most each bound, and last how many there are."""
        return list(accumulate(self._counts))


class Traffic:
    """The bytes through some terminals, and the attachments to them."""

    def __init__(self) -> None:
        self.output: int = 0
        """Bytes that programs have written."""
        self.output_dropped: int = 0
        """Bytes of those that were dropped before any receiver had got them."""
        self.input: int = 0
        """Bytes that were typed."""
        self.attached: int = 0
        """How many attachments there have been."""
        self.detached_for_slowness: int = 0
        """How many of those were dropped since they had stopped a program's writes too long."""

    def add(self, output: Output, typed: int) -> None:
        """Add those of one session."""
        self.output += output.kept.end
        self.output_dropped += output.bytes_dropped
        self.input += typed
        self.attached += output.attached_ever
        self.detached_for_slowness += output.dropped_ever


class Figures:
    """The figures of one supervisor. Times are in seconds."""

    def __init__(self) -> None:
        self.spawned: int = 0
        """Sessions that were spawned."""
        self.refused: Counter[str] = Counter()
        """Spawns that have failed, by the code of their error; without those of wrong arguments."""
        self.ended: Counter[tuple[str, str]] = Counter()
        """Sessions that are over, by `Outcome` and `EndReason`."""
        self.keepers_lost: int = 0
        """Sessions whose keeper was killed before they had ended."""
        self.spawn_seconds: Histogram = Histogram(_SHORT)
        """How long spawns took that have not failed."""
        self.end_seconds: Histogram = Histogram(_LONG)
        """How long ends took, from the request or the leader's own exit to the verdict."""
        self.grace_seconds: Histogram = Histogram(_LONG)
        """The part of that before SIGKILL."""
        self.kill_seconds: Histogram = Histogram(_LONG)
        """The part of that from the first SIGKILL on, for sessions that got one."""
        self.traffic: Traffic = Traffic()
        """The traffic of the sessions that are over."""

    def note_spawned(self, seconds: float) -> None:
        """Count a spawn that took so long."""
        self.spawned += 1
        self.spawn_seconds.add(seconds)

    def note_ended(self, verdict: Verdict, output: Output, typed: int) -> None:
        """Count a session that is over, or is no longer watched."""
        self.ended[verdict.outcome.value, verdict.reason.value] += 1
        self.keepers_lost += Caveat.KEEPER_LOST in verdict.caveats
        self.end_seconds.add(verdict.took)
        self.grace_seconds.add(verdict.grace)
        if verdict.outcome in (Outcome.KILLED, Outcome.STUCK):
            self.kill_seconds.add(verdict.kill)
        self.traffic.add(output, typed)
