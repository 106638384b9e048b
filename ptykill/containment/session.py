"""The portable tier: members are known by their POSIX session, and by descent while it shows.

What it can't know: a process that called setsid(2) and whose parent had died before anybody
looked. It can't prove emptiness either, since a look at the process table is not one moment; so
every verdict says `Caveat.SCANNED` and `Caveat.ESCAPEES_UNKNOWN`.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterable, Iterator

import trio

from ptykill.containment.identity import identify
from ptykill.containment.leader import Leader
from ptykill.containment.process import Process, open_process
from ptykill.containment.process_table import ProcessTable, process_table
from ptykill.contract import Command, Signalled, Spawned, Watcher
from ptykill.plan import Reach
from ptykill.pty.spawn import spawn
from ptykill.pty.terminal import PtyTerminal
from ptykill.verdict import Caveat, ExitStatus, Survivor

__all__ = ["SessionContainment", "SessionTier"]

_HELD = 16
"""So many members are held and waited for at once, since each costs a descriptor."""
_TRACED_FIRST, _TRACED_LONGEST = 0.001, 1.0
"""Seconds between two looks at a dead leader that a tracer holds back: no event tells its end."""
_NO_CONT = {
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGKILL,
    signal.SIGCONT,
}
"""SIGCONT does not follow these: they stop, need no help, or are SIGCONT."""


class SessionTier:
    """Spawns sessions that are contained by what the process table tells."""

    name = "session"

    def __init__(self) -> None:
        self._table = process_table()

    async def spawn(self, command: Command) -> Spawned:
        """Start a session. Raises `SpawnError`, and then nothing is left of the attempt."""
        terminal = PtyTerminal.create(command.rows, command.cols)
        try:
            pid = await spawn(command, terminal)
            leader = Leader(pid)
        except BaseException:
            terminal.hang_up()
            raise
        return Spawned(SessionContainment(leader, terminal, self._table), terminal)

    def close(self) -> None:
        """Give back the process table's descriptor."""
        self._table.close()


