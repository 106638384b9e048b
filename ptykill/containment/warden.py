"""The host's side of the warden: it is started, asked for keepers, and ended.

One keeper is kept warm: forked, with its embryo waiting, before anybody asks for a session. To
spawn is then to send the embryo its order.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from contextlib import suppress

import trio

from ptykill.command import Command
from ptykill.containment.process import PidfdProcess
from ptykill.errors import SpawnError
from ptykill.keeper import wire
from ptykill.keeper.start import start_beside
from ptykill.kernel import cgroup
from ptykill.kernel.handle import open_pidfd
from ptykill.pty.birth import bear

__all__ = ["Kept", "Warden", "unavailable"]

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
    """A keeper, with its embryo or, later, its session's leader."""

    def __init__(self, channel: socket.socket, embryo: socket.socket, group: str | None) -> None:
        self.channel: socket.socket = channel
        self.cgroup: str | None = group
        self.pid: int = -1
        """The keeper's pid."""
        self._embryo = embryo
        self._leader: PidfdProcess | None = None

    @property
    def leader(self) -> PidfdProcess:
        """The embryo, or what it has become. Held by the keeper until it is reaped."""
        assert self._leader is not None
        return self._leader

    async def wait_ready(self) -> None:
        """Wait until it keeps an embryo. Raises OSError if it can't."""
        message, fds = await self._next()
        if message[0] != wire.KEPT:
            number, what = message[1:3] if message[0] == wire.FAILED else (errno.EIO, "")
            raise OSError(number, os.strerror(number), what)
        if not fds:  # This process has none left, so it was dropped on its way.
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        _, self.pid, leader = message
        self._leader = PidfdProcess(leader, fds[0])
        if self._leader.dead():
            raise OSError(errno.EIO, "the embryo is dead")

    async def _next(self) -> tuple[wire.Message, list[int]]:
        """Wait for the keeper's next message."""
        while True:
            await trio.lowlevel.wait_readable(self.channel)
            with suppress(BlockingIOError):
                return wire.receive(self.channel)

    async def bear(self, command: Command, terminal: int, will: wire.Will) -> None:
        """Have the embryo become the leader. Raises `SpawnError`, and then it is dead."""
        wire.send(self.channel, will)
        with self._embryo:
            try:
                await bear(self._embryo, command, terminal, "KILL")
            except BaseException:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _PATIENCE):
                    await self._end()
                raise

    async def _end(self) -> None:
        """Have what it keeps killed, and wait until it is gone."""
        wire.send(self.channel, (wire.KILL,))
        while (await self._next())[0][0] not in (wire.EMPTY, wire.GONE):
            pass

    def close(self) -> None:
        """Give the descriptors back. A keeper that has no session ends by that."""
        self._embryo.close()
        if self.channel.fileno() >= 0:
            trio.lowlevel.notify_closing(self.channel)
            self.channel.close()
        if self._leader is not None:
            self._leader.close()
            self._leader = None


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

    async def take(self) -> Kept:
        """Return a keeper with an embryo, the warm one if there is one. Raises `SpawnError`."""
        warm, self._warm = self._warm, None
        if warm is not None:
            with suppress(OSError):  # Somebody has killed it.
                return await _ready(warm)
        try:
            return await _ready(self._ask_for_keeper())
        except OSError as error:
            number = error.errno or errno.EIO
            raise SpawnError(number, os.strerror(number), "keeper", sys.executable) from error

    def keep_warm(self) -> None:
        """Have another keeper ready for the next session, if it can be had."""
        with suppress(OSError):
            if self._warm is None:
                self._warm = self._ask_for_keeper()

    def _ask_for_keeper(self) -> Kept:
        group = None if self._groups is None else cgroup.new_path(self._groups)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                embryo, other = socket.socketpair()
            except OSError:
                ours.close()
                raise
            with other:
                ours.settimeout(0)
                embryo.settimeout(0)
                kept = Kept(ours, embryo, group)
                fds = theirs.fileno(), other.fileno()
                if self._process is not None:
                    self._process.send(signal.SIGCONT)  # Somebody may have stopped it.
                if not wire.send(self._channel, (wire.KEEP, group), fds):
                    kept.close()
                    raise OSError(errno.EPIPE, "the warden is gone", sys.executable)
        return kept

    async def close(self) -> None:
        """End it, and reap it; bounded. Its keepers, if any are left, go on alone."""
        if self._warm is not None:
            self._warm.close()
            self._warm = None
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


async def _ready(kept: Kept) -> Kept:
    """Wait until a keeper is ready, and return it. Raises OSError."""
    try:
        with trio.fail_after(_PATIENCE):
            await kept.wait_ready()
    except trio.TooSlowError:
        kept.close()
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    except BaseException:
        kept.close()
        raise
    return kept


def _identity() -> tuple[object, ...]:
    return os.getresuid(), os.getresgid(), os.getgroups()
