"""Which numbers the kernel has given to new processes."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress

from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import told
from ptykill.system.kernel.retry import close

__all__ = ["Births"]

_PID_MAX_LIMIT = 2**22
"""No pid is higher, on any system (Linux threads.h)."""


class Births:
    """By ``/proc/sys/kernel/ns_last_pid``: the number given out last in this pid namespace.

    ``known`` is False where that is not told (a kernel without CONFIG_CHECKPOINT_RESTORE). Numbers
    are given out in a circle, so those between two readings are all that can have been born
    meanwhile, as long as the circle can't have come round.
    """

    def __init__(self) -> None:
        self._fd = -1
        with suppress(OSError):
            self._fd = proc.open("sys/kernel/ns_last_pid")
        self.highest: int = int(told("sys/kernel/pid_max") or _PID_MAX_LIMIT)
        """One more than the highest number."""

    @property
    def known(self) -> bool:
        """Whether this system tells."""
        return self._fd >= 0

    def last(self) -> int:
        """Return the number that was given out last; -1 if that is not told."""
        if self._fd < 0:
            return -1
        try:
            return int(os.pread(self._fd, 16, 0))
        except OSError:
            return int(os.pread(self._fd, 16, 0))  # See `again`, which would cost a kill time.

    def since(self, last: int, margin: int = 0) -> Collection[int]:
        """Return the numbers given out since that was the last, and so many before it."""
        return self.between(last, self.last(), margin)

    def between(self, last: int, now: int, margin: int = 0) -> Collection[int]:
        """Return the numbers given out between two readings, and so many before the first."""
        start = max(last + 1 - margin, 1)
        if now >= last:
            return range(start, now + 1)
        return (*range(start, self.highest), *range(1, now + 1))

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            close(self._fd)
            self._fd = -1
