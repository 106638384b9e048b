"""Open the descriptors 0, 1 and 2 of a command if its parent has closed them."""

from __future__ import annotations

import os
import sys

__all__ = ["open_missing"]

_NAMES = ("stdin", "stdout", "stderr")


def open_missing() -> None:
    """Open each of the descriptors 0, 1 and 2 that is closed on /dev/null.

    The kernel gives the lowest free number to the next descriptor. That may be trio's wake-up
    socket, which would then get standard output. So call this before anything is opened. Python's
    `sys.stdin`, `sys.stdout` and `sys.stderr`, which are None then, are opened too.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:  # EBADF
            _open_at(number)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            stream = open(number, mode, closefd=False)  # noqa: SIM115 - it stays open
            setattr(sys, name, stream)


def _open_at(number: int) -> None:
    """Open /dev/null as this descriptor, the lowest free one."""
    try:
        fd = os.open(os.devnull, os.O_RDWR)
    except OSError:  # There is no /dev: a folder takes the number, and reads and writes fail.
        fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    if fd != number:  # Another thread has taken the number.
        os.dup2(fd, number)
        os.close(fd)
    os.set_inheritable(number, True)  # noqa: FBT003 - it has no name
