"""What a keeper's process has for its sessions: death events, its children, a cgroup.

A keeper may have one session after the other, if `renew` finds that the one before has changed
nothing that the next one would inherit.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ptykill.system.keeper.limited_sessions import LimitedSessions
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.cgroup_state import cgroup_state
from ptykill.system.kernel.children import WALL, Children
from ptykill.system.kernel.inheritance import inherited_state
from ptykill.system.kernel.procfs import read_proc, stat

__all__ = ["Resources"]


class Resources:
    """Makes this process a subreaper, and holds what it needs for that. Raises OSError.

    ``host`` is a pidfd of the host; ``groups`` is the folder for the session's cgroup, or None.
    """

    def __init__(self, host: int, groups: str | None) -> None:
        syscalls.become_subreaper()
        self._dumpable = not stat(os.getppid())
        if self._dumpable:
            # /proc hides processes that are not dumpable where it hides processes (proc(5),
            # hidepid): so the warden is hidden from us. We would be hidden from the host, which
            # finds the members as our descendants.
            syscalls.set_dumpable(True)
        self.deaths: int = syscalls.child_events()
        """Readable when a child has died (signalfd(2))."""
        self.children: Children = Children()
        self.not_members: frozenset[int] = frozenset((os.getpid(), os.getppid(), _pid_of(host)))
        """The keeper, the warden and the host: not the session's, even in its cgroup."""
        self._groups = groups
        self._cgroup_before: object = None
        self._plain: Cgroup | None = None
        """The cgroup of a session without limits; this process made it ahead, and entered it."""
        self._inside = False
        """Whether this process is in that cgroup: so the leader starts inside."""
        self.limited: LimitedSessions = LimitedSessions()
        """The cgroups of sessions with limits; this process never enters them."""
        self._enter_cgroup()
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._before: object = None

    def _enter_cgroup(self) -> None:
        """Make the cgroup, unless it is there, and enter it. Raises OSError."""
        if self._groups is not None:
            if self._plain is None:
                self._plain = Cgroup.create(self._groups)
                self._cgroup_before = cgroup_state(self._plain.path)
            if not self._inside:
                self._plain.add_process(os.getpid())
                self._inside = True

    @property
    def cgroup(self) -> Cgroup | None:
        """The cgroup of the present session, or of the next one; None if it has none."""
        return self.limited.cgroup or self._plain

    @property
    def inside(self) -> bool:
        """Whether this process is in the session's cgroup."""
        return self._inside and self.limited.cgroup is None

    @property
    def outside(self) -> bool:
        """Whether this process has to enter a cgroup before it can start a leader in it."""
        return self._groups is not None and not self._inside

    @property
    def limited_path(self) -> str | None:
        """The path of the session's cgroup, if it has limits."""
        cgroup = self.limited.cgroup
        return None if cgroup is None else cgroup.path

    # --- one session after the other --------------------------------------------------------------

    def note_state(self) -> None:
        """Note what the leader of the first session will inherit, for `renew`. Raises OSError."""
        self._before = self._state()

    def renew(self, *, ahead: bool) -> bool:
        """Put back what an ended session has changed; return whether another one may follow.

        It may not if this process has a child, or another descriptor than before; if anything that
        the next leader would inherit differs (`inherited_state`); or if processes of this user may
        trace it. A cgroup that is not as new is replaced. ``ahead`` is whether to get ready for
        another session with limits; an order should not wait for that. Raises OSError.
        """
        os.umask(self._umask)
        if self._before is None or self._dumpable or _has_child():
            return False
        self.drain_deaths()
        self.limited.remove()
        if self._plain is not None and not self._cgroup_is_as_new(self._plain):
            self._remove_plain()
        self._enter_cgroup()
        if self._state() != self._before:
            return False
        if ahead:
            self.limited.prepare()
        return True

    def _cgroup_is_as_new(self, cgroup: Cgroup) -> bool:
        """Return whether another session may have it: it is as it was made, and empty."""
        try:
            state = cgroup_state(cgroup.path)
            strangers = set(cgroup.members()) - {os.getpid()}
        except OSError:
            return False
        return state is not None and state == self._cgroup_before and not strangers

    def _state(self) -> object:
        # By its own name, a new cgroup would differ from the one that it replaces.
        own = "" if self._plain is None else os.path.basename(self._plain.path)
        inherited = inherited_state(own.encode())
        # The lowest free descriptor: it differs if one more is open, or one less.
        lowest = os.dup(self.deaths)
        os.close(lowest)
        return None if inherited is None else (inherited, lowest)

    def drain_deaths(self) -> None:
        """Read the death events that are there: a later death makes a new one."""
        with suppress(BlockingIOError):
            os.read(self.deaths, 4096)

    def leave_cgroup(self) -> None:
        """Leave the cgroup, once the leader has started inside.

        The kernel may take some 10 ms (cgroup_attach_lock), so this is done when there is time.
        """
        if self.inside:
            self._leave_plain()

    def _leave_plain(self) -> None:
        if self._plain is not None and self._inside:
            # Refused (EROFS, EBUSY, a limit): this process stays inside, and is not counted.
            with suppress(OSError):
                self._plain.remove_process(os.getpid())
                self._inside = False

    def remove_cgroups(self) -> None:
        """Leave the session's cgroup, and remove it."""
        self.limited.dismiss()
        self.limited.remove()
        self._remove_plain()

    def _remove_plain(self) -> None:
        if self._plain is not None:
            self._leave_plain()
            self._plain.remove()
            self._plain.close()
            self._plain = None


def _has_child() -> bool:
    """Return whether this process has any child, alive or dead."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | WALL)
    except ChildProcessError:
        return False
    return True


def _pid_of(pidfd: int) -> int:
    """Return the pid that a pidfd is for (pidfd_open(2), fdinfo); 0 if it is not there."""
    for line in read_proc(f"self/fdinfo/{pidfd}").splitlines():
        if line.startswith(b"Pid:"):
            return int(line.split()[1])
    return 0
