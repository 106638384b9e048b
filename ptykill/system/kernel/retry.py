"""Repeats a system call once, since it may fail for no lasting reason.

ENOMEM, ENOBUFS and EIO may be over at the next try, when the kernel has freed memory. A second
failure is raised: the caller has time to wait, or another way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

__all__ = ["again", "close"]

T = TypeVar("T")


def again(call: Callable[[], T]) -> T:
    """Make a system call, and a second time if it fails. Raises the second OSError."""
    try:
        return call()
    except OSError:
        return call()


def close(fd: int) -> None:
    """Close a descriptor, and ignore an error.

    On Linux the descriptor is free even if close(2) fails; a second close(2) might hit a new one.
    """
    try:  # noqa: SIM105 - `suppress` is three calls more, in what a kill waits for
        os.close(fd)
    except OSError:
        pass
