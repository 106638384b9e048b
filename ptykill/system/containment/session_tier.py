"""The portable tier: members are known by their POSIX session, and by descent while it shows.

On Linux it *proves* that the session is empty: the kernel keeps the session's number as long as
anybody is in it, so once the leader is reaped and the number is free, nobody is
(`ProcessTable.in_use`). Elsewhere, and where a zombie that nobody reaps keeps the number, it is a
look at the process table, which is not one moment and proves nothing: `Caveat.SCANNED`.

What it can't know: a process that called setsid(2) and whose parent had died before anybody
looked: `Caveat.ESCAPEES_UNKNOWN`, always.
"""

from __future__ import annotations

import dataclasses
import itertools
import signal
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from signal import Signals
from typing import Any, NamedTuple

import trio

from ptykill.rules.command import Command
from ptykill.rules.protocols import Handover, Signalled, Spawned
from ptykill.rules.steps import Reach
from ptykill.rules.verdict import Caveat, ExitStatus, Survivor
from ptykill.system.containment.identity import identify
from ptykill.system.containment.leader import Leader
from ptykill.system.containment.process import Process, open_process
from ptykill.system.containment.process_table import PidMark, ProcessTable, process_table
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.pidfd import deliver
from ptykill.system.kernel.procfs import group_of, session_of
from ptykill.system.pty.spawn import spawn
from ptykill.system.pty.terminal import PtyTerminal, open_terminal

__all__ = ["SessionContainment", "SessionTier"]

_HELD = 16
"""So many members are held and waited for at once, since each costs a descriptor."""
_SPARED = 8
"""So many rounds of SIGKILL spare the leader while there are too few descriptors to see all."""
_FORKS_UNDER_WAY = 256
"""So many births may be under way, with a number that nobody can be found by yet."""
_ASKED_AT_ONCE = 4096
"""So many numbers are asked about, where processes are hidden, before others may run: some 5 ms."""
_PAUSE_FIRST, _PAUSE_LONGEST = 0.001, 1.0
"""Seconds between two looks where no event tells the end: at a dead leader that a tracer holds."""


class SessionTier:
    """Spawns sessions that are contained by what the process table tells."""

    name: str = "session"

    def __init__(self) -> None:
        self._table = process_table()

    async def spawn(self, command: Command, handover: Handover) -> Spawned:
        """Start a session. Raises `SpawnError`, and then nothing is left of the attempt."""
        del handover  # Nobody is there who could execute it.
        await trio.lowlevel.checkpoint()
        reserve.fill(self)
        terminal = open_terminal(command)
        try:
            leader = Leader(await spawn(command, terminal))
        except BaseException:
            terminal.hang_up()
            raise
        return Spawned(SessionContainment(leader, terminal, self._table), terminal)

    def prepare(self) -> None:
        """Prepare nothing: a spawn needs nothing that could be made before it."""

    async def close(self) -> None:
        """Give back the descriptors that all sessions shared."""
        self._table.close()
        reserve.release(self)


