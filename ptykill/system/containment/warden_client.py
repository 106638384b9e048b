"""The host's side of the warden: starts it, asks it for keepers, and ends it.

The warden is a small process that forks keepers, so that the host need not fork. It inherits the
children of a keeper that dies, and knows when the last of them is dead.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import weakref
from contextlib import ExitStack, suppress
from typing import Protocol

import trio

from ptykill.errors import ContainmentUnavailable
from ptykill.system.containment.channel import (
    close_socket,
    closing,
    connected,
    hang_up,
    open_pair,
)
from ptykill.system.forks import close_in_child
from ptykill.system.keeper import wire
from ptykill.system.keeper.start import start_beside
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.pidfd import open_pidfd
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import descends
from ptykill.system.kernel.retry import again, close
from ptykill.system.readiness import readable, writable

__all__ = ["NoRoom", "WardenClient", "is_stranger", "unavailable"]

_READY_TIMEOUT = 30.0
"""Seconds that a warden may take to start, however busy the machine is."""
_LOOK = 0.05
"""Seconds after which a warden that has not answered is sent SIGCONT, and again and again."""
_END_TIMEOUT = 2.0
"""Time-out for a warden to exit on request, in seconds; then it is killed."""
_REAP_TIMEOUT = 0.2
"""Seconds within which a dead warden can be reaped, or is left to others."""


def unavailable() -> str | None:
    """Say why there can be no keepers here; None if nothing speaks against it. Raises OSError."""
    if sys.platform != "linux":
        return f"{sys.platform} has no subreapers: keepers need Linux"
    try:
        close(again(lambda: syscalls.pidfd_open(os.getpid())))
    except OSError as error:
        return f"pidfd_open is refused: {error.strerror} (it came with Linux 5.3)"
    lacking = proc.find()
    if lacking is not None:
        return lacking
    if getattr(sys, "frozen", False) or not sys.executable:
        return "this program has no Python interpreter to start a warden with"
    return None


class _Keeper(Protocol):
    pid: int
    channel: socket.socket


class NoRoom(OSError):
    """The socket to the warden holds no more requests now: see `WardenClient.wait_for_room`."""


class WardenClient:
    """A warden process. Made by `start`; `close` has to be called.

    It is a child of the host. Other code of the host may reap it, so that is no error.
    """

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid: int = pid
        self._channel = channel
        self._process = open_pidfd(pid)
        self._one_by_one = trio.Lock()
        """For `wait_for_room`: one task may wait for a descriptor."""
        self.keepers: weakref.WeakSet[_Keeper] = weakref.WeakSet()
        """The keepers that it has forked, as far as this host still uses them."""
        _wardens.add(self)
        close_in_child(self)

    @classmethod
    def start(cls) -> WardenClient:
        """Start a warden, which is not ready yet. Raises OSError."""
        with ExitStack() as undone:
            ours, theirs = open_pair()
            undone.callback(close_socket, ours)
            with closing(theirs):
                host = again(lambda: syscalls.pidfd_open(os.getpid()))
                try:
                    pid = start_beside("warden", theirs.fileno(), host)
                finally:
                    close(host)
            ours.settimeout(0)
            warden = cls(pid, ours)
            undone.pop_all()
        return warden

    async def wait_ready(self) -> None:
        """Wait until the warden is ready.

        Raises OSError if it dies or takes too long; `ContainmentUnavailable` if its keepers could
        not keep a session.
        """
        try:
            with trio.fail_after(_READY_TIMEOUT):
                kind, *about = await self._first_message()
        except trio.TooSlowError:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), "warden") from None
        if kind != wire.READY:
            raise OSError(errno.EIO, "the warden died at its start", sys.executable)
        if about[0] is not None:
            raise ContainmentUnavailable(about[0])

    async def _first_message(self) -> wire.Message:
        while True:
            with trio.move_on_after(_LOOK) as scope:
                await readable(self._channel)
            if scope.cancelled_caught:
                self.signal(signal.SIGCONT)  # It may have been stopped.
            with suppress(BlockingIOError):
                return wire.receive(self._channel)[0]

    @property
    def open(self) -> bool:
        """Whether it has not been closed."""
        return self._channel.fileno() >= 0

    @property
    def alive(self) -> bool:
        """Whether the process lives; False once this is closed."""
        return self._process is not None and not self._process.dead()

    def ask_for_keeper(self, groups: str | None) -> socket.socket:
        """Ask for a keeper, and return the host's end of the socket to it.

        The keeper makes itself a cgroup in the folder ``groups``, if that is given.
        Raises OSError; `NoRoom` if the warden has not read enough of the earlier requests.
        """
        ours = self._ask((wire.KEEP, groups), *open_pair())
        if ours is None and connected(self._channel):
            raise NoRoom(errno.EAGAIN, os.strerror(errno.EAGAIN), "warden")
        if ours is None:
            raise OSError(errno.EPIPE, "the warden is gone", sys.executable)
        return ours

    async def wait_for_room(self) -> None:
        """Wait until it may have room for a request; bounded, since it may be stopped."""
        async with self._one_by_one:
            with suppress(trio.ClosedResourceError), trio.move_on_after(_LOOK):
                if self.open:
                    await writable(self._channel)

    def ask_when_clear(self, keeper: int) -> socket.socket | None:
        """Ask for a report when no process is left of a keeper that died before its session.

        Returns the socket for the answer; `wire.CLEAR` is the proof. Returns None if the warden is
        dead, and can't answer. Raises OSError if there are no descriptors for it now.
        """
        if self._process is None or self._channel.fileno() < 0:
            return None
        ours = self._ask((wire.LOST, keeper), *reserve.use(open_pair))
        if ours is None and not self._process.dead():
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))  # No room, for now.
        return ours

    def _ask(
        self, message: wire.Message, ours: socket.socket, theirs: socket.socket
    ) -> socket.socket | None:
        """Send a message with the other end of ``ours``, and return that; None if it can't be sent.

        Raises OSError.
        """
        sent = False
        with closing(theirs):
            ours.settimeout(0)
            self.signal(signal.SIGCONT)  # It may have been stopped.
            try:
                sent = wire.send(self._channel, message, [theirs.fileno()])
            finally:
                if not sent:
                    close_socket(ours)
        return ours if sent else None

    def kill_orphans(self) -> None:
        """Have the warden kill the orphans of dead keepers now, without a grace."""
        if self._channel.fileno() >= 0:
            self.signal(signal.SIGCONT)
            with suppress(OSError):  # The next round of SIGKILL sends it again.
                wire.send(self._channel, (wire.HURRY,))

    def signal(self, number: int) -> None:
        """Send the warden a signal, if this host still may: it may have become another user."""
        if self._process is not None:
            with suppress(PermissionError):
                self._process.send(number)

    async def close(self) -> None:
        """End the warden, and reap it; bounded. Keepers that have sessions go on without it."""
        if self._channel.fileno() >= 0:
            with suppress(OSError):  # The hang-up says the same.
                wire.send(self._channel, (wire.LEAVE,))
            trio.lowlevel.notify_closing(self._channel)
            hang_up(self._channel)
        process, self._process = self._process, None
        if process is not None:
            for number in signal.SIGCONT, signal.SIGKILL:  # SIGCONT: it may have been stopped.
                with suppress(OSError):
                    process.send(number)
                with trio.move_on_after(_END_TIMEOUT, shield=True) as scope:
                    while not await readable(process.fd):
                        pass  # If it is dead, it is reaped below.
                if not scope.cancelled_caught:
                    break
            with suppress(OSError), trio.move_on_after(_REAP_TIMEOUT, shield=True):
                # A tracer may hold a dead child back from its parent for a moment (ptrace(2)).
                while not again(lambda: _reap(process.fd)):  # noqa: ASYNC110 - no event tells
                    await trio.sleep(_REAP_TIMEOUT / 100)
            process.close()

    def close_copies(self) -> None:
        """Close the descriptors in a forked child: it must neither end the warden nor wait."""
        self._channel.close()
        if self._process is not None:
            self._process.close()
            self._process = None


_wardens: weakref.WeakSet[WardenClient] = weakref.WeakSet()


def is_stranger(pid: int) -> bool:
    """Return whether a process is no orphan of a dead keeper and warden, whatever cgroup it is in.

    The host, its children and theirs are strangers, and so are the sessions of living keepers,
    whose warden may be dead. But where the host inherits orphans, they have become its children:
    then only the host and descendants of living wardens and keepers are known to be strangers.
    """
    wardens = list(_wardens)
    # While its socket is open, a keeper has not been reaped, and the pid is its own.
    ours = [
        keeper.pid
        for warden in wardens
        for keeper in list(warden.keepers)
        if keeper.pid and connected(keeper.channel)
    ]
    if not syscalls.inherits_orphans():
        return descends(pid, os.getpid(), *ours)
    ours += [each.pid for each in wardens if each.alive]
    return pid == os.getpid() or descends(pid, *ours)


def _reap(pidfd: int) -> bool:
    """Reap a child if it is dead. Raises ChildProcessError if other code has reaped it."""
    return os.waitid(syscalls.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG) is not None
