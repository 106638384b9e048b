"""A keeper: a process between the host and a session, whose orphans become its children.

It starts the session's leader when the host orders it, and reports to the host when the leader has
exited, and when no process is left (`kept_session`). It sleeps until something happens. When the
host dies, in whatever way, it carries out the session's plan by itself (`orphaned`).

Most sessions change nothing in their keeper. Then the host may order another session from it: to
fork a keeper and to end it takes more time than all other work of a short session.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from ptykill.rules.verdict import EndReason
from ptykill.system.keeper import wire
from ptykill.system.keeper.kept_session import KeptSession
from ptykill.system.keeper.poller import Poller
from ptykill.system.keeper.resources import Resources
from ptykill.system.keeper.send_queue import SendQueue, has_event
from ptykill.system.keeper.warm_up import warm_up
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.retry import again, close
from ptykill.system.kernel.session_leader import Order, start_leader

__all__ = ["NAME", "Keeper", "run_keeper"]

NAME = b"ptykill-keeper"
"""The name in ps(1) of a keeper that is ready; until then it has the warden's."""

_PAUSE_FIRST, _PAUSE_LONGEST = 0.005, 0.5
"""Seconds from a system call that failed to the next try: doubling, up to the longest."""
_RENEW_DELAY = 0.2
"""Seconds after a session's end to check what the session left, unless a message comes before that.

Sessions may be ending beside it, and the check takes processor time from them.
"""
_MOST_SESSIONS = 1000
"""A keeper has no more sessions than these, one after the other: it does not collect garbage."""
_CLOSE_TIMEOUT = 1.0
"""Time-out for the host to hang up after the report that the session is empty, in seconds."""


def run_keeper(channel: socket.socket, host: int, groups: str | None) -> NoReturn:
    """Be a keeper, in a process just forked, until its session is over."""
    try:
        try:
            resources = Resources(host, groups)
        except OSError as error:
            wire.send(channel, (wire.FAILED, error.errno, "keeper"))
            os._exit(0)
        channel.settimeout(0)
        in_time = not has_event(channel)  # Otherwise an order waits already.
        warm_up(lambda stand_in: Keeper(stand_in, host, resources), resources, start=in_time)
        syscalls.set_name(NAME)
        resources.note_state()
        Keeper(channel, host, resources).run()
    except BaseException:  # noqa: BLE001 - the warden, and the host, take it for a death
        wire.send(channel, (wire.BROKEN, traceback.format_exc()))
        os._exit(1)
    os._exit(0)


