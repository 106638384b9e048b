"""A session whose keeper lives: finds its members, signals them, and waits for their end.

All members are descendants of the keeper, which reaps them. The host sends the signals, by pidfd,
so the keeper need not be awake for that. Both send SIGKILL, until no member is left. The keeper
reports when the leader has exited, and when it has no child left (`ptykill.system.keeper.keeper`).
"""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from signal import Signals
from typing import NamedTuple

from ptykill import log
from ptykill.rules.deadlines import Deadlines, Elapsed
from ptykill.rules.processor_time import ProcessorTime
from ptykill.rules.protocols import Ending, Handover, Signalled
from ptykill.rules.steps import Reach
from ptykill.rules.verdict import Caveat, EndReason, ExitStatus, Survivor
from ptykill.system.containment.channel import connected
from ptykill.system.containment.identity import identify
from ptykill.system.containment.keeper_handle import KeeperHandle
from ptykill.system.containment.keeper_process import KeeperProcess
from ptykill.system.containment.process import signal_process
from ptykill.system.keeper import wire
from ptykill.system.keeper.orphaned import in_reach
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.descendants import descendants
from ptykill.system.kernel.last_pid import LastPid
from ptykill.system.kernel.limited_cgroup import UsageFigures
from ptykill.system.kernel.members import members
from ptykill.system.kernel.pidfd import Pidfd, open_pidfd
from ptykill.system.kernel.proc_folder import ProcFolder, open_folder
from ptykill.system.kernel.processor_time import processor_time
from ptykill.system.kernel.procfs import children
from ptykill.system.pty.terminal import PtyTerminal
from ptykill.system.readiness import readable

__all__ = ["KeeperGone", "LiveKeeper"]


class KeeperGone(Exception):
    """The keeper is dead, and had not said that its session is over."""


