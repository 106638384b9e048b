"""Keeps a few descriptors back, so that a host without free ones can still end its sessions.

Ending a session takes descriptors: a pidfd for each member that is signalled, a look into
``/proc``. A host that has leaked descriptors up to its limit (getrlimit(2), RLIMIT_NOFILE: EMFILE)
has to end its sessions all the same. So a few are held, and closed when one is needed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ptykill.system.kernel.retry import close

__all__ = ["reserve"]

T = TypeVar("T")

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_SIZE = 6
"""A handle on a member, one on its child, a folder, a file, and two to spare."""


class Reserve:
    """The descriptors kept back. One for the whole process, since so is the limit.

    Its users are the tiers that have sessions. It is held until the last one is closed. Two tiers
    may be in two threads.
    """

    def __init__(self) -> None:
        self.refusals: int = 0
        """How often none was left: the process or file was not opened then, and so not seen."""
        self._held: list[int] = []
        self._users: set[object] = set()

    def fill(self, user: object) -> None:
        """Reserve descriptors, as many as can be opened, until ``user`` releases them."""
        self._users.add(user)
        self._fill()

    def release(self, user: object) -> None:
        """Close the reserved descriptors if there is no other user."""
        self._users.discard(user)
        if not self._users:
            while self._close_one():
                pass
            if self._users:  # A tier in another thread has filled it meanwhile.
                self._fill()

    def _fill(self) -> None:
        with suppress(OSError):
            while len(self._held) < _SIZE:
                self._held.append(os.open(os.devnull, os.O_RDONLY))

    def _close_one(self) -> bool:
        try:
            descriptor = self._held.pop()
        except IndexError:  # Not asked for first: another thread may take the last one.
            return False
        close(descriptor)
        return True

    def open(self, path: str, folder: int | None = None) -> int:
        """Open a file to read, by its path below the folder, as `use` does. Raises OSError."""
        try:
            return os.open(path, os.O_RDONLY, dir_fd=folder)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR:
                raise
        return self.use(lambda: os.open(path, os.O_RDONLY, dir_fd=folder))

    def use(self, opening: Callable[[], T]) -> T:
        """Return what ``opening`` opens, at the cost of the reserve if there is no other way."""
        while True:
            try:
                return opening()
            except OSError as error:
                if error.errno not in _NO_DESCRIPTOR:
                    raise
                if not self._close_one():
                    self.refusals += 1
                    raise


reserve: Reserve = Reserve()