class SessionContainment:
    """The members of one POSIX session, and of what it was seen to let go."""

    name = SessionTier.name

    def __init__(self, leader: Leader, terminal: PtyTerminal, table: ProcessTable) -> None:
        self._leader = leader
        self._terminal = terminal
        self._table = table
        self._escaped: dict[int, Process] = {}
        """Descendants that have left the session, held by handles: nothing pins their numbers."""
        self._anchors: list[Process] = []
        """Some members held since before the leader died, in case somebody else reaps it."""
        self._watched: list[Process] = []
        """Some members whose death is being waited for."""
        self._alone = True
        """No member but the leader was ever seen."""
        self._unsure = False
        """Processes with the session's number were seen that may have been strangers."""

    @property
    def pid(self) -> int:
        """The leader's pid, and the session's number."""
        return self._leader.pid

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal, and SIGCONT after it unless it stops or kills, to those there now."""
        number = signal.Signals[f"SIG{name}"]
        match reach:
            case Reach.LEADER:
                return self._signal_each(number, [])
            case Reach.GROUP:
                return self._signal_group(number)
            case Reach.FOREGROUND:
                group = self._terminal.foreground()
                if group == self.pid:
                    return self._signal_group(number)
                # One by one: nothing pins the number of a group that is not the leader's.
                return self._signal_each(number, self._in_group(group), leader=False)
            case Reach.SESSION:
                # All are looked for before the first is signalled: a dead parent shows no children.
                known = self._known()
                return self._signal_each(number, [p for p in known if p not in self._escaped])
            case Reach.ALL:
                return self._signal_each(number, self._known())

    def kill(self) -> Signalled:
        """Send SIGKILL to every member there is now."""
        return self._signal_each(signal.SIGKILL, self._known())

    async def watch(self, watcher: Watcher) -> None:
        """Tell the watcher what happens, until the session is empty."""
        watcher.leader_exited(await self._leader.wait_exited())
        pause = _TRACED_FIRST
        try:
            while True:
                self._watched = self._hold_some()
                if self._watched:
                    watcher.members_found()
                    for member in self._watched:
                        await member.wait_dead()
                    self._release(self._watched)
                elif self._leader.reapable():
                    break
                else:
                    watcher.members_found()
                    await trio.sleep(pause)
                    pause = min(pause * 2, _TRACED_LONGEST)
        finally:
            self._release(self._watched)
        watcher.session_empty()

    def reap(self) -> ExitStatus | None:
        """Reap the leader, without waiting."""
        return self._leader.reap()

    def survivors(self) -> tuple[Survivor, ...]:
        """Who lives now, and why as far as can be told."""
        alive = [identify(member.pid, member) for member in self._living(self._known())]
        if not self._leader.dead() or not self._leader.reapable():
            alive.append(identify(self.pid, self._leader))
        return tuple(alive)

    def caveats(self) -> frozenset[Caveat]:
        """What could not be known about this session."""
        caveats = {Caveat.SCANNED, Caveat.ESCAPEES_UNKNOWN}
        if self._leader.lost or self._unsure:
            caveats.add(Caveat.REAPED_BY_OTHERS)
        return frozenset(caveats)

    def close(self) -> None:
        """Give back the descriptors."""
        self._leader.close()
        self._release(self._anchors)
        for process in self._escaped.values():
            process.close()
        self._escaped.clear()

    # --- who is a member ------------------------------------------------------------------------

    def _in_session(self, *, afresh: bool = False) -> list[int]:
        """Return the pids in the POSIX session but the leader's."""
        pids = [pid for pid in self._table.in_session(self.pid, afresh=afresh) if pid != self.pid]
        if pids:
            self._alone = False
            if not self._leader.pinned and not self._anchored():
                # Somebody else reaped the leader, and no member that we know kept the number of
                # the session while we looked: these may be strangers.
                self._unsure = True
                return []
        return pids

    def _anchored(self) -> bool:
        """Return whether a known member lives, or is a zombie, and is in the session."""
        return any(
            _there(member) and _session_of(member.pid) == self.pid
            for member in (*self._anchors, *self._watched)
        )

    def _in_group(self, group: int | None) -> list[int]:
        return [pid for pid in self._in_session() if _group_of(pid) == group]

    def _known(self, *, afresh: bool = False) -> list[int]:
        """Return the pids of all members but the leader, having looked for new escapees."""
        inside = self._in_session(afresh=afresh)
        seen = set(inside)
        if not self._leader.dead():  # The dead have no children: they are given away at once.
            self._adopt_children(self._leader, seen)
        for member in self._living(inside):
            self._adopt_children(member, seen)
        for escaped in list(self._escaped.values()):
            if escaped.dead():
                del self._escaped[escaped.pid]
                escaped.close()
            else:
                self._adopt_children(escaped, seen)
        return [*inside, *self._escaped]

    def _adopt_children(self, parent: Process | Leader, seen: set[int]) -> None:
        """Take in those descendants of a member that are not in the session."""
        for pid in self._table.children(parent.pid):
            if pid in seen or pid in self._escaped:
                continue
            child = open_process(pid)
            if child is None:
                continue
            # Opened first, checked then. The child's number may have changed hands before it was
            # opened, the parent's before its children were listed: it had not if both are as they
            # should be now.
            if self._table.parent(pid) == parent.pid and _there(parent):
                self._alone = False
                self._escaped[pid] = child
                self._adopt_children(child, seen)
            else:
                child.close()

    def _living(self, pids: Iterable[int]) -> Iterator[Process]:
        """Open each of these members that lives; a handle is good until the next is asked for."""
        for pid in pids:
            escaped = self._escaped.get(pid)
            if escaped is not None:
                if not escaped.dead():
                    yield escaped
                continue
            process = open_process(pid)
            if process is None:
                continue
            try:
                if _session_of(pid) == self.pid and not process.dead():
                    yield process
            finally:
                process.close()

    def _hold_some(self) -> list[Process]:
        """Return handles on some members that live; none if none is found, by a second look."""
        for afresh in (False, True):
            held: list[Process] = []
            for member in self._living(self._known(afresh=afresh)):
                # A handle of our own: the one we were shown is about to be closed.
                again = open_process(member.pid)
                if again is not None and not member.dead():
                    held.append(again)
                elif again is not None:
                    again.close()
                if len(held) == _HELD:
                    break
            if held or self._alone:
                return held
        return []

    def _release(self, held: list[Process]) -> None:
        while held:
            held.pop().close()

    # --- signals --------------------------------------------------------------------------------

    def _signal_each(
        self, number: signal.Signals, pids: list[int], *, leader: bool = True
    ) -> Signalled:
        """Signal these members, and the leader last: its death has effects on the others."""
        if not self._leader.dead() and not self._anchors:
            self._anchors = self._hold_some() if pids else []
        reached = 0
        refused = []
        targets: Iterable[Process | Leader] = self._living(pids)
        for target in itertools.chain(targets, [self._leader] if leader else []):
            try:
                if target.send(number):
                    reached += 1
                    if number not in _NO_CONT:
                        target.send(signal.SIGCONT)
            except PermissionError:
                refused.append(target.pid)
        return Signalled(reached, tuple(refused))

    def _signal_group(self, number: signal.Signals) -> Signalled:
        members = self._in_group(self.pid)
        try:
            reached = self._leader.send_group(number)
            if reached and number not in _NO_CONT:
                self._leader.send_group(signal.SIGCONT)
        except PermissionError:
            return Signalled(0, (self.pid, *members))
        return Signalled(reached * (1 + len(members)))


def _there(process: Process | Leader) -> bool:
    """Return whether a process has not been reaped, so that its number is its own."""
    try:
        return process.send(0)
    except PermissionError:
        return True


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1
