"""The process of a keeper that lives: a handle on it, and what makes it run if it does not.

A session may stop or freeze its keeper, or move it to a cgroup in which it can't run.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ptykill import log
from ptykill.system.containment.channel import connected
from ptykill.system.containment.keeper_handle import KeeperHandle
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.cgroup_place import move_here
from ptykill.system.kernel.pidfd import Pidfd, open_pidfd

__all__ = ["KeeperProcess"]

_HELD_UP_ROUNDS = 3
"""Rounds of SIGKILL in a row in which only the keeper is left, and held up, before it is moved."""


class KeeperProcess:
    """The process of one keeper, which its session may hold up."""

    def __init__(self, keeper: KeeperHandle, cgroup: Cgroup | None) -> None:
        self._keeper = keeper
        self._leader = keeper.leader
        self._cgroup = cgroup
        self.was_held_up: bool = False
        """Whether the keeper did not run when it should have, in a round of SIGKILL."""
        self._rounds_held_up = 0
        """Rounds in a row in which no member was found, and the keeper did not run."""

    @contextmanager
    def open(self) -> Iterator[Pidfd | None]:
        """Hold a handle on the keeper; None if it is dead."""
        handle = None
        with suppress(OSError):  # EMFILE, and the reserve is used up.
            handle = open_pidfd(self._keeper.pid)
        try:
            # Its end of the socket is open, so it has not been reaped, and the pid is its own.
            yield handle if handle is not None and connected(self._keeper.channel) else None
        finally:
            if handle is not None:
                handle.close()

    def resume(self) -> None:
        """Send the keeper SIGCONT: it may have been stopped."""
        with self.open() as keeper:
            if keeper is not None:
                with suppress(OSError):
                    keeper.send(signal.SIGCONT)

    def free(self, *, nobody_else: bool) -> None:
        """Make a keeper run that its session has stopped, frozen, or moved where it can't run.

        If nothing helps, kill it: its warden inherits its children, and reports the end as well
        (signal(7), cgroups(7)).
        """
        held_up = self._keeper.resume_if_held_up()
        self.was_held_up |= held_up
        if self._cgroup is not None:
            self._cgroup.thaw()
        alone = nobody_else and self._leader.dead()
        self._rounds_held_up = self._rounds_held_up + 1 if held_up and alone else 0
        if self._rounds_held_up < _HELD_UP_ROUNDS:
            return
        with self.open() as keeper:
            if keeper is None:
                return
            if self._rounds_held_up == _HELD_UP_ROUNDS:
                with suppress(OSError):  # The host may not move it from where it is.
                    move_here(keeper.pid)
            else:
                log.event(logging.ERROR, "keeper.held_up", pid=self._leader.pid, keeper=keeper.pid)
                with suppress(PermissionError):
                    keeper.send(signal.SIGKILL)
