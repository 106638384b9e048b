"""Closes the copies of descriptors that a forked child of the host has.

A copy keeps a terminal from being hung up, and a socket to a keeper from being closed. So a child
of os.fork(3) closes its copies at once; the sessions are its parent's.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import Protocol

__all__ = ["close_in_child"]


class HasDescriptors(Protocol):
    """An object that holds descriptors."""

    def close_copies(self) -> None:
        """Close the descriptors in a forked child, without any effect on the parent's session."""


_holders: weakref.WeakSet[HasDescriptors] = weakref.WeakSet()


def close_in_child(holder: HasDescriptors) -> None:
    """Have the descriptors of an object closed in each child that is forked while it exists."""
    _holders.add(holder)


def _close_all() -> None:
    for holder in list(_holders):
        with suppress(OSError):  # EBADF: other code of the host had closed it.
            holder.close_copies()


os.register_at_fork(after_in_child=_close_all)
