"""Whether a session's number is still the session's, or may have become a stranger's.

The kernel keeps a number as long as a process has it as its pid, its process group or its session
(credentials(7); Linux free_pid). So the number is the session's while the leader is not reaped, and
later while a member is there. After that the kernel may give it to a new process. And once the
leader is reaped and the number is free, no process is in the session: that is the proof.
"""

from __future__ import annotations

from ptykill.system.containment.leader import Leader
from ptykill.system.containment.process import Process
from ptykill.system.containment.process_table import PidMark, ProcessTable
from ptykill.system.kernel.procfs import session_of

__all__ = ["SessionNumber", "unreaped"]


class SessionNumber:
    """The number of a session: its leader's pid."""

    def __init__(self, leader: Leader, table: ProcessTable) -> None:
        self._leader = leader
        self._table = table
        self.ours_at: PidMark | None = None
        """Where the kernel's numbering was when the number was last known to be the session's."""
        self.free: bool = False
        """The kernel has reported that the number is free: the session is empty."""
        self.watched: list[Process] = []
        """Some members, held by handles: while one of them is there, the number is the session's.

        The session waits for their deaths, too.
        """
        self.is_ours()  # The leader may be dead already, and reaped by other code of the host.

    def is_ours(self) -> bool:
        """Return whether the number can't have been given to a stranger.

        The leader has it, alive or not reaped; or a member has it; or the kernel's numbering has
        not come to the number since one of them had it.
        """
        # The mark is taken first: if the number is the session's later, it was at the mark. The
        # other way round the number could become a stranger's in between, and the stranger would
        # seem to have started before the mark.
        mark = self._table.mark()
        leader = self._leader
        ours = (
            not leader.dead()
            or leader.unreaped()
            # `unreaped` is checked last: then session_of() was about the member, not a reused pid.
            or any(session_of(each.pid) == leader.pid and unreaped(each) for each in self.watched)
            or (
                self.ours_at is not None and not self._table.may_be_reused(leader.pid, self.ours_at)
            )
        )
        if ours:
            self.ours_at = mark
        return ours

    def started_before_reuse(self, pid: int) -> bool:
        """Return whether a process started before the number can have become a stranger's."""
        return self.ours_at is not None and self._table.started_before(pid, self.ours_at)

    def check_free(self, mark: PidMark | None) -> bool:
        """Reap the leader, and ask the kernel whether the number is still in use.

        ``mark`` has just been taken.
        """
        if self._leader.pinned:
            if not self._table.tells_use:
                return False  # A zombie keeps the number while the process table is read.
            self._leader.reap()
            if not self._leader.reaped_by_others:  # Or the number may be a stranger's at the mark.
                self.ours_at = mark
            if self._leader.pinned:
                return False
        if self._leader.reaped_by_others and unreaped(self._leader):
            return False  # It is another process's child, and has the number until that reaps it.
        # If a process has it as its pid, it was free, and has been reused.
        pid = self._leader.pid
        self.free = not self._table.in_use(pid) or session_of(pid) >= 0
        return self.free

    def watch(self, members: list[Process]) -> None:
        """Hold these members in place of those that were held until now."""
        held, self.watched = self.watched, members
        while held:
            held.pop().close()


def unreaped(process: Process | Leader) -> bool:
    """Return whether a process has not been reaped, so that its pid is its own."""
    try:
        return process.send(0)
    except PermissionError:
        return True
