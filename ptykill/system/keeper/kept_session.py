"""One session, as its keeper has it: reaps and kills its processes, and sees when none is left.

The keeper is a subreaper (prctl(2)): a process below it that loses its parent, by a double fork or
otherwise, becomes its child. So

- no process of the session escapes the keeper, and all its children are of this session;
- the session is empty when the keeper has no child left. wait(2) fails with ECHILD then, which
  proves it, unlike a scan. It is an event, too, since every death of a child is one;
- killing its children is enough, and free of races. Only the keeper can reap them, so their pids
  stay theirs. The children of the dead become its own, until there are none.
"""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import closing, suppress

from ptykill.system.keeper import wire
from ptykill.system.keeper.kept_deadlines import KeptDeadlines
from ptykill.system.keeper.orphaned import OrphanedTeardown
from ptykill.system.keeper.poller import Poller
from ptykill.system.keeper.reaped import Reaped
from ptykill.system.keeper.resources import Resources
from ptykill.system.kernel.children import WALL
from ptykill.system.kernel.limited_cgroup import UsageFigures
from ptykill.system.kernel.members import members
from ptykill.system.kernel.pidfd import open_pidfd
from ptykill.system.kernel.procfs import descends, in_other_pid_namespace

__all__ = ["KeptSession"]

_RETRY_FIRST, _RETRY_LONGEST = 0.005, 1.0
"""Seconds between two rounds of SIGKILL while a process lives: doubling, up to the longest."""
_SLOW = 0.04
"""A pause as long as this, which ends 75 ms after the first round, tells of a process that is hard
to kill; a shorter one may come of a busy machine."""
_IN_CGROUP = 0.05
"""Seconds for which the keeper stays in the cgroup: a shorter session's keeper is never moved."""
_DEAD = os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED
"""The codes of waitid(2) for a child that has died."""


