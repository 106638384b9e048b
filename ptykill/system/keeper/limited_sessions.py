"""The cgroups with limits of a keeper's sessions: the present one's, and the next one's ahead."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ptykill.system.keeper.starter import Starter
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.limited_cgroup import Limits, create_limited, set_limits, set_pids_max
from ptykill.system.kernel.session_leader import Order, StartFailed, start_leader

__all__ = ["LimitedSessions"]


class LimitedSessions:
    """Starts leaders that have limits, in a cgroup that the keeper never enters.

    The keeper would be counted there, and killed with the session when that runs out of memory.
    """

    def __init__(self) -> None:
        self.cgroup: Cgroup | None = None
        """The present session's, or the last one's; None if it has no limits."""
        self._ahead: tuple[Cgroup, Starter] | None = None
        """A new cgroup for the next session, and the process in it that will start the leader."""
        self._limits: Limits | None = None
        self._starter = 0
        """The pid of the process that has started the present leader, until it is reaped."""

    def start(self, order: Order, limits: tuple[Any, ...], fds: Sequence[int]) -> int:
        """Start a leader in a cgroup with limits; return its pid.

        Raises `StartFailed`, and `StarterLost` if a leader may have been started.
        """
        self._limits = Limits(*limits)
        # A starter that exits would send the leader its death signal, as its parent.
        starter = self._take(self._limits) if order["death_signal"] is None else None
        try:
            if starter is not None:
                assert self.cgroup is not None
                set_limits(self.cgroup, self._limits, others=1)
                if (leader := starter.start(order, fds)) is not None:
                    self._starter = starter.pid
                    return leader
            self.remove()
            self.cgroup = create_limited(self._limits)
        except StartFailed:
            raise
        except OSError as error:
            raise StartFailed(error.errno or errno.EIO, "limits") from None
        order["cgroup"] = self.cgroup.path
        return start_leader(order, *fds)

    def _take(self, limits: Limits) -> Starter | None:
        """Take what was made ahead, if it is at the right place."""
        if self._ahead is None or os.path.dirname(self._ahead[0].path) != limits.parent:
            return None
        (self.cgroup, starter), self._ahead = self._ahead, None
        return starter

    def is_starter(self, pid: int) -> bool:
        """Return whether a process that was reaped is the starter, and no member.

        Up to now it was counted, so the limit of processes was one more.
        """
        if pid != self._starter:
            return False
        self._starter = 0
        with suppress(OSError):
            if self.cgroup is not None and self._limits is not None:
                set_pids_max(self.cgroup, self._limits.pids_max)
        return True

    def prepare(self) -> None:
        """Get ready for another session like the last one, if that had limits."""
        limits, self._limits = self._limits, None
        if limits is not None and self._ahead is None:
            with suppress(OSError):  # Without, the next spawn takes some 10 ms longer.
                cgroup = create_limited(Limits(limits.parent, limits.refuge, None, None, None))
                try:
                    self._ahead = cgroup, Starter(cgroup.path)
                except OSError:
                    cgroup.remove()
                    cgroup.close()
                    raise

    def dismiss(self) -> None:
        """Give up what was made ahead: the next session has no limits."""
        if self._ahead is not None:
            (cgroup, starter), self._ahead = self._ahead, None
            starter.dismiss()
            cgroup.remove()
            cgroup.close()

    def remove(self) -> None:
        """Remove the last session's cgroup."""
        if self.cgroup is not None:
            self.cgroup.remove()
            self.cgroup.close()
            self.cgroup = None
