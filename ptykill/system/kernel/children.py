"""Lists and kills the children of this process, none missed and no stranger hit.

The process has one thread, which alone reaps its children. So no child leaves the kernel's list
while it is read. New children are appended (list_add_tail). Hence every child that was there when
the read began is in what it returns.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Container
from contextlib import suppress

from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import children

__all__ = ["WALL", "Children", "is_child"]

WALL = 0x40000000
"""wait(2), __WALL: children of any kind, also those that send no SIGCHLD when they die."""
_PAGE = 16_384


class Children:
    """The children of this process, by ``/proc/thread-self/children``, which is held open.

    A root session may mount something over that file, or over /proc, later: that changes nothing.
    ``exact`` says whether the kernel has the file; without it, new children may be missed.
    """

    def __init__(self) -> None:
        self._fd = -1
        with suppress(OSError):  # No CONFIG_PROC_CHILDREN, no /proc, or no descriptor.
            self._fd = proc.open("thread-self/children")
        self._owner = os.getpid()

    @property
    def exact(self) -> bool:
        """Whether `list` is complete."""
        return self._fd >= 0

    def list(self) -> list[int]:
        """Return the pids of all children, zombies included."""
        if self._fd < 0:
            return children(self._owner)
        told = b""
        while more := os.pread(self._fd, _PAGE, len(told)):
            told += more
        return [int(pid) for pid in told.split()]

    def kill(self, but: Container[int] = ()) -> tuple[set[int], set[int]]:
        """Send SIGKILL to each child but those; return the reached and refused ones."""
        reached, refused = set(), set()
        for pid in self.list():
            if pid not in but and is_child(pid):
                try:
                    # Only this process reaps it, so the number is still the child's.
                    os.kill(pid, signal.SIGKILL)
                    reached.add(pid)
                except PermissionError:  # Another user's.
                    refused.add(pid)
                except OSError:
                    pass
        return reached, refused

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_child(pid: int) -> bool:
    """Ask the kernel whether a pid is a child of this process (wait(2), ECHILD)."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT | WALL)
    except ChildProcessError:
        return False
    return True
