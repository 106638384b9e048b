"""The host's side of the warden: it is started, asked for keepers, and ended.

One keeper is kept warm: forked, and rehearsed, before anybody asks for a session. To spawn is then
to send it an order.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import signal
import socket
import sys
import termios
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import trio

from ptykill import log
from ptykill.errors import ContainmentUnavailable
from ptykill.rules.command import Command
from ptykill.system.containment.process import PidfdProcess
from ptykill.system.containment.rights import Rights
from ptykill.system.keeper import wire
from ptykill.system.keeper.start import start_beside
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.leader import Failed
from ptykill.system.kernel.pidfd import open_pidfd
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import descends, stat
from ptykill.system.kernel.retry import again, close
from ptykill.system.pty.order import SPAWN_TIMEOUT, order, standard_input, working_directory
from ptykill.system.readiness import readable

__all__ = [
    "KeeperDied",
    "KeeperHandle",
    "OutcomeUnknown",
    "WardenClient",
    "connected",
    "is_stranger",
    "unavailable",
]

_READY_TIMEOUT = 30.0
"""Seconds in which a warden or a keeper that is not held up answers, however busy the machine."""
_REAP_TIMEOUT = 0.2
"""Seconds that a warden which is dead may take to be reaped."""
_END_TIMEOUT = 2.0
"""Seconds that a warden, or a keeper, has to end by itself when it is told to."""
_LOOK = 0.05
"""Seconds after which it is looked at who does not answer, and again and again."""
_LOOKS = 40
"""So often in a row somebody may be seen to be held up; it is made to go on each time."""


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


class KeeperHandle:
    """A keeper and, once there has been a birth, its session's leader."""

    def __init__(self, channel: socket.socket, warden: WardenClient) -> None:
        self.channel: socket.socket = channel
        self._warden = warden
        self.umask: int | None = None
        """The leader's mask for new files; None if the keeper's own has to do."""
        self.pid: int = 0
        self.cgroup: str | None = None
        """The keeper's pid, and the path of its cgroup, if any, once there has been a birth."""
        self._over = False
        self.clean: bool = False
        """It has ended, or will, without anything of a session left."""
        self._unread_at_death = False
        """The keeper has died without having read all that it was told."""
        self._leader: PidfdProcess | None = None
        _all.add(self)

    @property
    def leader(self) -> PidfdProcess:
        """The session's leader."""
        assert self._leader is not None
        return self._leader

    @property
    def warden(self) -> WardenClient:
        """Who forked it, and inherits what it leaves if it dies."""
        return self._warden

    def send_order(self, command: Command, terminal: int, will: wire.Will) -> None:
        """Ask for a birth. Raises OSError; `KeeperDied` if it was never told to the keeper."""
        with suppress(BlockingIOError):  # What its warden has said of a warm one.
            message, fds = wire.receive(self.channel)
            if message[0] in (wire.BROKEN, wire.GONE):  # Killed, or failed, while it was waiting.
                raise KeeperDied(errno.EIO, "keeper")
            if message[0] == wire.FAILED:  # It could not get ready; another may do better.
                raise KeeperDied(message[1] or errno.EIO, message[2])
            self._handle(message, fds)
        with working_directory(command) as here, standard_input(command) as stdin:
            message = wire.ORDER, order(command), self.umask, *will
            if not wire.send(self.channel, message, [terminal, here, *stdin]):
                raise KeeperDied(errno.EIO, "keeper")

    async def wait_started(self) -> None:
        """Wait for the birth that was asked for. Raises OSError, and then there is none.

        `KeeperDied` is raised only with a proof that nothing was born: the keeper never read the
        order. Otherwise the command may have run, and must not be run again.

        Bounded, whatever is done to the keeper. One that is slow is waited for; one that is held
        up, by SIGSTOP or a tracer, is made to go on, and given up if that does not help.
        """
        until = trio.current_time() + SPAWN_TIMEOUT
        held_up = 0
        try:
            while held_up < _LOOKS and trio.current_time() < until:
                with trio.move_on_after(_LOOK):
                    await self._try_to_start()
                    return
                held_up = held_up + 1 if self.resume_if_held_up() else 0
        except (trio.Cancelled, OSError):
            await self._end(_END_TIMEOUT)
            raise
        if await self._end(0 if held_up else _END_TIMEOUT) and held_up:
            raise KeeperDied(errno.ETIMEDOUT, "keeper")
        raise Failed(errno.ETIMEDOUT, "exec")

    async def _try_to_start(self) -> None:
        while self._leader is None:
            self._handle(*await self._next())

    def _handle(self, message: wire.Message, fds: list[int]) -> None:
        match message:
            case wire.KEPT, keeper:
                self.pid = keeper
            case wire.BORN, leader, keeper, path:
                self.pid, self.cgroup = keeper, path
                if not fds:  # This process has none left, so it was dropped on its way.
                    raise Failed(errno.EMFILE, "keeper")
                self._leader = PidfdProcess(leader, fds[0])
            case wire.FAILED, number, stage:
                self._over = self.clean = True
                raise Failed(number, stage)
            case wire.BROKEN, text:
                log.event(logging.ERROR, "keeper.broken", traceback=text)  # It dies of it.
            case _:
                self._over = True
                # Told of nothing but the order, it has not read that. Else it may have obeyed.
                raise (KeeperDied if self._unread_at_death else OutcomeUnknown)(errno.EIO, "keeper")

    async def _next(self) -> tuple[wire.Message, list[int]]:
        """Wait for the keeper's next message."""
        while True:
            await readable(self.channel)
            try:
                return wire.receive_or_reset(self.channel)
            except ConnectionResetError:
                self._unread_at_death = True
            except BlockingIOError:
                pass

    def resume_if_held_up(self) -> bool:
        """Return whether whoever has to answer does not run; and let it go on."""
        state = stat(self.pid or self._warden.pid)[:1]
        self._resume()
        # Whoever has something to hear, and could, is about to run (R), or waits for a disk (D).
        return state in ([b"T"], [b"t"]) or (state == [b"S"] and self._unread() > 0)

    def _resume(self) -> None:
        self._warden.signal(signal.SIGCONT)
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """Send the keeper a signal, if it is there, and known."""
        handle = None
        with suppress(OSError):  # EMFILE, with no reserve left.
            handle = open_pidfd(self.pid) if self.pid else None
        if handle is not None:
            # Its end of the socket is open, so it has not been reaped, and the number was its own.
            if connected(self.channel):
                with suppress(PermissionError):
                    handle.send(number)
            handle.close()

    def _unread(self) -> int:
        """Return how much we have said that has not been read (unix(7), SIOCOUTQ)."""
        try:
            size = fcntl.ioctl(self.channel.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return 0
        return int.from_bytes(size, sys.byteorder)

    async def _end(self, seconds: float) -> bool:
        """Have what it keeps killed, and wait until it is gone; bounded.

        Returns whether the order was taken back: nobody was born by it, and nobody will be.
        """
        if self._over:
            return False
        order = self._unread()
        with suppress(OSError):
            wire.send(self.channel, (wire.KILL,))
        both = self._unread()
        taken_back = False
        if both > order > 0:  # Otherwise it has been read.
            with suppress(OSError):  # ENOTCONN
                self.channel.shutdown(socket.SHUT_WR)
            # If it is there still, it is no order any more: a keeper looks before it obeys.
            taken_back = self._unread() == both
        if taken_back:
            self._over = self.clean = True
            self._signal(signal.SIGKILL)
            return True
        self._resume()
        with trio.CancelScope(shield=True):
            await self._gone(seconds)
            if not self._over:
                self._signal(signal.SIGKILL)  # The warden kills what it has left, if anything.
                await self._gone(_END_TIMEOUT)
        return False

    async def _gone(self, seconds: float) -> None:
        """Wait until the session is over, or the keeper dead; so long."""
        with trio.move_on_after(seconds):
            while not self._over:
                try:
                    message, fds = await self._next()
                except OSError:  # What can't be received now may be the next time.
                    await trio.sleep(_LOOK)
                    continue
                self.clean = message[0] in (wire.EMPTY, wire.FAILED)
                self._over = self.clean or message[0] == wire.GONE
                for fd in fds:
                    if message[0] == wire.BORN:
                        with suppress(OSError):
                            syscalls.pidfd_send_signal(fd, signal.SIGKILL)
                    close(fd)

    def close(self) -> None:
        """Give the descriptors back. A keeper that has no session ends by that."""
        if self.channel.fileno() >= 0:
            trio.lowlevel.notify_closing(self.channel)
            _hang_up(self.channel)
        if self._leader is not None:
            self._leader.close()
            self._leader = None

    def forget(self) -> None:
        """Close the copies that a forked child has: the session is not its to end."""
        self.channel.close()
        if self._leader is not None:
            self._leader.close()
            self._leader = None


class KeeperDied(Failed):
    """The keeper died before anybody was born, so that another one may be tried."""


class OutcomeUnknown(Failed):
    """The keeper died when it had its order: whether anybody was born is not known."""


class WardenClient:
    """A warden process. Made by `start`; `close` has to be called.

    It is a child of this process, which is not to be surprised if somebody else reaps it.
    """

    def __init__(
        self, pid: int, channel: socket.socket, groups: str | None, rights: Rights
    ) -> None:
        self.pid: int = pid
        self._channel = channel
        self._groups = groups
        self._process = open_pidfd(pid)
        self._rights = rights
        self._warm: KeeperHandle | None = None
        _all.add(self)

    @classmethod
    async def start(cls, groups: str | None) -> WardenClient:
        """Start one; each of its keepers gets a cgroup in the folder ``groups``, if that is given.

        Raises OSError; `ContainmentUnavailable` if its keepers could not keep anybody.
        """
        with ExitStack() as undone:
            rights = Rights()  # Before: what is given up meanwhile is seen to be.
            undone.callback(rights.close)
            ours, theirs = again(_pair)
            undone.callback(_shut, ours)
            with _held(theirs):
                host = again(lambda: syscalls.pidfd_open(os.getpid()))
                try:
                    pid = start_beside("warden", theirs.fileno(), host)
                finally:
                    close(host)
            ours.settimeout(0)
            self = cls(pid, ours, groups, rights)
            undone.pop_all()
        try:
            self.prepare_keeper()
            with trio.fail_after(_READY_TIMEOUT):
                await self._wait_ready()
        except trio.TooSlowError:
            await self.close()
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), "warden") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def _wait_ready(self) -> None:
        told = None
        while told is None:
            with trio.move_on_after(_LOOK) as scope:
                await readable(self._channel)
            if scope.cancelled_caught:
                self.signal(signal.SIGCONT)  # Somebody may have stopped it.
            with suppress(BlockingIOError):
                told = wire.receive(self._channel)[0]
        kind, *about = told
        if kind != wire.READY:
            raise OSError(errno.EIO, "the warden died at its start", sys.executable)
        if about[0] is not None:
            raise ContainmentUnavailable(about[0])

    @property
    def usable(self) -> bool:
        """Whether it is there, and is what this host is.

        Its sessions are born with what it has: a host that has given up a right since then must
        not hand it on. Raises OSError.
        """
        return self._process is not None and self._rights.unchanged() and not self._process.dead()

    @property
    def alive(self) -> bool:
        """Whether it is there: not dead, nor closed."""
        return self._process is not None and not self._process.dead()

    def take_keeper(self) -> KeeperHandle:
        """Return a keeper, the warm one if there is one. Raises OSError."""
        warm, self._warm = self._warm, None
        keeper = warm or self._ask_for_keeper()
        keeper.umask = self._rights.umask
        return keeper

    def prepare_keeper(self) -> None:
        """Have another keeper ready for the next session, if it can be had."""
        if self._warm is None and self._channel.fileno() >= 0:
            with suppress(OSError):
                self._warm = self._ask_for_keeper()

    def _ask_for_keeper(self) -> KeeperHandle:
        ours, theirs = again(_pair)
        with _held(theirs):
            ours.settimeout(0)
            self.signal(signal.SIGCONT)  # Somebody may have stopped it.
            sent = False
            try:
                sent = wire.send(self._channel, (wire.KEEP, self._groups), [theirs.fileno()])
            finally:
                if not sent:
                    ours.close()
        if not sent:
            raise OSError(errno.EPIPE, "the warden is gone", sys.executable)
        return KeeperHandle(ours, self)

    def ask_when_clear(self, keeper: int) -> socket.socket | None:
        """Ask about a keeper that died before its session did: `wire.CLEAR` is the proof.

        Returns the socket on which it is told; None if the warden is dead, and nobody will know.
        Raises OSError: there are no descriptors for it now.
        """
        if self._process is None or self._channel.fileno() < 0:
            return None
        ours, theirs = reserve.use(lambda: again(_pair))
        sent = False
        with _held(theirs):
            ours.settimeout(0)
            self.signal(signal.SIGCONT)  # Somebody may have stopped it.
            try:
                sent = wire.send(self._channel, (wire.LOST, keeper), [theirs.fileno()])
            finally:
                if not sent:
                    _shut(ours)
        if sent:
            return ours
        if self._process.dead():
            return None
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))  # No room, for now.

    def kill_orphans(self) -> None:
        """Have it kill what lost keepers have left, now."""
        if self._channel.fileno() >= 0:
            self.signal(signal.SIGCONT)
            with suppress(OSError):  # It is told in the next round.
                wire.send(self._channel, (wire.HURRY,))

    def signal(self, number: int) -> None:
        """Send it a signal, if we still may: this host may have become another user."""
        if self._process is not None:
            with suppress(PermissionError):
                self._process.send(number)

    async def close(self) -> None:
        """End it, and reap it; bounded. Its keepers, if any are left, go on alone."""
        self._rights.close()
        if self._warm is not None:
            self._warm.close()
            self._warm = None
        if self._channel.fileno() >= 0:
            with suppress(OSError):  # It is hung up all the same.
                wire.send(self._channel, (wire.LEAVE,))
            _hang_up(self._channel)
        process, self._process = self._process, None
        if process is not None:
            for number in signal.SIGCONT, signal.SIGKILL:  # Stopped, say. It has nothing to lose.
                with suppress(OSError):
                    process.send(number)
                with trio.move_on_after(_END_TIMEOUT, shield=True) as scope:
                    while not await readable(process.fd):
                        pass  # It is reaped below, if it is dead.
                if not scope.cancelled_caught:
                    break
            with suppress(OSError), trio.move_on_after(_REAP_TIMEOUT, shield=True):
                # A tracer may hold a dead one back from us for a moment (ptrace(2)).
                while not again(lambda: _reaped(process.fd)):  # noqa: ASYNC110 - no event tells
                    await trio.sleep(_REAP_TIMEOUT / 100)
            process.close()

    def forget(self) -> None:
        """Close the copies that a forked child has: it must neither end the warden nor wait."""
        self._channel.close()
        self._rights.close()
        if self._process is not None:
            self._process.close()
            self._process = None