class KeptSession:
    """The processes of one session, from the start of its leader until none is left."""

    def __init__(
        self, leader: int, resources: Resources, poller: Poller, on_exited: Callable[[], None]
    ) -> None:
        self.leader: int = leader
        self.status: wire.Status | None = None
        """How the leader ended; None while it lives."""
        self.over: bool = False
        self.due: float = math.inf
        """When to call `do_due`, in monotonic seconds."""
        self.was_plain: bool = True
        """Whether it ended without trouble, so that its keeper may have another session: SIGKILL
        was not slow and not refused, no process was spared, none was in a pid namespace of its own,
        and the host was there."""
        self._resources = resources
        self._poller = poller
        self._on_exited = on_exited
        self._exit_told = False
        self._killing = False
        self._retry = _RETRY_FIRST
        self._refused: set[int] = set()
        """The pids that SIGKILL was refused for, in the last round."""
        self._teardown: OrphanedTeardown | None = None
        self.deadlines: KeptDeadlines = KeptDeadlines(resources.cgroup)
        self._reaped = Reaped()
        poller.register(resources.deaths, self.look)

    def stay_in_cgroup(self) -> None:
        """Leave the cgroup a little later, when the leader has started inside."""
        if self._resources.inside:
            self.due = min(self.due, time.monotonic() + _IN_CGROUP)

    def close(self) -> None:
        """Stop watching for deaths."""
        self._poller.unregister(self._resources.deaths)
        if self._resources.cgroup is not None:
            self._poller.unregister(self._resources.cgroup.events)

    # --- the members ------------------------------------------------------------------------------

    def look(self) -> None:
        """Reap the dead, and find out whether the session is empty."""
        if self._is_empty():
            return
        # A death after this is a new event. The second look finds one that came before it.
        self._resources.drain_deaths()
        if self._is_empty():
            return
        if self.status is None:
            self._reap_until_leader()
        if self.status is not None:
            self._reap_all_but_leader()
        if self._killing:
            self._kill_children()

    def _is_empty(self) -> bool:
        """Return whether no process of the session is left, and so the session is over."""
        if _any_child_lives() or not self._reap_all():
            return False
        cgroup = self._resources.cgroup
        if cgroup is not None and cgroup.any_of_ours(self._is_ours):
            # It has lost its parent in another pid namespace.
            self.was_plain = False
            self._poller.register(cgroup.events, self.look, select.POLLPRI)
            # There is no event when it exits as long as this process is inside, or a stranger.
            self.due = min(self.due, time.monotonic() + _IN_CGROUP)
            return False
        self.over = True
        return True

    def _is_ours(self, pid: int) -> bool:
        """Return whether a process in the cgroup is of the session, and no stranger moved into it.

        A process that loses its parent becomes a child of the keeper, or of the first process of
        its own pid namespace (Linux find_new_reaper). So a process in the keeper's pid namespace
        that does not descend from the keeper is a stranger. For one in another namespace the
        cgroup decides, not descent.
        """
        if pid in self._resources.not_members:
            return False
        return descends(pid, os.getpid()) or in_other_pid_namespace(pid)

    def _reap_until_leader(self) -> None:
        """Reap dead orphans, until there is none, or the leader is found dead.

        The leader is not reaped while another process lives: it keeps the number of the session and
        of its process group, which signals may still be sent to, from being given out again.
        """
        while True:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | WALL)
            if found is None:
                return
            if found.si_code not in _DEAD:
                # A child that has called PTRACE_TRACEME is traced by this process. So waitid(2)
                # also reports its stops, once each (wait(2)). Consume that status: it is no death.
                with suppress(ChildProcessError):
                    os.waitid(os.P_PID, found.si_pid, os.WSTOPPED | os.WNOHANG | WALL)
                continue
            if found.si_pid == self.leader:
                self.status = self.status_of(found.si_code, found.si_status)
                return
            with suppress(ChildProcessError):
                self._reap(found.si_pid)

    def _reap_all_but_leader(self) -> None:
        if not self._exit_told:
            self._exit_told = True
            self._on_exited()
        # waitid(2) shows the leader's zombie again and again, and not those behind it.
        for pid in self._resources.children.list():
            if pid != self.leader:
                with suppress(ChildProcessError):
                    self._reap(pid)

    def _reap_all(self) -> bool:
        """Reap every child; return whether none is left, not even one that can't be reaped."""
        try:
            while self._reap(-1):
                pass
        except ChildProcessError:
            return True
        return False

    def _reap(self, pid: int) -> int:
        """Reap a child, if it is dead, or any that is (-1); return its pid, 0 if there is none.

        Raises ChildProcessError if there is no such child.
        """
        found, status, used = os.wait4(pid, os.WNOHANG | WALL)
        if found and not os.WIFSTOPPED(status):  # A traced child's stop is reported here as well.
            if not self._resources.limited.is_starter(found):
                self._reaped.add(used)
            if found == self.leader:
                self.status = self.status_of(*_code_and_number(status))
        return found

    def status_of(self, code: int, number: int) -> wire.Status:
        """Return how a child ended, as it is sent to the host: by what waitid(2) says of it."""
        if code == os.CLD_EXITED:
            return number, None, False, False
        cgroup = self._resources.cgroup
        oom = number == signal.SIGKILL and cgroup is not None and cgroup.oom()
        return None, number, code == os.CLD_DUMPED, oom

    def usage(self) -> UsageFigures:
        """Return what the session has used until now."""
        return self._reaped.figures(self._resources.limited_path)

    # --- its end ----------------------------------------------------------------------------------

    def kill(self) -> None:
        """Kill until no process is left: at every death, and now and then."""
        if not self._killing:
            self._killing = True
            self.due = time.monotonic() + self._retry
        self._kill_children()

    def spare(self) -> None:
        """Kill no more: reap the leader, and stay the parent of the processes that are left."""
        self.was_plain = False
        self.deadlines.close()
        with suppress(ChildProcessError):
            self._reap(self.leader)
        self.look()

    @property
    def killing(self) -> bool:
        """Whether its processes are being killed."""
        return self._killing

    @property
    def kill_due(self) -> float:
        """When SIGKILL is due by the plan that is carried out here, in monotonic seconds."""
        return math.inf if self._teardown is None else self._teardown.kill_due

    def end_without_host(
        self,
        handover: wire.Handover,
        ago: float,
        *,
        tell: Callable[[], None] | None = None,
    ) -> None:
        """Carry out the rest of the plan, which the host handed over so many seconds ago.

        ``tell`` is None if the host is dead, and the terminal was hung up by that. If it is only
        stopped, ``tell`` tells it, before any signal is sent: a host that is continued then would
        send that again. It may die later: the plan goes on then.
        """
        if self._teardown is not None:
            return
        self.was_plain = False
        self.deadlines.close()
        self._teardown = OrphanedTeardown(
            self, handover, ago, hung_up=tell is None, killing=self._killing
        )
        if tell is not None:
            tell()
        due = self._teardown.begin()  # This may set `self.due`, for SIGKILL.
        self.due = min(self.due, due)

    def do_due(self) -> None:
        """Do what is due: leave the cgroup, kill again, and the plan's next step without a host."""
        self.due = math.inf
        self._resources.leave_cgroup()
        if self._killing:
            self.was_plain &= self._retry < _SLOW
            self._kill_descendants()
            self._retry = min(2 * self._retry, _RETRY_LONGEST)
            self.due = time.monotonic() + self._retry
        self.look()
        if self._teardown is not None and not self.over:
            due = self._teardown.do_due()
            self.due = min(self.due, due)

    def _kill_children(self) -> None:
        _, self._refused = self._resources.children.kill()
        self.was_plain &= not self._refused

    def _kill_descendants(self) -> None:
        """Kill the descendants of a child that can't be killed: they do not become our children.

        They are found by /proc, over which root can mount another file system. So a keeper of
        root's does this only if a child has refused SIGKILL, which none does while root has its
        rights.
        """
        alive: set[int] = set()
        if self._refused or os.geteuid():
            with suppress(OSError):  # EMFILE, ENOMEM: the next round may do better.
                ourselves = open_pidfd(os.getpid())
                assert ourselves is not None
                with closing(ourselves):
                    for process in members(ourselves):
                        alive.add(process.pid)
                        try:
                            process.send(signal.SIGKILL)
                        except PermissionError:
                            self._refused.add(process.pid)
        cgroup = self._resources.cgroup
        if cgroup is not None:
            self._refused |= cgroup.kill_each(self._is_ours)
            if self._refused:
                with suppress(OSError):
                    # For processes that can't be killed one by one. No other member lives that
                    # could move a stranger in between this look and the kill.
                    if self._refused.issuperset(alive.union(cgroup.members())):
                        cgroup.kill()


def _code_and_number(status: int) -> tuple[int, int]:
    """Return what waitid(2) has as si_code and si_status, of what wait4(2) has."""
    if os.WIFEXITED(status):
        return os.CLD_EXITED, os.WEXITSTATUS(status)
    return os.CLD_DUMPED if os.WCOREDUMP(status) else os.CLD_KILLED, os.WTERMSIG(status)


def _any_child_lives() -> bool:
    """Return whether any child is alive, in whatever state.

    Asked for stopped children, and not for dead ones, wait(2) says ECHILD if there are none that
    might stop: all are zombies, or there are none (Linux do_wait, notask_error).
    """
    try:
        os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG | os.WNOWAIT | WALL)
    except ChildProcessError:
        return False
    return True
