"""The signals to one session that has no keeper: whom each reach means, and in which order.

All receivers are looked for before the first is signalled, since a dead parent shows no children.
The exception is a leader without children: it gets the signal at once, the others with
`SessionSignals.finish_signal`.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterable
from signal import Signals
from typing import NamedTuple

from ptykill.rules.protocols import Signalled
from ptykill.rules.steps import Reach
from ptykill.system.containment.leader import Leader
from ptykill.system.containment.process import Process, signal_process
from ptykill.system.containment.process_table import PidMark, ProcessTable
from ptykill.system.containment.session_members import SessionMembers
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.pidfd import deliver
from ptykill.system.kernel.procfs import session_of
from ptykill.system.pty.terminal import PtyTerminal

__all__ = ["SessionSignals"]

_ROUNDS_SPARED = 8
"""Rounds of SIGKILL that spare the leader while descriptors for its children are missing."""


class SessionSignals:
    """Signals the members of one POSIX session, and its descendants that have left it."""

    def __init__(
        self, leader: Leader, terminal: PtyTerminal, table: ProcessTable, members: SessionMembers
    ) -> None:
        self._leader = leader
        self._terminal = terminal
        self._table = table
        self._members = members
        self._pending: list[_Pending] = []
        self._rounds_spared = 0
        """Rounds of SIGKILL in which the leader was spared, since its death would hide others."""

    def signal(self, number: Signals, reach: Reach) -> Signalled:
        """Send a signal, and SIGCONT after it unless it stops or kills, to those there now."""
        match reach:
            case Reach.LEADER:
                return self._send(number, [self._leader])
            case Reach.GROUP:
                return self._signal_group(number)
            case Reach.FOREGROUND:
                group = self._terminal.foreground()
                if group == self._leader.pid:
                    return self._signal_group(number)
                # One by one: nothing keeps the number of a group that is not the leader's.
                return self._send(number, self._members.living(self._members.in_group(group)))
            case Reach.SESSION | Reach.ALL:
                return self._signal_members(number, reach)
            case Reach.ESCAPED:
                return self._signal_escaped(number)

    def send_now(self, number: int, reach: Reach) -> Signalled:
        """Send exactly this signal, one by one, to those there now."""
        members, group = self._members, self._leader.pid
        if reach is Reach.FOREGROUND:
            group = self._terminal.foreground() or -1
        # All are looked for before the first is signalled.
        match reach:
            case Reach.LEADER:
                pids = []
            case Reach.GROUP | Reach.FOREGROUND:
                pids = members.in_group(group)
            case Reach.SESSION:
                pids = members.in_session()
            case Reach.ESCAPED | Reach.ALL:
                pids = self._within(reach, members.known())
        led = reach is not Reach.ESCAPED and group == self._leader.pid and not self._leader.dead()
        leader = [self._leader] if led else []
        first, last = (leader, []) if number == signal.SIGKILL else ([], leader)
        return self._send(number, itertools.chain(first, members.living(pids), last), resume=False)

    def kill(self) -> Signalled:
        """Send SIGKILL to every member there is."""
        return self._signal_members(signal.SIGKILL, Reach.ALL)

    def _signal_members(self, number: Signals, reach: Reach) -> Signalled:
        """Signal all members there are now, or those in the session."""
        self.finish_signal()
        # All are looked for before the first is signalled, since a dead parent shows no children.
        # A leader without children hides no member: it goes first, and may be gone, and its session
        # with it, before the others have to be looked for. If it is dead, it may be reaped, and its
        # pid need not have been its own when the mark was taken.
        mark = self._table.mark()
        if mark is not None and not self._leader.dead() and self._leader_is_childless():
            signalled = self._send(number, [self._leader])
            if not signalled.refused:
                self._members.number.ours_at = mark
                self._pending.append(_Pending(number, reach, mark, signalled))
                return signalled
        pids = self._within(reach, self._members.known())
        # The leader is last, since its death has effects on the others' terminal; but first to be
        # killed, since it may start them again.
        leader = [] if self._leader.dead() else [self._leader]
        first, last = (leader, []) if number == signal.SIGKILL else ([], leader)
        if first and self._members.incomplete and self._rounds_spared < _ROUNDS_SPARED:
            self._rounds_spared += 1  # Its other children are found when these have died.
            first = []
        return self._send(number, itertools.chain(first, self._members.living(pids), last))

    def _leader_is_childless(self) -> bool:
        """Return whether the leader has no children; False if no descriptor is left to ask with."""
        refusals = reserve.refusals
        return not self._table.children(self._leader.pid) and reserve.refusals == refusals

    def _signal_escaped(self, number: Signals) -> Signalled:
        """Signal the members that have left the session, as far as they are known."""
        if not self._pending:
            pids = self._within(Reach.ESCAPED, self._members.known())
            return self._send(number, self._members.living(pids))
        # Only the leader has got the signal just before this one. This one waits with it.
        signalled = Signalled()
        self._pending.append(_Pending(number, Reach.ESCAPED, self._pending[-1].mark, signalled))
        return signalled

    def _signal_group(self, number: Signals) -> Signalled:
        members = {self._leader.pid, *self._members.in_group(self._leader.pid)}
        try:
            reached = deliver(number, self._leader.send_group)
        except PermissionError:
            return Signalled(refused=members)
        return Signalled(members if reached else set())

    def finish_signal(self) -> None:
        """Send the pending signals to all but the leader, but to none that was started since."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        known = self._members.known()
        for number, reach, mark, signalled in pending:
            pids = self._within(reach, known)
            if pids and number != signal.SIGKILL:
                new = self._table.pids_since(mark)
                pids = [pid for pid in pids if pid not in new]
            self._send(number, self._members.living(pids), signalled)

    def _within(self, reach: Reach, known: list[int]) -> list[int]:
        """Return the pids of the known members that a reach means, apart from the leader's."""
        if reach is Reach.ALL:
            return known
        escaped, wanted = self._members.escaped, reach is Reach.ESCAPED
        return [pid for pid in known if (pid in escaped) is wanted]

    def _send(
        self,
        number: int,
        processes: Iterable[Process | Leader],
        signalled: Signalled | None = None,
        *,
        resume: bool = True,
    ) -> Signalled:
        signalled = signalled or Signalled()
        for process in processes:
            signal_process(number, process, signalled, resume=resume)
        return signalled

    def leader_had_no_children(self, mark: PidMark | None) -> bool:
        """Return whether the leader had no children at the last signal, nor any since."""
        if not self._pending or mark is None:
            return False
        new = self._table.pids_between(self._pending[0].mark, mark)
        return not any(session_of(pid) == self._leader.pid for pid in new)


class _Pending(NamedTuple):
    """A signal that the leader has got and the others have not."""

    number: Signals
    reach: Reach
    mark: PidMark
    signalled: Signalled
