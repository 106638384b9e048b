"""Adds up what the processes of a session have used, as each is reaped."""

from __future__ import annotations

import resource

from ptykill.system.kernel.limited_cgroup import UsageFigures, counted_usage

__all__ = ["Reaped"]

_KIB = 1024
"""The unit of ``ru_maxrss`` (getrusage(2), Linux)."""


class Reaped:
    """The processes that a keeper has reaped, and through them those that their parents have.

    wait4(2) reports of a child what it has used together with the children that it has waited for.
    """

    def __init__(self) -> None:
        self._user = self._system = 0.0
        self._largest = 0
        """KiB."""

    def add(self, used: resource.struct_rusage) -> None:
        """Add a process that was reaped, by what wait4(2) says of it."""
        self._user += used.ru_utime
        self._system += used.ru_stime
        self._largest = max(self._largest, used.ru_maxrss)

    def figures(self, limited: str | None) -> UsageFigures:
        """Return what the session has used; ``limited`` is the path of its limited cgroup."""
        # The leader had the memory of this process until its exec, which counts (Linux exec_mmap).
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        largest = _KIB * self._largest if self._largest > ours else None
        if limited is not None:
            user, system, peak, _, *others = counted_usage(limited)
            return (user, system, peak, largest, *others)  # type: ignore[return-value]  # as it was
        return self._user, self._system, None, largest, None, None, None, None
