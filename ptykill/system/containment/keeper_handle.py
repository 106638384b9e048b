"""The host's side of one keeper: gives it the order to start a leader, and waits for the answer."""

from __future__ import annotations

import errno
import fcntl
import logging
import signal
import socket
import sys
import termios
from contextlib import suppress

import trio

from ptykill import log
from ptykill.rules.command import Command
from ptykill.rules.deadlines import Deadlines, Elapsed
from ptykill.rules.protocols import Handover
from ptykill.system.containment.channel import connected, hang_up
from ptykill.system.containment.process import PidfdProcess
from ptykill.system.containment.warden_client import WardenClient
from ptykill.system.forks import close_in_child
from ptykill.system.keeper import wire
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.limited_cgroup import Limits
from ptykill.system.kernel.pidfd import open_pidfd
from ptykill.system.kernel.procfs import stat
from ptykill.system.kernel.retry import close
from ptykill.system.kernel.session_leader import StartFailed
from ptykill.system.pty.order import SPAWN_TIMEOUT, order, standard_input, working_directory
from ptykill.system.readiness import readable

__all__ = ["KeeperDied", "KeeperHandle", "OutcomeUnknown"]

_END_TIMEOUT = 2.0
"""Time-out for a keeper to end its session on request, in seconds; then it is killed."""
_LOOK = 0.05
"""Seconds after which the host looks why a keeper does not answer, and again and again."""
_LOOKS = 40
"""The keeper is given up when so many looks in a row have found it held up."""


class KeeperDied(StartFailed):
    """The keeper died before it read its order: nothing was started, so another may be tried."""


class OutcomeUnknown(StartFailed):
    """The keeper died, and may have read its order: a leader may have been started, or not."""


