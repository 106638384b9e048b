"""One session without a keeper: signals its members, and waits for their end.

On Linux it *proves* that the session is empty (`SessionNumber`). Elsewhere, and if a zombie that is
not reaped keeps the session's number, it relies on a scan of the process table. A scan takes time,
and proves nothing: `Caveat.SCANNED`. Members that have left the session may be unknown:
`Caveat.ESCAPEES_UNKNOWN`, always.
"""

from __future__ import annotations

import dataclasses
import itertools
import signal
from collections.abc import Coroutine, Iterable
from signal import Signals
from typing import Any, NamedTuple

import trio

from ptykill.rules.protocols import Handover, Signalled
from ptykill.rules.steps import Reach
from ptykill.rules.verdict import Caveat, ExitStatus, Survivor
from ptykill.system.containment.identity import identify
from ptykill.system.containment.leader import Leader
from ptykill.system.containment.process import Process, signal_process
from ptykill.system.containment.process_table import PidMark, ProcessTable
from ptykill.system.containment.session_members import SessionMembers
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.pidfd import deliver
from ptykill.system.kernel.procfs import session_of
from ptykill.system.pty.terminal import PtyTerminal

__all__ = ["SessionContainment"]

_ROUNDS_SPARED = 8
"""Rounds of SIGKILL that spare the leader while descriptors for its children are missing."""
_PROBED_AT_ONCE = 4096
"""Pids that are probed, if processes are hidden, before other tasks may run: some 5 ms."""
_PAUSE_FIRST, _PAUSE_LONGEST = 0.001, 1.0
"""Seconds between two looks at a dead leader that a tracer holds, since no event reports that."""


