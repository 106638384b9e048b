"""The processor time of a session's members, and whether they have used some between two looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["ProcessorTime"]

_TICK = 10_000
"""Microseconds of the kernel's step in /proc (proc(5), USER_HZ). A process that runs for a
microsecond may be counted with a whole step, so one step is no proof."""
_SHARE = 0.0001
"""The share of one processor that is not counted: a program that looks at a clock or at a file now
and then uses less."""


class ProcessorTime(NamedTuple):
    """The processor time that a session's members have used, in microseconds."""

    total: int = 0
    """That of all, and of the dead as far as their parents have waited for them."""
    own: Mapping[tuple[int, int], int] = {}
    """That of each living member alone, by its pid and its start time."""
    cgroup: int = 0
    """The kernel's own count for the session's cgroup; 0 if there is none."""

    def used_since(self, before: ProcessorTime, seconds: float) -> bool:
        """Return whether a member has run since another look, so many seconds ago.

        That is the case if they have used more than 10 ms, and more than 0.01 % of one processor.
        """
        # The total falls when a process dies whose parent ignores SIGCHLD, and so does not get its
        # time (times(2)). What the living have used since is known all the same.
        living = sum(time - before.own.get(process, 0) for process, time in self.own.items())
        used = max(living, self.total - before.total, self.cgroup - before.cgroup)
        return used > max(_TICK, _SHARE * seconds * 1_000_000)
