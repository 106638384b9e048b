"""Finds the pids that the kernel has given to new processes since an earlier look."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress

from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import read_proc
from ptykill.system.kernel.retry import close

__all__ = ["LastPid"]

_PID_MAX_LIMIT = 2**22
"""No pid is higher, on any system (Linux threads.h)."""


class LastPid:
    """The last pid given out in this pid namespace, from ``/proc/sys/kernel/ns_last_pid``.

    ``known`` is False on a kernel without CONFIG_CHECKPOINT_RESTORE, which lacks the file. The
    kernel gives pids out in a circle, so every process that started between two readings has a pid
    between them, as long as the circle has not come round.
    """

    def __init__(self) -> None:
        self._fd = -1
        with suppress(OSError):
            self._fd = proc.open("sys/kernel/ns_last_pid")
        self.highest: int = int(read_proc("sys/kernel/pid_max") or _PID_MAX_LIMIT)
        """One more than the highest number."""

    @property
    def known(self) -> bool:
        """Whether this kernel has the file."""
        return self._fd >= 0

    def last(self) -> int:
        """Return the last pid given out; -1 if this kernel does not report it."""
        if self._fd < 0:
            return -1
        try:
            return int(os.pread(self._fd, 16, 0))
        except OSError:
            return int(
                os.pread(self._fd, 16, 0)
            )  # As `again`, but without its call on the kill path.

    def since(self, last: int, margin: int = 0) -> Collection[int]:
        """Return the pids given out after ``last``, and ``margin`` pids before it."""
        return self.between(last, self.last(), margin)

    def between(self, last: int, now: int, margin: int = 0) -> Collection[int]:
        """Return the pids given out between two readings, and ``margin`` pids before the first."""
        start = max(last + 1 - margin, 1)
        if now >= last:
            return range(start, now + 1)
        return (*range(start, self.highest), *range(1, now + 1))

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            close(self._fd)
            self._fd = -1
