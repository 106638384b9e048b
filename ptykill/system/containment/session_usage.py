"""What a session that has a keeper has used: while it runs, at its end, and without the keeper."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ptykill.rules.usage import Usage
from ptykill.system.containment.keeper_handle import KeeperHandle
from ptykill.system.containment.process_times import ProcessTimes
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.limited_cgroup import UsageFigures, counted_usage
from ptykill.system.kernel.pidfd import Pidfd

__all__ = ["SessionUsage"]


class SessionUsage:
    """The usage of one session; ``limited`` is its cgroup, if that has limits."""

    def __init__(self, keeper: KeeperHandle, limited: Cgroup | None) -> None:
        self._keeper = keeper
        self._limited = limited

    def now(self, reported: UsageFigures | None, members: Callable[[], Iterable[Pidfd]]) -> Usage:
        """Return what the keeper has reported at the session's end, or what is used until now.

        The members are gone through after the keeper is read, so that one that is reaped meanwhile
        does not count twice.
        """
        if reported is not None:
            return Usage(*reported)
        if self._limited is not None:
            return self.without_keeper()
        times = ProcessTimes.of(self._keeper.pid)
        if times is None:
            return Usage()
        earlier_user, earlier_system = self._keeper.times_before
        user, system = times.children_user - earlier_user, times.children_system - earlier_system
        for member in members():
            if (times := ProcessTimes.of(member.pid)) is not None:
                user += times.all_user
                system += times.all_system
        return Usage(user_seconds=user, system_seconds=system)

    def without_keeper(self) -> Usage:
        """Return what is known when the keeper is dead: the counters of the session's cgroup."""
        return Usage() if self._limited is None else Usage(*counted_usage(self._limited.path))
