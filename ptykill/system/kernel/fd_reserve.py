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

_SIZE = 6
"""A handle on a member, one on its child, a folder, a file, and two for good measure."""


class Reserve:
    """The descriptors kept back. One for the whole process, since so is the limit."""

    def __init__(self) -> None:
        self.refusals: int = 0
        """How often there was none left to give: what could not be opened then was not seen."""
        self._held: list[int] = []

    def fill(self) -> None:
        """Hold as many as there should be, if they are to be had."""
        with suppress(OSError):
            while len(self._held) < _SIZE:
                self._held.append(os.open(os.devnull, os.O_RDONLY))

    def empty(self) -> None:
        """Hold none: there is nobody to end."""
        while self._held:
            close(self._held.pop())

    def use(self, opening: Callable[[], T]) -> T:
        """Return what ``opening`` opens, at the cost of the reserve if there is no other way."""
        while True:
            try:
                return opening()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                if not self._held:
                    self.refusals += 1
                    raise
                close(self._held.pop())


reserve: Reserve = Reserve()