class SessionContainment:
    """Finds and ends the members of one POSIX session, and its descendants that have left it."""

    name: str = "session"
    killed: bool = False

    def __init__(self, leader: Leader, terminal: PtyTerminal, table: ProcessTable) -> None:
        self.pid: int = leader.pid
        self._leader = leader
        self._terminal = terminal
        self._table = table
        self._members = SessionMembers(leader, table)
        self._number = self._members.number
        self._pending: list[_Pending] = []
        self._search: _Search | None = None
        """The search among pids that are not listed, while it is under way."""
        self._rounds_spared = 0
        """Rounds of SIGKILL in which the leader was spared, since its death would hide others."""
        self._pause = _PAUSE_FIRST
        self._look_at: float | None = None
        """When the pause that is under way ends, by trio's clock."""
        self._closed = False

    # --- signals --------------------------------------------------------------------------------

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal, and SIGCONT after it unless it stops or kills, to those there now."""
        return Signalled() if self._closed else self._signal(Signals[f"SIG{name}"], reach)

    def _signal(self, number: Signals, reach: Reach) -> Signalled:
        match reach:
            case Reach.LEADER:
                return self._send(number, [self._leader])
            case Reach.GROUP:
                return self._signal_group(number)
            case Reach.FOREGROUND:
                group = self._terminal.foreground()
                if group == self.pid:
                    return self._signal_group(number)
                # One by one: nothing keeps the number of a group that is not the leader's.
                return self._send(number, self._members.living(self._members.in_group(group)))
            case Reach.SESSION | Reach.ALL:
                return self._signal_members(number, reach)
            case Reach.ESCAPED:
                return self._signal_escaped(number)

    def kill(self) -> Signalled:
        """Send SIGKILL to every member there is."""
        if self._closed:
            return Signalled()
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
                self._number.ours_at = mark
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
        return not self._table.children(self.pid) and reserve.refusals == refusals

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
        members = {self.pid, *self._members.in_group(self.pid)}
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
        number: Signals,
        processes: Iterable[Process | Leader],
        signalled: Signalled | None = None,
    ) -> Signalled:
        signalled = signalled or Signalled()
        for process in processes:
            signal_process(number, process, signalled)
        return signalled

    def hand_over(self, handover: Handover) -> None:
        """Do nothing: no process could carry it out if the host dies. The kernel hangs up then."""

    # --- the end --------------------------------------------------------------------------------

    def wait_exited(self) -> Coroutine[Any, Any, None]:
        """Wait until the leader has exited."""
        return self._leader.wait_exited()

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status, reaped or not; None if it can't be known."""
        return self._leader.status()

    def members_left(self) -> bool:
        """Look whether anything of the session is left; if not, the leader has been reaped."""
        # A leader that had no children when it was signalled, nor since, most likely was the only
        # member. So it is reaped before the others are looked for. A process that was just being
        # started has the session's number, so no stranger can get it, and is looked for below.
        mark = self._table.mark()
        if self._leader_had_no_children(mark) and self._is_empty(mark):
            return False
        self.finish_signal()
        before = self._table.mark()
        members = self._members
        if members.watch_some(afresh=True) or members.maybe_strangers or members.incomplete:
            self._search = None
            return True
        if self._table.pids_to_probe:
            search = self._search = self._search or _Search(before, set())
            if not self._search_further(search):
                return not self._number.free
            self._search = None
            before = search.began
            members.seen |= search.seen
        if not self._leader.reapable() or (before is not None and members.any_new_since(before)):
            return True
        # No member lives. Zombies that are not reaped may keep the number, so that the kernel
        # can't prove it. In any case the leader is reaped now, and not before: it kept the number
        # for the looks.
        self._is_empty(self._table.mark())
        self._leader.reap()
        return False

    def _leader_had_no_children(self, mark: PidMark | None) -> bool:
        """Return whether the leader had no children at the last signal, nor any since."""
        if not self._pending or mark is None:
            return False
        new = self._table.pids_between(self._pending[0].mark, mark)
        return not any(session_of(pid) == self.pid for pid in new)

    def _is_empty(self, mark: PidMark | None) -> bool:
        """Reap the leader, and ask the kernel whether the session is empty: the proof."""
        return not self._members.escaped and self._number.check_free(mark)

    def _search_further(self, search: _Search) -> bool:
        """Probe some more pids that are not listed; return whether they were the last ones.

        There may be millions, and other tasks must not wait for all. It returns False as well if a
        member was found, or if the kernel has said that the session is empty.
        """
        members = self._members
        if search.probed:
            # Most members are among the first, whose pids follow the leader's. None was found, so
            # the session may be empty. If it is not, its members keep its number, and the number is
            # known to be theirs as long as that is asked from time to time.
            if self._is_empty(self._table.mark()):
                return False
            self._number.is_ours()
        upto = min(search.probed + _PROBED_AT_ONCE, self._table.pids_to_probe)
        probe = range(search.probed, upto)
        if members.watch_some(probe=probe) or members.maybe_strangers or members.incomplete:
            self._search = None
            return False
        search.probed = upto
        search.seen |= members.seen
        return upto == self._table.pids_to_probe

    async def wait_members(self) -> None:
        """Wait for the end of some members that the last look found; may be cancelled and resumed.

        Each round of SIGKILL cancels it. A pause goes on after that: if it began anew, one that is
        longer than the time between two rounds would never end, and there would be no other look.
        """
        if self._search is not None:
            await trio.sleep(_PAUSE_FIRST)
        elif self._number.watched:
            self._pause, self._look_at = _PAUSE_FIRST, None
            # For all of them; only for the first where they are what keeps the number.
            watched = self._number.watched
            for member in watched if self._leader.pinned else watched[:1]:
                await member.wait_dead()
        else:
            if self._look_at is None:
                self._look_at = trio.current_time() + self._pause
                self._pause = min(self._pause * 2, _PAUSE_LONGEST)
            await trio.sleep_until(self._look_at)
            self._look_at = None

    def reap(self) -> ExitStatus | None:
        """Reap the leader if that is not done, and return its status; None if it is unknown."""
        return self._leader.reap()

    def survivors(self) -> tuple[Survivor, ...]:
        """Describe the members that live now, and why as far as that is known."""
        living = self._members.living(self._members.known())
        alive = [identify(member.pid, member) for member in living]
        if not self._leader.dead() or not self._leader.reapable():
            alive.append(identify(self.pid, self._leader))
        return tuple(alive)

    def caveats(self) -> frozenset[Caveat]:
        """Return what could not be known about this session."""
        caveats = {Caveat.ESCAPEES_UNKNOWN}
        if not self._number.free:
            caveats.add(Caveat.SCANNED)
        if self._leader.reaped_by_others:
            caveats.add(Caveat.REAPED_BY_OTHERS)
        return frozenset(caveats)

    def close(self) -> None:
        """Close the descriptors."""
        self._closed = True
        self._leader.close()
        self._members.close()


@dataclasses.dataclass
class _Search:
    """How far the search among pids that are not listed has come."""

    began: PidMark | None
    seen: set[int]
    probed: int = 0


class _Pending(NamedTuple):
    """A signal that the leader has got and the others have not."""

    number: Signals
    reach: Reach
    mark: PidMark
    signalled: Signalled
