"""What a keeper's process has for every session: death events, its children, a cgroup."""

from __future__ import annotations

import os
from contextlib import suppress

from ptykill.system.kernel import syscalls
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.children import Children
from ptykill.system.kernel.procfs import read_proc, stat

__all__ = ["Resources"]


class Resources:
    """Makes this process a subreaper, and holds what it needs for that. Raises OSError.

    ``host`` is a pidfd of the host; ``groups`` is the folder for the session's cgroup, or None.
    """

    def __init__(self, host: int, groups: str | None) -> None:
        syscalls.become_subreaper()
        if not stat(os.getppid()):
            # /proc hides processes that are not dumpable where it hides processes (proc(5),
            # hidepid): so the warden is hidden from us. We would be hidden from the host, which
            # finds the members as our descendants.
            syscalls.set_dumpable(True)
        self.deaths: int = syscalls.child_events()
        """Readable when a child has died (signalfd(2))."""
        self.children: Children = Children()
        self.not_members: frozenset[int] = frozenset((os.getpid(), os.getppid(), _pid_of(host)))
        """The keeper, the warden and the host: not the session's, even in its cgroup."""
        self.cgroup: Cgroup | None = None if groups is None else Cgroup.create(groups)
        self.inside: bool = self.cgroup is not None
        """Whether this process is in the cgroup: so the leader starts inside."""
        if self.cgroup is not None:
            self.cgroup.add_process(os.getpid())

    def drain_deaths(self) -> None:
        """Read the death events that are there: a later death makes a new one."""
        with suppress(BlockingIOError):
            os.read(self.deaths, 4096)

    def leave_cgroup(self) -> None:
        """Leave the cgroup, once the leader has started inside.

        The kernel may take some 10 ms (cgroup_attach_lock), so this is done when there is time.
        """
        if self.cgroup is not None and self.inside:
            # Refused (EROFS, EBUSY, a limit): this process stays inside, and is not counted.
            with suppress(OSError):
                self.cgroup.remove_process(os.getpid())
                self.inside = False

    def remove_cgroup(self) -> None:
        """Leave the cgroup, and remove it."""
        if self.cgroup is not None:
            self.leave_cgroup()
            self.cgroup.remove()


def _pid_of(pidfd: int) -> int:
    """Return the pid that a pidfd is for (pidfd_open(2), fdinfo); 0 if that is not told."""
    for line in read_proc(f"self/fdinfo/{pidfd}").splitlines():
        if line.startswith(b"Pid:"):
            return int(line.split()[1])
    return 0
