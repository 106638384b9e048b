"""One session without a keeper: signals its members, and waits for their end.

On Linux it *proves* that the session is empty (`SessionNumber`). Elsewhere, and if a zombie that is
not reaped keeps the session's number, it relies on a scan of the process table. A scan takes time,
and proves nothing: `Caveat.SCANNED`. Members that have left the session may be unknown:
`Caveat.ESCAPEES_UNKNOWN`, always.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Coroutine, Generator
from signal import Signals
from typing import Any

import trio

from ptykill.rules.deadlines import Deadlines, Elapsed
from ptykill.rules.member import Member
from ptykill.rules.processor_time import ProcessorTime
from ptykill.rules.protocols import Ending, Handover, Signalled
from ptykill.rules.steps import Reach
from ptykill.rules.usage import Usage
from ptykill.rules.verdict import Caveat, ExitStatus, Survivor
from ptykill.system.containment.identity import identify
from ptykill.system.containment.leader import Leader
from ptykill.system.containment.member_list import MemberList
from ptykill.system.containment.process_table import PidMark, ProcessTable
from ptykill.system.containment.session_folders import session_folders
from ptykill.system.containment.session_members import SessionMembers
from ptykill.system.containment.session_signals import SessionSignals
from ptykill.system.kernel.proc_folder import ProcFolder
from ptykill.system.pty.terminal import PtyTerminal

__all__ = ["SessionContainment"]

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
        self._signals = SessionSignals(leader, terminal, table, self._members)
        self._search: _Search | None = None
        """The search among pids that are not listed, while it is under way."""
        self._pause = _PAUSE_FIRST
        self._look_at: float | None = None
        """When the pause that is under way ends, by trio's clock."""
        self._closed = False
        self._member_list = MemberList()

    # --- signals --------------------------------------------------------------------------------

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal, and SIGCONT after it unless it stops or kills, to those there now."""
        if self._closed:
            return Signalled()
        return self._signals.signal(Signals[f"SIG{name}"], reach)

    def signal_now(self, name: str, reach: Reach) -> Signalled:
        """Send exactly this signal to those there now."""
        return self.send_now(Signals[f"SIG{name}"], reach)

    def send_now(self, number: int, reach: Reach) -> Signalled:
        """Send exactly this signal, one by one, to those there now."""
        return Signalled() if self._closed else self._signals.send_now(number, reach)

    async def list_members(self) -> tuple[Member, ...]:
        """Describe the members there are now."""
        if self._closed:
            return ()
        foreground = self._terminal.foreground()
        return await self._member_list.describe(self.folders(), self.pid, foreground)

    def folders(self) -> Generator[ProcFolder]:
        """Yield the folder in /proc of each member; the caller closes it."""
        return session_folders(self._leader, self._members)

    def kill(self) -> Signalled:
        """Send SIGKILL to every member there is."""
        return Signalled() if self._closed else self._signals.kill()

    def finish_signal(self) -> None:
        """Send the pending signals to all but the leader, but to none that was started since."""
        self._signals.finish_signal()

    def hand_over(self, handover: Handover) -> None:
        """Do nothing: no process could carry it out if the host dies. The kernel hangs up then."""

    def set_deadlines(self, deadlines: Deadlines, elapsed: Elapsed) -> None:
        """Do nothing: no other process could end the session while the host is stopped."""

    def ending(self) -> Ending | None:
        """Return None: only a keeper ends a session by itself."""

    def processor_time(self) -> ProcessorTime:
        """Return the processor time of the members that are known."""
        if self._closed:
            return ProcessorTime()
        return self._table.processor_time([self.pid, *self._members.known()])

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
        if self._signals.leader_had_no_children(mark) and self._is_empty(mark):
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

    def usage(self) -> Usage:
        """Return what the leader has used, and the processes that it has waited for."""
        return self._leader.usage()

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