class KeeperHandle:
    """A keeper and, once that is started, the leader of its session."""

    def __init__(self, channel: socket.socket, warden: WardenClient) -> None:
        self.channel: socket.socket = channel
        self.warden: WardenClient = warden
        """It forked the keeper, and inherits the keeper's children if the keeper dies."""
        self.umask: int | None = None
        """The leader's mask for new files; None for the keeper's own."""
        self.pid: int = 0
        """The keeper's pid; 0 until it is known."""
        self.cgroup: str | None = None
        """The path of the keeper's cgroup, if it has one, once a leader is started."""
        self.times_before: tuple[float, float] = 0.0, 0.0
        """The processor time of the keeper's earlier sessions, as `os.times` has it."""
        self.ready: bool = True
        """It can obey an order at once, and has no cgroup to enter before that."""
        self._renewal_asked = False
        self.clean: bool = False
        """The keeper has ended, or will, and nothing of a session is left."""
        self._ended = False
        """The session is over, or the keeper is dead."""
        self._order_unread = False
        """The keeper died before it had read all messages to it."""
        self._leader: PidfdProcess | None = None
        warden.keepers.add(self)
        close_in_child(self)

    @property
    def leader(self) -> PidfdProcess:
        """The session's leader."""
        assert self._leader is not None
        return self._leader

    # --- the start of a leader ------------------------------------------------------------------

    def send_order(
        self, command: Command, terminal: int, handover: Handover, limits: Limits | None
    ) -> None:
        """Order the start of a leader, in a cgroup with limits if there are any.

        Raises OSError; `KeeperDied` if the keeper has not got the order.
        """
        with suppress(BlockingIOError):  # A warm keeper's messages, and its warden's about it.
            message, fds = wire.receive(self.channel)
            if message[0] in (wire.BROKEN, wire.GONE):  # It was killed, or failed, while it waited.
                raise KeeperDied(errno.EIO, "keeper")
            if message[0] == wire.FAILED:  # It could not get ready; another one may.
                raise KeeperDied(message[1] or errno.EIO, message[2])
            self._handle(message, fds)
        with working_directory(command) as here, standard_input(command) as stdin:
            first = _as_tuple(handover.deadlines) if handover.deadlines else None
            limited = None if limits is None else tuple(limits)
            about = order(command), self.umask, limited, first
            message = wire.ORDER, *about, *_as_message(handover)
            if not wire.send(self.channel, message, [terminal, here, *stdin]):
                raise KeeperDied(errno.EIO, "keeper")

    async def wait_started(self) -> None:
        """Wait until the leader is started. Raises OSError, and then there is none.

        It raises `KeeperDied` only with a proof that nothing was started: the keeper never read the
        order. Otherwise the command may have run, and must not be run again.

        The wait is bounded, whatever is done to the keeper. A slow keeper is waited for. One that
        is held up, by SIGSTOP or a tracer, is sent SIGCONT, and given up if that does not help.
        """
        until = trio.current_time() + SPAWN_TIMEOUT
        held_up = 0
        try:
            while held_up < _LOOKS and trio.current_time() < until:
                with trio.move_on_after(_LOOK):
                    while self._leader is None:
                        self._handle(*await self._next_message())
                    return
                held_up = held_up + 1 if self.resume_if_held_up() else 0
        except (trio.Cancelled, OSError):
            await self._end(_END_TIMEOUT)
            raise
        if await self._end(0 if held_up else _END_TIMEOUT) and held_up:
            raise KeeperDied(errno.ETIMEDOUT, "keeper")
        raise StartFailed(errno.ETIMEDOUT, "exec")

    def _handle(self, message: wire.Message, fds: list[int]) -> None:
        match message:
            case wire.FORKED, keeper:
                self.pid = keeper
            case (wire.READY,):
                self.ready = True
            case wire.STARTED, leader, keeper, path, times:
                self.pid, self.cgroup, self.times_before = keeper, path, times
                if not fds:  # The host has no descriptor left, so the kernel dropped it (unix(7)).
                    raise StartFailed(errno.EMFILE, "keeper")
                self._leader = PidfdProcess(leader, fds[0])
            case wire.FAILED, number, stage:
                self._ended = self.clean = True
                raise StartFailed(number, stage)
            case (wire.REFUSED,):  # Its last session has changed it, and it exits.
                self._ended = self.clean = True
                raise KeeperDied(errno.EIO, "keeper")
            case wire.BROKEN, text:
                log.event(logging.ERROR, "keeper.broken", traceback=text)  # It exits after that.
            case _:
                self._ended = True
                # The order is the last message to it so far: what it has not read is the order.
                reason = KeeperDied if self._order_unread else OutcomeUnknown
                raise reason(errno.EIO, "keeper")

    async def _next_message(self) -> tuple[wire.Message, list[int]]:
        while True:
            await readable(self.channel)
            try:
                return wire.receive_or_reset(self.channel)
            except ConnectionResetError:
                self._order_unread = True
            except BlockingIOError:
                pass

    def is_ready(self) -> bool:
        """Return whether it can obey an order at once, or is dead, which the order finds out."""
        if not self.ready:
            with suppress(OSError):  # It has said nothing, mostly.
                self.ready = wire.receive(self.channel)[0][0] in (wire.READY, wire.GONE)
        return self.ready

    def get_ready(self) -> None:
        """Have it get ready for another session, if it is not."""
        if not (self.is_ready() or self._renewal_asked):
            with suppress(OSError):  # It gets ready by itself a little later.
                self._renewal_asked = wire.send(self.channel, (wire.RENEW,))

    def hand_over(self, handover: Handover) -> None:
        """Send the keeper the rest of the plan, in case this host dies."""
        with suppress(OSError):  # The handover before this one stays in force.
            wire.send(self.channel, _as_message(handover))

    def set_deadlines(self, deadlines: Deadlines, elapsed: Elapsed) -> None:
        """Send the keeper the deadlines, in case this host is stopped."""
        with suppress(OSError):  # Those before stay in force.
            wire.send(self.channel, (wire.DEADLINES, _as_tuple(deadlines), tuple(elapsed)))

    # --- a keeper that does not run -------------------------------------------------------------

    def resume_if_held_up(self) -> bool:
        """Return whether the keeper, or its warden before there is one, does not run; resume it."""
        state = stat(self.pid or self.warden.pid)[:1]
        self._resume()
        # One that sleeps (S) although it has a message to read is frozen. One that can read it is
        # about to run (R), or waits for a disk (D).
        return state in ([b"T"], [b"t"]) or (state == [b"S"] and self._bytes_unread() > 0)

    def _resume(self) -> None:
        self.warden.signal(signal.SIGCONT)
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """Send the keeper a signal, if its pid is known and still its own."""
        handle = None
        with suppress(OSError):  # EMFILE, and the reserve is used up.
            handle = open_pidfd(self.pid) if self.pid else None
        if handle is not None:
            # Its end of the socket is open, so it has not been reaped, and the pid is its own.
            if connected(self.channel):
                with suppress(PermissionError):
                    handle.send(number)
            handle.close()

    def _bytes_unread(self) -> int:
        """Return how many bytes to the keeper have not been read (unix(7), SIOCOUTQ)."""
        try:
            size = fcntl.ioctl(self.channel.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return 0
        return int.from_bytes(size, sys.byteorder)

    # --- its end --------------------------------------------------------------------------------

    async def _end(self, seconds: float) -> bool:
        """Have its session killed, and wait until the keeper is gone; bounded.

        Returns whether the order was taken back: no leader was started by it, and none will be.
        """
        if self._ended:
            return False
        order_bytes = self._bytes_unread()
        with suppress(OSError):
            wire.send(self.channel, (wire.KILL,))
        all_bytes = self._bytes_unread()
        taken_back = False
        if all_bytes > order_bytes > 0:  # Otherwise the order has been read.
            with suppress(OSError):  # ENOTCONN
                self.channel.shutdown(socket.SHUT_WR)
            # A keeper looks for the end of the connection before it obeys. So an order that is
            # unread now will not be obeyed.
            taken_back = self._bytes_unread() == all_bytes
        if taken_back:
            self._ended = self.clean = True
            self._signal(signal.SIGKILL)
            return True
        self._resume()
        with trio.CancelScope(shield=True):
            await self._wait_ended(seconds)
            if not self._ended:
                self._signal(signal.SIGKILL)  # The warden kills the keeper's children, if any.
                await self._wait_ended(_END_TIMEOUT)
        return False

    async def _wait_ended(self, seconds: float) -> None:
        """Wait until the session is over, or the keeper dead; not longer than that."""
        with trio.move_on_after(seconds):
            while not self._ended:
                try:
                    message, fds = await self._next_message()
                except OSError:  # A message that can't be received now may be a little later.
                    await trio.sleep(_LOOK)
                    continue
                self.clean = message[0] in (wire.EMPTY, wire.FAILED, wire.REFUSED)
                self._ended = self.clean or message[0] == wire.GONE
                for fd in fds:
                    if message[0] == wire.STARTED:
                        with suppress(OSError):
                            syscalls.pidfd_send_signal(fd, signal.SIGKILL)
                    close(fd)

    def release(self) -> KeeperHandle:
        """Return a handle for the keeper's next session. This one keeps only the leader."""
        successor = KeeperHandle(self.channel, self.warden)
        successor.pid, successor.ready = self.pid, self.ready
        self.channel = _CLOSED
        return successor

    def close(self) -> None:
        """Close the descriptors. A keeper without a session exits then."""
        if self.channel.fileno() >= 0:
            trio.lowlevel.notify_closing(self.channel)
            hang_up(self.channel)
        self._close_leader()

    def close_copies(self) -> None:
        """Close the descriptors in a forked child: it must not end its parent's session."""
        self.channel.close()
        self._close_leader()

    def _close_leader(self) -> None:
        if self._leader is not None:
            self._leader.close()
            self._leader = None


_CLOSED = socket.socket()
"""The channel of a handle that was released."""
_CLOSED.close()


def _as_tuple(deadlines: Deadlines) -> tuple[float | None, ...]:
    later = deadlines.of_keeper()
    return later.lifetime, later.idle, later.detached


def _as_message(handover: Handover) -> wire.Handover:
    plan, leftovers = str(handover.plan), handover.leftovers.value
    return wire.Handover(
        wire.HANDOVER, plan, leftovers, handover.steps, handover.due, handover.grace
    )
