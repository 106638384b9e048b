"""The deadlines of one session, as its keeper has them: for a host that is stopped.

A host that runs ends the session by itself, some time before the keeper would. It tells the keeper
of changes, and of activity, which only the host sees (`rules.deadlines`).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence

from ptykill.rules.deadlines import DeadlineClock, Deadlines, Elapsed
from ptykill.rules.processor_time import ProcessorTime
from ptykill.rules.verdict import EndReason
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.processor_time import processor_time

__all__ = ["KeptDeadlines"]


class KeptDeadlines:
    """The deadlines of one session; none until `set` is called."""

    def __init__(self, cgroup: Cgroup | None) -> None:
        self.due: float = math.inf
        """When to call `passed`, in monotonic seconds."""
        self._cgroup = cgroup
        self._clock: DeadlineClock | None = None
        self._closed = False

    def set(self, deadlines: Sequence[float | None], elapsed: Sequence[float | None] = ()) -> None:
        """Take the deadlines, and the times that have passed, as a message of the host has them."""
        if self._closed:
            return
        lifetime, idle, detached = deadlines
        checked = Deadlines(lifetime=lifetime, idle=idle, detached=detached)
        now = time.monotonic()
        if self._clock is None:
            self._clock = DeadlineClock(checked, now)
        self._clock.deadlines = checked
        self._clock.set_elapsed(Elapsed(*elapsed), now)  # type: ignore[arg-type]  # its fields
        self._clock.look(now, self._processor_time)
        self.due = self._clock.due

    def close(self) -> None:
        """Have no deadlines any more: this keeper is ending the session, or has spared it."""
        self._clock, self.due, self._closed = None, math.inf, True

    def passed(self) -> EndReason | None:
        """Return the deadline that has passed, if any; set ``due`` anew."""
        if self._clock is None:
            return None
        reason = self._clock.check(time.monotonic(), self._processor_time)
        self.due = self._clock.due
        return reason

    def _processor_time(self) -> ProcessorTime:
        return processor_time(os.getpid(), self._cgroup)
