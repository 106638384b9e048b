"""Descriptors 0, 1 and 2 of a command: there from the start, whoever has started it."""

from __future__ import annotations

import os
import sys

__all__ = ["open_missing"]

_NAMES = ("stdin", "stdout", "stderr")


def open_missing() -> None:
    """Open each of the descriptors 0, 1 and 2 that is closed on /dev/null.

    The kernel gives the lowest free number to whatever is opened next: trio's wake-up socket, say,
    which would then get what is meant for standard output. So this comes before all else. Python's
    own `sys.stdin`, `sys.stdout` and `sys.stderr`, which are None then, are made anew as well.
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
    """Open a descriptor that is the lowest free one. What is read from it ends at once."""
    try:
        fd = os.open(os.devnull, os.O_RDWR)
    except OSError:  # No /dev here: a folder can be neither read nor written, but has the number.
        fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    if fd != number:  # Another thread was faster.
        os.dup2(fd, number)
        os.close(fd)
    os.set_inheritable(number, True)  # noqa: FBT003 - it has no name
