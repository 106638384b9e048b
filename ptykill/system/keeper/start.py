"""Starts a warden or a stub by posix_spawn(3), which does not copy the host's memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys

from ptykill.system.keeper import boot

__all__ = ["start_beside"]


def start_beside(what: str, *fds: int) -> int:
    """Start ``boot.py`` with these as its descriptors 3, 4 …; return its pid. Raises OSError."""
    program = [sys.executable, "-I", "-S", boot.__file__, what]
    actions: list[tuple[object, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
    with contextlib.ExitStack() as copies:
        for number, fd in enumerate(fds, boot.CHANNEL):
            # Above the numbers that are assigned here.
            copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
            copies.callback(os.close, copy)
            actions.append((os.POSIX_SPAWN_DUP2, copy, number))
        return os.posix_spawn(program[0], program, os.environ, file_actions=actions)
