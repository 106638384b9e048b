"""The members of a POSIX session, and its descendants that have left it.

The members are found in the process table, by their session. A descendant that has left the session
(setsid(2)) is found while its parent lives, and held by a handle from then on.

It can't find a process that called setsid(2), and whose parent died before the first look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from ptykill.system.containment.leader import Leader
from ptykill.system.containment.process import Process, open_process
from ptykill.system.containment.process_table import PidMark, ProcessTable
from ptykill.system.containment.session_number import SessionNumber, unreaped
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.procfs import group_of, session_of

__all__ = ["SessionMembers"]

_WATCHED_AT_ONCE = 16
"""So many members are held and waited for at once: each takes a descriptor."""
_FORKS_UNDER_WAY = 256
"""So many processes may have a number, and not be found by it yet (Linux copy_process)."""


class SessionMembers:
    """The members of a session other than its leader."""

    def __init__(self, leader: Leader, table: ProcessTable) -> None:
        self._leader = leader
        self._table = table
        self.number: SessionNumber = SessionNumber(leader, table)
        self.escaped: dict[int, Process] = {}
        """Descendants that have left the session, held: nothing else keeps their pids."""
        self.seen: set[int] = set()
        """The pids in the session at the last look, of the living and the dead."""
        self.maybe_strangers: bool = False
        """The last look saw living processes in the session that may be strangers."""
        self._looked_at: PidMark | None = None
        """The mark before the last look in the session."""
        self.incomplete: bool = False
        """The last look lacked descriptors, and may have missed members."""

    def known(self, *, afresh: bool = False, probe: range | None = None) -> list[int]:
        """Look for members, and return the pids of all that are known.

        ``afresh`` and ``probe`` are the process table's.
        """
        self.incomplete = False
        refusals = reserve.refusals
        inside = self.in_session(afresh=afresh, probe=probe)
        seen = set(inside)
        # The dead have no children: these became others' at the death.
        if not self._leader.dead():
            self._add_escaped(self._leader, seen)
        for member in self.living(self._with_others(inside, seen)):
            self._add_escaped(member, seen)
        for escaped in list(self.escaped.values()):
            if escaped.dead():
                del self.escaped[escaped.pid]
                escaped.close()
            else:
                self._add_escaped(escaped, seen)
        self.incomplete = self.incomplete or reserve.refusals != refusals
        return [*inside, *self.escaped]

    def in_group(self, group: int | None) -> list[int]:
        """Return the pids of the members in a process group."""
        return [pid for pid in self.in_session() if group_of(pid) == group]

    def in_session(self, *, afresh: bool = False, probe: range | None = None) -> list[int]:
        """Return the pids of the members in the session, apart from the leader's."""
        self._looked_at = self._table.mark()
        try:
            found = self._table.in_session(self._leader.pid, afresh=afresh, probe=probe)
        except OSError:  # EMFILE: the next look comes when some of those held have died.
            self.incomplete = True
            return []
        pids = [pid for pid in found if pid != self._leader.pid]
        self.seen = {self._leader.pid, *pids}
        self.maybe_strangers = False
        # Asked after the look: if the number is the session's now, it was during the look.
        if not pids or self.number.is_ours():
            return pids
        # A process that started before the number can have become a stranger's is a member.
        ours = [pid for pid in pids if self.number.started_before_reuse(pid)]
        # The others may be strangers. That matters unless they are dead.
        self.maybe_strangers = next(self._alive(set(pids).difference(ours)), None) is not None
        return ours

    def _with_others(self, pids: Iterable[int], seen: set[int]) -> Iterator[int]:
        """Yield those pids whose processes have children that are not known.

        The others add nothing, even if a pid is a stranger's by now. So they need not be opened.
        """
        known = seen.union(self.escaped)
        for pid in pids:
            if not known.issuperset(self._table.children(pid)):
                yield pid

    def _add_escaped(self, parent: Process | Leader, seen: set[int]) -> None:
        """Add those descendants of a member that are not in the session."""
        parents = [parent]
        while parents:
            one = parents.pop()
            for pid in self._table.children(one.pid):
                if pid in seen or pid in self.escaped:
                    continue
                try:
                    child = open_process(pid)
                except OSError:  # EMFILE: it is found when others have died.
                    return
                if child is None:
                    continue
                # Opened first, checked then. The child's pid may have been reused before it was
                # opened, and the parent's before its children were listed. Neither was if the
                # child is the parent's now, and the parent is there.
                if self._table.is_child(pid, one.pid) and unreaped(one):
                    self.escaped[pid] = child
                    parents.append(child)
                else:
                    child.close()

    def living(self, pids: Iterable[int]) -> Iterator[Process]:
        """Open each of these members that lives; a handle is good until the next is asked for."""
        for process in self._alive(pids, ours=True):
            # Since the look the session may have died, and its number and this pid may have become
            # strangers': a daemon's and its child's, say. Asked while the handle is held: what
            # holds now, held when it was opened.
            if (
                process.pid in self.escaped
                or self.number.is_ours()
                or self.number.started_before_reuse(process.pid)
            ):
                yield process

    def _alive(self, pids: Iterable[int], *, ours: bool = False) -> Iterator[Process]:
        """Open each of these that lives and has the session's number, or has left the session.

        ``ours`` is whether all were members at the last look.
        """
        session = self._leader.pid
        for pid in pids:
            escaped = self.escaped.get(pid)
            if escaped is not None:
                if not escaped.dead():
                    yield escaped
                continue
            try:
                process = open_process(pid)
            except OSError:  # EMFILE: it is found when others have died.
                self.incomplete = True
                continue
            if process is None:
                continue
            inside, alive = session_of(pid) == session, not process.dead()
            if ours and alive and not inside and self._has_left(pid):
                self.escaped[pid] = process
                yield process
                continue
            try:
                if inside and alive:
                    yield process
            finally:
                process.close()

    def _has_left(self, pid: int) -> bool:
        """Return whether a pid is still the member's that the last look found.

        Then it has called setsid(2) since, and its parent may be dead.
        """
        mark = self._looked_at
        return mark is not None and not self._table.may_be_reused(pid, mark)

    def watch_some(self, *, afresh: bool = False, probe: range | None = None) -> bool:
        """Look for members, hold some that live, and return whether there are any."""
        held: list[Process] = []
        found = False
        for member in self.living(self.known(afresh=afresh, probe=probe)):
            found = True
            # A second handle: the first is closed when the loop goes on.
            with suppress(OSError):  # EMFILE: those that are held have to do.
                second = open_process(member.pid)
                if second is not None:
                    # If the member lives now, the pid was its own when the second was opened.
                    if member.dead():
                        second.close()
                    else:
                        held.append(second)
            if len(held) == _WATCHED_AT_ONCE:
                break
        # Not before: those held until now have kept the session's number during the look.
        self.number.watch(held)
        return found

    def any_new_since(self, mark: PidMark) -> bool:
        """Return whether a process is in the session that the last look has not seen.

        All that the look saw were found dead *after* it. So a process that lives was started by one
        of them, or by a child of theirs, since the mark or just before it.
        """
        session = self._leader.pid
        new = self._table.pids_since(mark, margin=_FORKS_UNDER_WAY)
        return any(session_of(pid) == session and pid not in self.seen for pid in new)

    def close(self) -> None:
        """Close the handles."""
        self.number.watch([])
        for process in self.escaped.values():
            process.close()
        self.escaped.clear()
