"""The children of this process: listed completely, and killed without a doubt whose they are.

For a process with one thread that alone reaps its children. Nobody vanishes from the kernel's list
then while it is read, and new children are appended to it (list_add_tail), so all who were there
when the reading began are in it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Container
from contextlib import suppress

from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import children

__all__ = ["WALL", "Offspring", "is_child"]

WALL = 0x40000000
"""wait(2), __WALL: children of any kind, also those that send no SIGCHLD when they die."""
_PAGE = 16_384


class Offspring:
    """The children of this process, by a file of /proc that is held open.

    What is mounted over that file later, or over all of /proc, by a session that may, changes
    nothing. ``exact`` is whether there is such a file: if not, births may be missed.
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
        """Return their pids, the dead ones' that have not been reaped among them."""
        if self._fd < 0:
            return children(self._owner)
        told = b""
        while more := os.pread(self._fd, _PAGE, len(told)):
            told += more
        return [int(pid) for pid in told.split()]

    def kill(self, but: Container[int] = ()) -> tuple[set[int], set[int]]:
        """Send SIGKILL to each but those; return who got it, and who may not be sent it."""
        reached, refused = set(), set()
        for pid in self.list():
            if pid not in but and is_child(pid):
                try:
                    # Only we reap it, so the number is its own.
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
    """Ask the kernel whether that is a child of ours, whatever /proc says (wait(2), ECHILD)."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT | WALL)
    except ChildProcessError:
        return False
    return True
