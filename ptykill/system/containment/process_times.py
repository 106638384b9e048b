"""Reads the processor time of a process and of the children that it has waited for (proc(5))."""

from __future__ import annotations

from typing import NamedTuple

from ptykill.rules.usage import Usage
from ptykill.system.kernel.procfs import stat
from ptykill.system.kernel.ticks import TICKS

__all__ = ["ProcessTimes", "usage_of_child"]

_TIMES = 11
"""Where the fields utime, stime, cutime and cstime begin, counted from the third."""


class ProcessTimes(NamedTuple):
    """The times of a process, in seconds, in steps of 10 ms."""

    user: float
    system: float
    children_user: float
    children_system: float

    @classmethod
    def of(cls, pid: int) -> ProcessTimes | None:
        """Return those of a process, alive or a zombie; None if there is none."""
        fields = stat(pid)[_TIMES : _TIMES + len(cls._fields)]
        if len(fields) < len(cls._fields):
            return None
        return cls(*(int(each) / TICKS for each in fields))

    @property
    def all_user(self) -> float:
        """Its own time in user mode, and its children's."""
        return self.user + self.children_user

    @property
    def all_system(self) -> float:
        """Its own time in the kernel, and its children's."""
        return self.system + self.children_system


def usage_of_child(pid: int) -> Usage:
    """Return what a process that is not reaped yet has used, with those that it has waited for."""
    times = ProcessTimes.of(pid)
    if times is None:
        return Usage()
    return Usage(user_seconds=times.all_user, system_seconds=times.all_system)
