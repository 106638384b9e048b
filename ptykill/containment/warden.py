"""The host's side of the warden: it is started, asked for keepers, and ended.

One keeper is kept warm: forked, and rehearsed, before anybody asks for a session. To spawn is then
to send it an order.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
from contextlib import suppress

import trio

from ptykill import log
from ptykill.command import Command
from ptykill.containment.process import PidfdProcess
from ptykill.keeper import wire
from ptykill.keeper.start import start_beside
from ptykill.kernel.birth import Failed
from ptykill.kernel.handle import open_pidfd
from ptykill.pty.birth import PATIENCE, order, working_directory

__all__ = ["Kept", "Stillborn", "Warden", "unavailable"]

_PATIENCE = 30.0
"""Seconds in which a warden or a keeper that is not held up answers, however busy the machine."""
_FAREWELL = 2.0
"""Seconds that a warden has to end by itself when it is told to."""


def unavailable() -> str | None:
    """Say why there can be no keepers here; None if nothing speaks against it."""
    if sys.platform != "linux":
        return f"{sys.platform} has no subreapers: keepers need Linux"
    if not hasattr(os, "pidfd_open") or not hasattr(signal, "pidfd_send_signal"):
        return "this Python knows no pidfds"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return f"pidfd_open is refused: {error.strerror} (it came with Linux 5.3)"
    if not os.path.exists("/proc/self/stat"):
        return "/proc is not mounted"
    if getattr(sys, "frozen", False) or not sys.executable:
        return "this program has no Python interpreter to start a warden with"
    return None


class Kept:
    """A keeper and, once there has been a birth, its session's leader."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel: socket.socket = channel
        self.pid: int = -1
        self.cgroup: str | None = None
        """The keeper's pid, and the path of its cgroup, if any, once there has been a birth."""
        self._over = False
        self._leader: PidfdProcess | None = None

    @property
    def leader(self) -> PidfdProcess:
        """The session's leader."""
        assert self._leader is not None
        return self._leader

    def ask(self, command: Command, terminal: int, will: wire.Will) -> None:
        """Ask for a birth. Raises OSError."""
        with working_directory(command) as here:
            message = wire.ORDER, order(command), *will
            if not wire.send(self.channel, message, [terminal, here]):
                raise Stillborn(errno.EIO, "keeper")

    async def wait_born(self) -> None:
        """Wait for the birth that was asked for. Raises OSError, and then there is none."""
        with trio.move_on_after(PATIENCE) as patience:
            try:
                await self._born()
            except (trio.Cancelled, OSError):
                await self._end()
                raise
        if patience.cancelled_caught:
            raise Failed(errno.ETIMEDOUT, "exec")

    async def _born(self) -> None:
        while self._leader is None:
            message, fds = await self._next()
            match message:
                case wire.KEPT, pid, path:
                    self.pid, self.cgroup = pid, path
                case wire.BORN, pid:
                    if not fds:  # This process has none left, so it was dropped on its way.
                        raise Failed(errno.EMFILE, "keeper")
                    self._leader = PidfdProcess(pid, fds[0])
                case wire.FAILED, number, stage:
                    self._over = True
                    raise Failed(number, stage)
                case _:
                    self._over = True
                    if message[0] == wire.BROKEN:
                        log.event(logging.ERROR, "keeper.broken", traceback=message[1])
                    raise Stillborn(errno.EIO, "keeper")

    async def _next(self) -> tuple[wire.Message, list[int]]:
        """Wait for the keeper's next message."""
        while True:
            await trio.lowlevel.wait_readable(self.channel)
            with suppress(BlockingIOError):
                return wire.receive(self.channel)

    async def _end(self) -> None:
        """Have what it keeps killed, and wait until it is gone; bounded."""
        if self._over:
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _PATIENCE):
            wire.send(self.channel, (wire.KILL,))
            over = False
            while not over:
                message, fds = await self._next()
                over = message[0] in (wire.EMPTY, wire.GONE)
                for fd in fds:
                    os.close(fd)

    def close(self) -> None:
        """Give the descriptors back. A keeper that has no session ends by that."""
        if self.channel.fileno() >= 0:
            trio.lowlevel.notify_closing(self.channel)
            self.channel.close()
        if self._leader is not None:
            self._leader.close()
            self._leader = None


class Stillborn(Failed):
    """The keeper died before anybody was born, so that another one may be tried."""


class Warden:
    """A warden process. Made by `start`; `close` has to be called.

    It is a child of this process, which is not to be surprised if somebody else reaps it.
    """

    def __init__(self, pid: int, channel: socket.socket, groups: str | None) -> None:
        self._pid = pid
        self._channel = channel
        self._groups = groups
        self._process = open_pidfd(pid)
        self._identity = _identity()
        self._warm: Kept | None = None

    @classmethod
    async def start(cls, groups: str | None) -> Warden:
        """Start one; each of its keepers gets a cgroup in the folder ``groups``, if that is given.

        Raises OSError.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                host = os.pidfd_open(os.getpid())
                try:
                    pid = start_beside("warden", theirs.fileno(), host)
                finally:
                    os.close(host)
            except BaseException:
                ours.close()
                raise
        ours.settimeout(0)
        self = cls(pid, ours, groups)
        try:
            self.keep_warm()
            with trio.fail_after(_PATIENCE):
                await self._hear_ready()
        except trio.TooSlowError:
            await self.close()
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), "warden") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def _hear_ready(self) -> None:
        await trio.lowlevel.wait_readable(self._channel)
        if wire.receive(self._channel)[0][0] != wire.READY:
            raise OSError(errno.EIO, "the warden died at its start", sys.executable)

    @property
    def usable(self) -> bool:
        """Whether it is there, and is what this host is.

        Its sessions are born with what it has: a host that has given up a right since then must
        not hand it on.
        """
        if self._identity != _identity():
            return False
        return self._process is not None and not self._process.dead()

    def take(self) -> Kept:
        """Return a keeper, the warm one if there is one. Raises OSError."""
        warm, self._warm = self._warm, None
        return warm or self._ask_for_keeper()

    def keep_warm(self) -> None:
        """Have another keeper ready for the next session, if it can be had."""
        if self._warm is None and self._channel.fileno() >= 0:
            with suppress(OSError):
                self._warm = self._ask_for_keeper()

    def _ask_for_keeper(self) -> Kept:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.settimeout(0)
            if self._process is not None:
                self._process.send(signal.SIGCONT)  # Somebody may have stopped it.
            if not wire.send(self._channel, (wire.KEEP, self._groups), [theirs.fileno()]):
                ours.close()
                raise OSError(errno.EPIPE, "the warden is gone", sys.executable)
        return Kept(ours)

    async def close(self) -> None:
        """End it, and reap it; bounded. Its keepers, if any are left, go on alone."""
        if self._warm is not None:
            self._warm.close()
            self._warm = None
        if self._channel.fileno() >= 0:
            wire.send(self._channel, (wire.LEAVE,))
            self._channel.close()
        if self._process is not None:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _FAREWELL) as scope:
                await trio.lowlevel.wait_readable(self._process.fd)
            if scope.cancelled_caught:  # Stopped, say. It has nothing to lose.
                self._process.send(signal.SIGKILL)
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _FAREWELL):
                    await trio.lowlevel.wait_readable(self._process.fd)
            with suppress(ChildProcessError):  # Somebody else has reaped it.
                os.waitid(os.P_PIDFD, self._process.fd, os.WEXITED | os.WNOHANG)  # noqa: ASYNC222
            self._process.close()
            self._process = None


def _identity() -> tuple[object, ...]:
    return os.getresuid(), os.getresgid(), os.getgroups()