class LiveKeeper:
    """The members of a session, as they are known while the keeper lives."""

    killed: bool = False

    def __init__(
        self, keeper: KeeperHandle, terminal: PtyTerminal, last_pid: LastPid, cgroup: Cgroup | None
    ) -> None:
        self._keeper = keeper
        self._process = KeeperProcess(keeper, cgroup)
        self._leader = keeper.leader
        self._terminal = terminal
        self._last_pid = last_pid
        self._cgroup = cgroup
        self._status: ExitStatus | None = None
        self._exited = False
        self._empty = False
        self._reusable = False
        self.usage: UsageFigures | None = None
        """What the session has used, once the keeper has reported that it is over."""
        self._rounds = 0
        """Rounds of SIGKILL."""
        self._pending: list[_Pending] = []
        self._ending: Ending | None = None
        self._kill_due = math.inf
        """When the keeper sends SIGKILL by itself, in monotonic seconds."""

    # --- signals ----------------------------------------------------------------------------------

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal to the leader, and to other members that have to get it at once."""
        number = Signals[f"SIG{name}"]
        signalled = Signalled()
        if reach is Reach.LEADER:
            if not self._exited:
                signal_process(number, self._leader, signalled)
            return signalled
        together = reach is Reach.ESCAPED and bool(self._pending)
        if not together:
            self.finish_signal()
        last, there = self._last_pid.last(), self._members_if_no_last_pid()
        self._pending.append(_Pending(number, reach, last, there, signalled))
        if reach in (Reach.SESSION, Reach.ALL) and not self._exited:
            # The leader is first: mostly it has no children, and then no scan is needed.
            # Its death hides no member, since its children become the keeper's.
            signal_process(number, self._leader, signalled)
        elif not together:
            self.finish_signal()
        return signalled

    def finish_signal(self) -> None:
        """Send the pending signals to all others, but to none that was started since."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        self._signal_others(pending)

    def signal_now(self, number: int, reach: Reach) -> Signalled:
        """Send exactly this signal, to all at once."""
        signalled = Signalled()
        if reach is Reach.LEADER:
            if not self._leader.dead():
                signal_process(number, self._leader, signalled, resume=False)
            return signalled
        last, there = self._last_pid.last(), self._members_if_no_last_pid()
        self._signal_others([_Pending(number, reach, last, there, signalled)], resume=False)
        return signalled

    def _signal_others(self, pending: list[_Pending], *, resume: bool = True) -> None:
        """Send these signals to each member within their reach that was there then."""
        front = self._terminal.foreground()
        leader = self._leader.pid
        for member in self.members():
            pid = member.pid
            for number, reach, last, there, signalled in pending:
                if pid in signalled.reached or pid in signalled.refused:
                    continue
                # Checked after it was found: it may have been started since this walk began.
                there_then = (
                    pid not in self._last_pid.since(last) if there is None else pid in there
                )
                if there_then and in_reach(reach, pid, leader, front):
                    signal_process(number, member, signalled, resume=resume)

    def folders(self) -> Generator[ProcFolder]:
        """Yield the folder in /proc of each member; the caller closes it."""
        keeper = open_folder(self._keeper.pid)
        if keeper is None:
            return
        # As in `KeeperProcess.open`: the pid is still the keeper's, and the folder so too.
        if not connected(self._keeper.channel):
            keeper.close()
            return
        for member in descendants(keeper):
            yield member
            if self._empty:
                return  # Other tasks have run meanwhile: the keeper may have another session.

    def _members_if_no_last_pid(self) -> set[int] | None:
        """Return the pids of all members if their pids can't show which are later."""
        return None if self._last_pid.known else {member.pid for member in self.members()}

    def kill(self) -> Signalled:
        """Send SIGKILL to every present member."""
        self._rounds += 1
        self._pending = []
        signalled = Signalled()
        if not self._leader.dead():
            signal_process(signal.SIGKILL, self._leader, signalled)
        leader = self._leader.pid
        nobody_else = True
        for member in self.members():
            if member.pid != leader:
                nobody_else = False
                signal_process(signal.SIGKILL, member, signalled)
        if self._rounds > 1 or not nobody_else:
            with suppress(OSError):  # The next round sends it again.
                self._send_message(wire.KILL)
        if self._rounds > 1:
            self._process.free(nobody_else=nobody_else)
        return signalled

    def members(self) -> Iterator[Pidfd]:
        """Yield a handle on each living member."""
        with self._process.open() as keeper:
            if keeper is not None:
                yield from members(keeper)

    # --- the keeper -------------------------------------------------------------------------------

    def hand_over(self, handover: Handover) -> None:
        """Send the keeper the rest of the plan, in case this host dies."""
        self._keeper.hand_over(handover)
        self._process.resume()  # It would have reported a death by now, if there was one.

    def set_deadlines(self, deadlines: Deadlines, elapsed: Elapsed) -> None:
        """Send the keeper the deadlines, in case this host is stopped."""
        self._keeper.set_deadlines(deadlines, elapsed)

    def ending(self) -> Ending | None:
        """Return whether the keeper ends the session because of a deadline."""
        with suppress(KeeperGone, OSError):
            self._read_messages()
        ending = self._ending
        if ending is None or ending.killed:
            return ending
        return ending._replace(grace=max(0.0, self._kill_due - time.monotonic()))

    def processor_time(self) -> ProcessorTime:
        """Return the processor time of the members."""
        with self._process.open() as keeper:
            if keeper is None:
                return ProcessorTime()
            return processor_time(keeper.pid, self._cgroup)

    def _send_message(self, kind: str) -> None:
        """Send the keeper a message. Raises OSError if that is not possible now."""
        if not wire.send(self._keeper.channel, (kind,)) and connected(self._keeper.channel):
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), kind)

    def _read_messages(self) -> None:
        """Read what the keeper has sent. Raises `KeeperGone`."""
        while not self._empty:
            try:
                message, _ = wire.receive(self._keeper.channel)
            except BlockingIOError:
                return
            match message[0]:
                case wire.EXITED | wire.EMPTY:
                    self._exited = True
                    self._status = None if message[1] is None else ExitStatus(*message[1])
                    self._empty = message[0] == wire.EMPTY
                    if self._empty:
                        self._reusable, self._keeper.ready, self.usage = message[2:]
                case wire.ENDING:
                    _, reason, kill_due = message
                    self._kill_due = 0.0 if kill_due is None else kill_due
                    self._ending = Ending(EndReason(reason), 0.0, killed=kill_due is None)
                case wire.BROKEN:
                    pid = self._leader.pid
                    log.event(logging.ERROR, "keeper.broken", pid=pid, traceback=message[1])
                case wire.GONE:
                    raise KeeperGone

    # --- the end ----------------------------------------------------------------------------------

    async def wait_exited(self) -> None:
        """Wait until the leader has exited. Raises `KeeperGone`."""
        while True:
            self._read_messages()
            if self._exited:
                return
            await readable(self._keeper.channel)

    async def wait_members(self) -> None:
        """Wait until no member is left. Raises `KeeperGone`."""
        while True:
            self._read_messages()
            if self._empty:
                return
            await readable(self._keeper.channel)

    def members_left(self) -> bool:
        """Return whether a member is left; if not, the leader has been reaped. `KeeperGone`."""
        self._read_messages()
        if not self._empty:
            self.finish_signal()
        return not self._empty

    @property
    def reusable(self) -> bool:
        """Whether the session is over, and the keeper may have another: it was not held up."""
        return self._reusable and not self._process.was_held_up

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status; None if it is not known."""
        with suppress(KeeperGone, OSError):  # The next look finds that out again.
            self._read_messages()
        return self._status

    def reap(self) -> ExitStatus | None:
        """Have the keeper spare the members that live; return the leader's status."""
        if not self._empty:
            self._send_message(wire.SPARE)
        return self._status

    def survivors(self) -> tuple[Survivor, ...]:
        """Describe the members that live now."""
        alive = [identify(member.pid, member) for member in self.members()]
        if not alive and not self._empty:
            # Dead, but not to be reaped: another process traces them.
            with self._process.open() as keeper:
                for pid in children(keeper.pid) if keeper is not None else ():
                    zombie = open_pidfd(pid)
                    if zombie is not None:
                        alive.append(identify(pid, zombie))
                        zombie.close()
        return tuple(alive)

    def caveats(self) -> frozenset[Caveat]:
        """Return nothing: a living keeper knows everything."""
        return frozenset()

    def close(self) -> None:
        """Close nothing: it holds no descriptor but the keeper's handle's."""


class _Pending(NamedTuple):
    """A signal that the leader has got and the others have not."""

    number: int
    reach: Reach
    last: int
    there: set[int] | None
    signalled: Signalled