class SessionContainment:
    """The members of one POSIX session, and of what it was seen to let go."""

    name: str = SessionTier.name
    killed: bool = False

    def __init__(self, leader: Leader, terminal: PtyTerminal, table: ProcessTable) -> None:
        self._leader = leader
        self._terminal = terminal
        self._table = table
        self._escaped: dict[int, Process] = {}
        """Descendants that have left the session, held by handles: nothing pins their numbers."""
        self._watched: list[Process] = []
        """Some members, held: their death is waited for, and they keep the session's number."""
        self._pending: list[_Pending] = []
        self._mark: PidMark | None = None
        """Where the kernel's numbering stood when the session's number was last known its own."""
        self._seen: set[int] = set()
        """Whom the last look saw in the session, alive or not."""
        self._unsure = False
        """The last look saw living processes with the session's number that may be strangers."""
        self._blind = False
        """The last look lacked descriptors, and may not have seen everybody."""
        self._rounds = 0
        """Rounds of SIGKILL in which the leader was spared, since its death would hide others."""
        self._closed = False
        self._proven = False
        """The kernel has said that nobody has the session's number."""
        self._search: _Search | None = None
        """The look at numbers that are not listed, while it is under way."""
        self._pause = _PAUSE_FIRST
        self._number_is_ours()  # It may be dead, and reaped by others, already.

    @property
    def pid(self) -> int:
        """The leader's pid, and the session's number."""
        return self._leader.pid

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
                # One by one: nothing pins the number of a group that is not the leader's.
                return self._send(number, self._living(self._in_group(group)))
            case Reach.SESSION | Reach.ALL:
                return self._signal_members(number, reach)
            case Reach.ESCAPED:
                return self._signal_escaped(number)

    def kill(self) -> Signalled:
        """Send SIGKILL to every member there is."""
        if self._closed:
            return Signalled()
        return self._signal_members(signal.SIGKILL, Reach.ALL)

    def hand_over(self, handover: Handover) -> None:
        """Nobody is there to take it: if the host dies, the kernel hangs the session up."""

    def finish_signal(self) -> None:
        """Signal those that the leader went before, but none that was born since."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        known = self._known()
        for number, reach, mark, signalled in pending:
            pids = self._within(reach, known)
            if pids and number != signal.SIGKILL:
                born = self._table.pids_since(mark)
                pids = [pid for pid in pids if pid not in born]
            self._send(number, self._living(pids), signalled)

    def _within(self, reach: Reach, known: list[int]) -> list[int]:
        """Return those of the known members that a reach means, the leader left out."""
        if reach is Reach.ALL:
            return known
        outside = reach is Reach.ESCAPED
        return [pid for pid in known if (pid in self._escaped) is outside]

    def wait_exited(self) -> Coroutine[Any, Any, None]:
        """Wait until the leader has exited."""
        return self._leader.wait_exited()

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status, reaped or not; None if it can't be known."""
        return self._leader.status()

    def members_left(self) -> bool:
        """Look whether anything of the session is left; if not, the leader has been reaped."""
        # A leader that had no children when it was signalled, nor since, was most likely alone. It
        # is reaped before anybody was looked for, then. If a birth was under way, whoever was born
        # has the session's number, so nobody else can, and is looked for now.
        mark = self._table.mark()
        if self._leader_had_no_children(mark) and self._emptied(mark):
            return False
        self.finish_signal()
        before = self._table.mark()
        if self._watch_some(afresh=True) or self._unsure or self._blind:
            self._search = None
            return True
        if self._table.numbers:
            search = self._search = self._search or _Search(before, set())
            if not self._searched(search):
                return not self._proven
            self._search = None
            before = search.began
            self._seen |= search.seen
        if not self._leader.reapable() or (before is not None and self._grown(before)):
            return True
        # Nobody lives. Whether the kernel can prove it or zombies that nobody has reaped yet keep
        # the number, the leader is reaped now, and not before: it kept the number for our looks.
        self._emptied(self._table.mark())
        self._leader.reap()
        return False

    def _searched(self, search: _Search) -> bool:
        """Ask about some more numbers that are not listed; return whether they were the last ones.

        There may be millions, and others shall not wait for that. It is False as well if somebody
        was found, or if nobody need be looked for any more, since the kernel says so.
        """
        if search.asked:
            # Most members are among the first, whose numbers follow the leader's. Nobody is, so the
            # kernel may know that none is left. If it does not, whoever has the session's number
            # keeps it, and it is known to be theirs as long as that is asked from time to time.
            if self._emptied(self._table.mark()):
                return False
            self._number_is_ours()
        upto = min(search.asked + _ASKED_AT_ONCE, self._table.numbers)
        if self._watch_some(asked=range(search.asked, upto)) or self._unsure or self._blind:
            self._search = None
            return False
        search.asked = upto
        search.seen |= self._seen
        return upto == self._table.numbers

    async def wait_members(self) -> None:
        """Wait for the end of some members that the last look found."""
        if self._search is not None:
            await trio.sleep(_PAUSE_FIRST)
        elif self._watched:
            self._pause = _PAUSE_FIRST
            # All of them, or the first if it is they who keep the number.
            for member in self._watched if self._leader.pinned else self._watched[:1]:
                await member.wait_dead()
        else:
            await trio.sleep(self._pause)
            self._pause = min(self._pause * 2, _PAUSE_LONGEST)

    def reap(self) -> ExitStatus | None:
        """Reap the leader if that is not done, and return its status; None if unknown."""
        return self._leader.reap()

    def survivors(self) -> tuple[Survivor, ...]:
        """Who lives now, and why as far as can be told."""
        alive = [identify(member.pid, member) for member in self._living(self._known())]
        if not self._leader.dead() or not self._leader.reapable():
            alive.append(identify(self.pid, self._leader))
        return tuple(alive)

    def caveats(self) -> frozenset[Caveat]:
        """What could not be known about this session."""
        caveats = {Caveat.ESCAPEES_UNKNOWN}
        if not self._proven:
            caveats.add(Caveat.SCANNED)
        if self._leader.reaped_by_others:
            caveats.add(Caveat.REAPED_BY_OTHERS)
        return frozenset(caveats)

    def close(self) -> None:
        """Give back the descriptors."""
        self._closed = True
        self._leader.close()
        self._release(self._watched)
        for process in self._escaped.values():
            process.close()
        self._escaped.clear()

    # --- who is a member ------------------------------------------------------------------------

    def _in_session(self, *, afresh: bool = False, asked: range | None = None) -> list[int]:
        """Return the pids in the POSIX session but the leader's."""
        try:
            found = self._table.in_session(self.pid, afresh=afresh, asked=asked)
        except OSError:  # EMFILE: they are looked for again when some of those held have died.
            self._blind = True
            return []
        pids = [pid for pid in found if pid != self.pid]
        # Asked after the look: what held until now, held during it.
        self._seen = {self.pid, *pids}
        self._unsure = False
        if not pids or self._number_is_ours():
            return pids
        # Those that were born before the number could be anybody else's are no strangers.
        mark = self._mark
        older = [pid for pid in pids if mark is not None and self._table.started_before(pid, mark)]
        # The others may be; that matters unless they are dead.
        self._unsure = next(self._alive(set(pids).difference(older)), None) is not None
        return older

    def _leader_had_no_children(self, mark: PidMark | None) -> bool:
        """Return whether the leader had no children at the last signal, nor has had one since."""
        if not self._pending or mark is None:
            return False
        born = self._table.pids_between(self._pending[0].mark, mark)
        return not any(session_of(pid) == self.pid for pid in born)

    def _grown(self, mark: PidMark) -> bool:
        """Return whether there is anybody in the session whom the last look has not seen.

        All that it saw were found dead *after* it. Whoever lives has been born, then, by one of
        them, or by a child of theirs, so since the mark or just before: not seen means not there.
        """
        born = self._table.pids_since(mark, margin=_FORKS_UNDER_WAY)
        return any(session_of(pid) == self.pid and pid not in self._seen for pid in born)

    def _number_is_ours(self) -> bool:
        """Return whether nobody else can have been given the session's number.

        The leader keeps it, alive or not reaped; a member does; and it can't have been given out
        if the kernel's numbering has not passed it since one of them did.
        """
        # Taken first: if it is ours later, it was then. The other way round it may be a stranger's
        # by the time that the mark is taken, who would be taken for older than the mark.
        mark = self._table.mark()
        ours = (
            not self._leader.dead()
            or self._leader.unreaped()
            # If it is there now, the number that was asked about was its own.
            or any(session_of(each.pid) == self.pid and _there(each) for each in self._watched)
            or (self._mark is not None and not self._table.may_be_reused(self.pid, self._mark))
        )
        if ours:
            self._mark = mark
        return ours

    def _emptied(self, mark: PidMark | None) -> bool:
        """Reap the leader and ask the kernel whether anybody still has the session's number.

        ``mark`` has just been taken.
        """
        if self._escaped:
            return False
        if self._leader.pinned:
            if not self._table.tells_use:
                return False  # A zombie keeps the number safe for as long as we look at the table.
            self._leader.reap()
            if (
                not self._leader.reaped_by_others
            ):  # Or else the number may have been a stranger's by then.
                self._mark = mark
            if self._leader.pinned:
                return False
        if self._leader.reaped_by_others and _there(self._leader):
            return False  # Unreaped by whoever has to, it keeps the number itself.
        # Or it is somebody's pid by now: it was free, then, and has been given out again.
        self._proven = not self._table.in_use(self.pid) or session_of(self.pid) >= 0
        return self._proven

    def _in_group(self, group: int | None) -> list[int]:
        return [pid for pid in self._in_session() if group_of(pid) == group]

    def _known(self, *, afresh: bool = False, asked: range | None = None) -> list[int]:
        """Return the pids of all members but the leader, having looked for new escapees."""
        self._blind = False
        refusals = reserve.refusals
        inside = self._in_session(afresh=afresh, asked=asked)
        seen = set(inside)
        # The dead have no children: they are given away at once.
        if not self._leader.dead():
            self._adopt_children(self._leader, seen)
        for member in self._living(inside):
            self._adopt_children(member, seen)
        for escaped in list(self._escaped.values()):
            if escaped.dead():
                del self._escaped[escaped.pid]
                escaped.close()
            else:
                self._adopt_children(escaped, seen)
        self._blind = self._blind or reserve.refusals != refusals
        return [*inside, *self._escaped]

    def _adopt_children(self, parent: Process | Leader, seen: set[int]) -> None:
        """Take in those descendants of a member that are not in the session."""
        parents = [parent]
        while parents:
            one = parents.pop()
            for pid in self._table.children(one.pid):
                if pid in seen or pid in self._escaped:
                    continue
                try:
                    child = open_process(pid)
                except OSError:  # EMFILE: it is found when others have died.
                    return
                if child is None:
                    continue
                # Opened first, checked then. The child's number may have changed hands before it
                # was opened, the parent's before its children were listed: it had not if both are
                # as they should be now.
                if self._table.is_child(pid, one.pid) and _there(one):
                    self._escaped[pid] = child
                    parents.append(child)
                else:
                    child.close()

    def _living(self, pids: Iterable[int]) -> Iterator[Process]:
        """Open each of these members that lives; a handle is good until the next is asked for."""
        for process in self._alive(pids):
            # Since the look the session may have died, and its number, and this one too, become
            # those of strangers: a daemon and its child, say. Asked while the handle is held: what
            # holds now, held when it was opened.
            if process.pid in self._escaped or self._number_is_ours() or self._is_older(process):
                yield process

    def _is_older(self, process: Process) -> bool:
        """Return whether a process is older than anybody else's claim to the session's number."""
        return self._mark is not None and self._table.started_before(process.pid, self._mark)

    def _alive(self, pids: Iterable[int]) -> Iterator[Process]:
        """Open each of these that lives and has the session's number, or has escaped from it."""
        for pid in pids:
            escaped = self._escaped.get(pid)
            if escaped is not None:
                if not escaped.dead():
                    yield escaped
                continue
            try:
                process = open_process(pid)
            except OSError:  # EMFILE: as above.
                self._blind = True
                continue
            if process is None:
                continue
            try:
                if session_of(pid) == self.pid and not process.dead():
                    yield process
            finally:
                process.close()

    def _watch_some(self, *, afresh: bool = False, asked: range | None = None) -> bool:
        """Hold some members that live; return whether there are any."""
        held: list[Process] = []
        any_there = False
        for member in self._living(self._known(afresh=afresh, asked=asked)):
            any_there = True
            # A handle of our own: the one we were shown is about to be closed.
            with suppress(OSError):  # EMFILE: those we have must do.
                again = open_process(member.pid)
                if again is not None:
                    # If it lives now, it had its number then, and nobody else.
                    if member.dead():
                        again.close()
                    else:
                        held.append(again)
            if len(held) == _HELD:
                break
        # Not before: those held until now have kept the session's number during the look.
        self._release(self._watched)
        self._watched = held
        return any_there

    def _release(self, held: list[Process]) -> None:
        while held:
            held.pop().close()

    # --- signals --------------------------------------------------------------------------------

    def _signal_members(self, number: Signals, reach: Reach) -> Signalled:
        """Signal all members there are now, or those in the session."""
        self.finish_signal()
        # All are looked for before the first is signalled, since a dead parent shows no children.
        # A leader without any has none to hide: it goes first, and may be gone, and its session
        # with it, before the others have to be looked for. If it is dead, reaped perhaps, its
        # number need not have been its own when the mark was taken.
        mark = self._table.mark()
        if mark is not None and not self._leader.dead() and self._leader_is_childless():
            signalled = self._send(number, [self._leader])
            if not signalled.refused:
                self._mark = mark
                self._pending.append(_Pending(number, reach, mark, signalled))
                return signalled
        pids = self._within(reach, self._known())
        # The leader last, since its death has effects on the others' terminal; but first to be
        # killed, since it may start them again.
        leader = [] if self._leader.dead() else [self._leader]
        first, last = (leader, []) if number == signal.SIGKILL else ([], leader)
        if number == signal.SIGKILL and self._blind and self._rounds < _SPARED:
            self._rounds += 1  # Its other children are found once these have died.
            first = []
        return self._send(number, itertools.chain(first, self._living(pids), last))

    def _signal_escaped(self, number: Signals) -> Signalled:
        """Signal the members that have left the session, as far as they are known."""
        if not self._pending:
            return self._send(number, self._living(self._within(Reach.ESCAPED, self._known())))
        # The leader alone has had the signal that went out just before. This one waits with it.
        signalled = Signalled()
        self._pending.append(_Pending(number, Reach.ESCAPED, self._pending[-1].mark, signalled))
        return signalled

    def _leader_is_childless(self) -> bool:
        """Return whether the leader has no children; False if no descriptor is left to ask with."""
        refusals = reserve.refusals
        return not self._table.children(self.pid) and reserve.refusals == refusals

    def _send(
        self,
        number: Signals,
        processes: Iterable[Process | Leader],
        signalled: Signalled | None = None,
    ) -> Signalled:
        signalled = signalled or Signalled()
        for process in processes:
            try:
                if deliver(number, process.send):
                    signalled.reached.add(process.pid)
            except PermissionError:
                signalled.refused.add(process.pid)
            except OSError:
                if number != signal.SIGKILL:
                    raise
                # The others are killed all the same, and this one in the next round.
        return signalled

    def _signal_group(self, number: Signals) -> Signalled:
        members = {self.pid, *self._in_group(self.pid)}
        try:
            reached = deliver(number, self._leader.send_group)
        except PermissionError:
            return Signalled(refused=members)
        return Signalled(members if reached else set())


@dataclasses.dataclass
class _Search:
    """How far the look at numbers that are not listed has come."""

    began: PidMark | None
    seen: set[int]
    asked: int = 0


class _Pending(NamedTuple):
    """A signal that the leader has got and the others have not."""

    number: Signals
    reach: Reach
    mark: PidMark
    signalled: Signalled


def _there(process: Process | Leader) -> bool:
    """Return whether a process has not been reaped, so that its number is its own."""
    try:
        return process.send(0)
    except PermissionError:
        return True