_all: weakref.WeakSet[KeeperHandle | WardenClient] = weakref.WeakSet()


def is_stranger(pid: int) -> bool:
    """Return whether a process is no orphan of a dead keeper and warden, whatever cgroup it is in.

    It is ourselves or one of our children and theirs; but where orphans may have become our own
    children, only those that a living warden has.
    """
    ours = [os.getpid()]
    if syscalls.inherits_orphans():
        if pid in ours:
            return True
        ours = [each.pid for each in list(_all) if isinstance(each, WardenClient) and each.alive]
    return descends(pid, *ours)


def _forget_all() -> None:
    """Leave keepers and wardens to the process that we were forked from: they are not ours."""
    for each in list(_all):
        with suppress(OSError):  # EBADF: the host had closed it, behind our back.
            each.forget()


os.register_at_fork(after_in_child=_forget_all)


def connected(channel: socket.socket) -> bool:
    """Return whether the other end is open, whatever it has said that is still to be read."""
    if channel.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(channel, 0)  # POLLHUP is told unasked.
    try:
        return not again(lambda: poll.poll(0))
    except OSError:  # EINVAL: our limit of descriptors is below one (poll(2)).
        return _has_more(channel)


def _has_more(channel: socket.socket) -> bool:
    """Return whether something has come on a channel or may still come."""
    try:
        return bool(channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:  # ECONNRESET
        return False


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@contextmanager
def _held(channel: socket.socket) -> Iterator[None]:
    """Close a socket at the end, whatever close(2) says (`again.close`)."""
    try:
        yield
    finally:
        _shut(channel)


def _shut(channel: socket.socket) -> None:
    with suppress(OSError):
        channel.close()


def _hang_up(channel: socket.socket) -> None:
    """Close a socket, and whatever copies of it a child has that was forked in another way."""
    with suppress(OSError):  # ENOTCONN: the other end has gone.
        channel.shutdown(socket.SHUT_RDWR)
    _shut(channel)


def _reaped(pidfd: int) -> bool:
    """Reap a child if it is dead. Raises ChildProcessError if somebody else has reaped it."""
    return os.waitid(syscalls.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG) is not None
