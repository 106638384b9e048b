"""System calls that are made again, since one may fail for no lasting reason.

ENOMEM, ENOBUFS and EIO may be over at the next try (a kernel that has just freed memory, say). What
fails twice in a row is told: whoever asked has the time to wait, or another way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

__all__ = ["again", "close"]

T = TypeVar("T")


def again(call: Callable[[], T]) -> T:
    """Return what a system call returns; it is made a second time if it fails. Raises OSError."""
    try:
        return call()
    except OSError:
        return call()


def close(fd: int) -> None:
    """Give a descriptor back, whatever the kernel says to that.

    On Linux the descriptor is free even if the call fails; to repeat it might close another's.
    """
    with suppress(OSError):
        os.close(fd)