class Keeper:
    """One keeper: its connection to the host, and its session, while there is one."""

    def __init__(self, channel: socket.socket, host: int, resources: Resources) -> None:
        self._channel: socket.socket | None = channel
        self._host = host
        self._resources = resources
        self._poller = Poller()
        self._poller.register(channel.fileno(), self._on_message)
        self._poller.register(host, self._on_host_gone)
        self._session: KeptSession | None = None
        self._handover: wire.Handover | None = None
        self._handed_over_at = 0.0
        self._ending: EndReason | None = None
        """The deadline by which this keeper is ending the session, before SIGKILL."""
        self._failure: tuple[int | None, str] | None = None
        """The errno and the stage of a start that failed."""
        self._over = False
        self._reusable = False
        """Whether the order of the present session permits another session after it."""
        self._renew_at = math.inf
        """When to check what the last session has left, if that is still to be done."""
        self._changed = False
        """The last session has changed this process: it obeys no order any more."""
        self._refused = False
        """It has received one all the same, and has to refuse it."""
        self._sessions = 0
        self._unsent = SendQueue(channel)

    def run(self) -> None:
        """Keep sessions, one after the other, as long as the host orders them."""
        self.serve()
        while self._finish():
            self.serve()
        self._resources.remove_cgroups()

    def serve(self) -> None:
        """Handle events until the session is over, or its start has failed.

        A system call that fails, for want of memory say, is made again after a pause: a keeper
        that ended by it would lose hold of its session.
        """
        pause = _PAUSE_FIRST
        while not self._over:
            try:
                self._run_once()
            except OSError:
                time.sleep(pause)
                if self._session is not None:
                    # Look at everything again: an event may not come a second time.
                    self._session.due = min(self._session.due, time.monotonic())
                pause = min(2 * pause, _PAUSE_LONGEST)
            else:
                pause = _PAUSE_FIRST

    def _run_once(self) -> None:
        session = self._session
        due = self._renew_at if session is None else min(session.due, session.deadlines.due)
        left = due - time.monotonic()
        self._poller.wait(min(left, _PAUSE_FIRST) if self._unsent else left)
        self._unsent.send()
        session = self._session
        if session is not None:
            if not session.over and time.monotonic() >= session.deadlines.due:
                self._check_deadlines(session)
            if not session.over and time.monotonic() >= session.due:
                session.do_due()
            if self._ending is not None and session.killing:
                self._tell_ending(session)
            self._over = self._over or session.over
        elif time.monotonic() >= self._renew_at:
            self._renew(ahead=True)
            self._over = self._over or self._changed

    # --- the host ---------------------------------------------------------------------------------

    def _on_message(self) -> None:
        assert self._channel is not None
        # Before an order is received: its descriptors would be taken for the last session's.
        if self._renew_at < math.inf:
            self._renew(ahead=False)
        try:
            message, fds = wire.receive(self._channel)
        except BlockingIOError:
            return
        session = self._session
        match message[0]:
            case wire.ORDER if self._changed:
                for fd in fds:
                    close(fd)
                self._refused = self._over = True
            case wire.ORDER:
                self._on_order(message, fds)
            case wire.RENEW:
                self._over = self._over or self._changed
            case wire.HANDOVER:
                self._take_handover(wire.Handover(*message))
            case wire.GONE:
                self._on_host_gone()
            case _ if session is not None:
                self._on_session_message(session, message)

    def _on_session_message(self, session: KeptSession, message: wire.Message) -> None:
        match message[0]:
            case wire.DEADLINES:
                session.deadlines.set(*message[1:])
            case wire.KILL:
                session.kill()
            case wire.SPARE:
                self._hang_up()
                session.spare()

    def _on_order(self, message: wire.Message, fds: Sequence[int]) -> None:
        if self._order_taken_back():
            self._over = True
        elif not fds:  # This process has no descriptor left, so the kernel dropped them (unix(7)).
            self._failure = errno.EMFILE, "keeper"
            self._over = True
        else:
            order, umask, limits, deadlines, *handover = message[1:]
            self._take_handover(wire.Handover(*handover))
            if umask is not None:
                os.umask(umask)
            self._sessions += 1
            # A leader of another user has rights that this process has not.
            self._reusable = order["uid"] is None and self._sessions < _MOST_SESSIONS
            self._start(order, limits, *fds)
            if deadlines is not None and self._session is not None:
                self._session.deadlines.set(deadlines)

    def _order_taken_back(self) -> bool:
        """Return whether the host waits no more: it has shut its end of the socket for writing."""
        assert self._channel is not None
        return has_event(self._channel, select.POLLRDHUP)

    def _take_handover(self, handover: wire.Handover) -> None:
        self._handover, self._handed_over_at = handover, time.monotonic()

    def _start(
        self,
        order: Order,
        limits: tuple[Any, ...] | None,
        terminal: int,
        directory: int,
        stdin: int | None = None,
    ) -> None:
        """Start the leader, and report the result to the host. A failure ends this keeper."""
        session = None
        times = os.times()[2:4]
        limited = self._resources.limited
        try:
            if limits is None:
                limited.dismiss()
                leader = start_leader(order, terminal, directory, stdin)
            else:
                fds = [terminal, directory, *([] if stdin is None else [stdin])]
                leader = limited.start(order, limits, fds)
            session = KeptSession(leader, self._resources, self._poller, self._tell_exited)
            self._session = session
            pidfd = again(lambda: syscalls.pidfd_open(leader))
        except OSError as error:
            self._failure = error.errno, getattr(error, "stage", "keeper")
            if session is None:
                self._over = True
            else:  # EMFILE: without a pidfd the leader can't be watched, so it must not live on.
                session.kill()
            return
        finally:
            for fd in terminal, directory, stdin:
                if fd is not None:
                    close(fd)
        cgroup = self._resources.cgroup
        path = None if cgroup is None else cgroup.path
        self.tell(wire.STARTED, leader, os.getpid(), path, times, fds=[pidfd])
        session.stay_in_cgroup()

    def _tell_exited(self) -> None:
        if self._failure is None and self._session is not None:
            self.tell(wire.EXITED, self._session.status)

    def tell(self, what: str, *about: object, fds: Sequence[int] = ()) -> None:
        """Send the host a message, now or soon. Takes the descriptors over, and closes them."""
        self._unsent.add((what, *about), fds)

    def _hang_up(self) -> None:
        """Close the connection to the host."""
        if self._channel is not None:
            self._poller.unregister(self._channel.fileno())
            self._poller.unregister(self._host)
            channel, self._channel, self._unsent.channel = self._channel, None, None
            with suppress(OSError):  # See `retry.close`.
                channel.close()

    def _on_host_gone(self) -> None:
        """End the session as the host would have: it is dead, or has given the session up."""
        self._hang_up()
        if self._session is None or self._handover is None:  # There is no session to end.
            self._over = True
            return
        self._session.end_without_host(self._handover, time.monotonic() - self._handed_over_at)

    def _check_deadlines(self, session: KeptSession) -> None:
        """End the session by its plan if a deadline has passed: the host is stopped, or slow."""
        reason = session.deadlines.passed()
        if reason is not None and self._handover is not None:
            ago = time.monotonic() - self._handed_over_at
            self._ending = reason
            session.end_without_host(self._handover, ago, tell=lambda: self._tell_ending(session))

    def _tell_ending(self, session: KeptSession) -> None:
        self.tell(wire.ENDING, str(self._ending), None if session.killing else session.kill_due)
        if session.killing:
            self._ending = None

    def close(self) -> None:
        """Break reference cycles: the garbage collector is off in a keeper."""
        self._poller.clear()

    # --- the session ------------------------------------------------------------------------------

    def _finish(self) -> bool:
        """Report to the host that the session is over; return whether another one may follow."""
        session, self._session = self._session, None
        failed = self._failure is not None
        if self._channel is None or not (session is not None or failed or self._refused):
            return False
        if session is not None:
            session.close()
        if session is not None and self._failure is None:
            reusable = session.was_plain and self._reusable
            if reusable:
                self._handover = None
                self._over = False
                self._renew_at = time.monotonic() + _RENEW_DELAY
            # Last: the host wakes up on this processor, most likely.
            ready = not self._resources.outside
            self.tell(wire.EMPTY, session.status, reusable, ready, session.usage())
            if reusable:
                return True
        elif self._refused:
            self.tell(wire.REFUSED)
        else:
            self.tell(wire.FAILED, *(self._failure or ()))
        # The host first: this process's exit would delay it on the processor that it woke on.
        self._poller.clear()
        self._poller.register(self._channel.fileno(), _do_nothing)  # No order is obeyed any more.
        until = time.monotonic() + _CLOSE_TIMEOUT
        while self._unsent and time.monotonic() < until:
            time.sleep(_PAUSE_FIRST)
            self._unsent.send()
        with suppress(OSError):
            again(lambda: self._poller.wait(_CLOSE_TIMEOUT))
        return False

    def _renew(self, *, ahead: bool) -> None:
        """Undo the changes of the last session, or note that this was not possible."""
        self._renew_at = math.inf
        self._changed = True
        outside = self._resources.outside
        with suppress(OSError):
            self._changed = not self._resources.renew(ahead=ahead)
        if outside and not self._changed:
            self.tell(wire.READY)


def _do_nothing() -> None:
    """Do nothing: the event only had to end the wait."""
