"""Starts a leader inside a cgroup with limits: a process that has entered the cgroup ahead.

To move a process to another cgroup takes the kernel some 10 ms (cgroup_attach_lock), so a spawn
should not wait for it; and the keeper itself must stay outside. So a keeper that has had a session
with limits forks a starter while no order waits. The starter enters the next session's cgroup,
starts the leader when it is told to, and exits: the leader becomes the keeper's child then, since
the keeper is a subreaper. If the starter is killed, nothing but its order is lost.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from ptykill.system.keeper import wire
from ptykill.system.keeper.stand_in import stand_in
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.cgroup import write
from ptykill.system.kernel.session_leader import Order, StartFailed, start_leader

__all__ = ["NAME", "Starter", "StarterLost"]

NAME = b"ptykill-starter"
"""Its name in ps(1)."""
_TIMEOUT = 30.0
"""Seconds that the starter has for one start: an exec can wait for a slow file system."""


class StarterLost(Exception):
    """The starter died, or was held up, after it had its order: a leader may have been started."""


class Starter:
    """A process in a cgroup that waits for one order. Raises OSError if it can't be forked."""

    def __init__(self, cgroup: str) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.pid: int = os.fork()
            if self.pid == 0:
                _wait_for_order(theirs, cgroup)
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()
        _warm_up()  # The fork has made all pages of this process copy-on-write again.

    def start(self, order: Order, fds: Sequence[int]) -> int | None:
        """Have it start a leader; return the leader's pid, None if it has not got the order.

        Raises `StartFailed` if there is no leader, and `StarterLost`.
        """
        with self._channel:
            self._channel.settimeout(_TIMEOUT)
            try:
                if not wire.send(self._channel, (wire.ORDER, order, _umask()), fds):
                    return None
                (kind, *about), _ = wire.receive(self._channel)
            except OSError as error:
                raise StarterLost from error
        if kind == wire.STARTED:
            return int(about[0])
        if kind == wire.FAILED:
            with suppress(OSError):
                os.waitpid(self.pid, 0)  # It exits at once, and its cgroup can be removed then.
            raise StartFailed(*about)
        raise StarterLost

    def dismiss(self) -> None:
        """End it: the next session has other limits, or none. It must be without an order."""
        with suppress(OSError):
            self._channel.close()
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def _wait_for_order(channel: socket.socket, cgroup: str) -> NoReturn:
    """Be a starter, in a process just forked."""
    try:
        mine = channel.fileno()
        os.closerange(3, mine)
        os.closerange(mine + 1, os.sysconf("SC_OPEN_MAX"))
        syscalls.set_name(NAME)
        _warm_up()
        write(f"{cgroup}/cgroup.procs", "0")
        (kind, *about), fds = wire.receive(channel)
        if kind == wire.ORDER:
            order, umask = about
            os.umask(umask)
            _start(channel, order, fds)
    except BaseException:  # noqa: BLE001 - the keeper does without
        os._exit(1)
    os._exit(0)


def _warm_up() -> None:
    """Go through a start once, so that no copy-on-write fault is left for the real one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, suppress(OSError), stand_in() as (order, fds):
        wire.send(ours, (wire.ORDER, order, _umask()), fds)
        (_, *about), received = wire.receive(theirs)
        _start(theirs, about[0], received)
        for fd in received:
            os.close(fd)


def _umask() -> int:
    """Return the umask of this process, which the leader has to have."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _start(channel: socket.socket, order: Order, fds: list[int]) -> None:
    try:
        leader = start_leader(order, *fds)
    except OSError as error:
        wire.send(channel, (wire.FAILED, error.errno, getattr(error, "stage", "exec")))
    else:
        wire.send(channel, (wire.STARTED, leader))
