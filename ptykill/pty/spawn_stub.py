"""Spawning through an embryo that is started as a program of its own. Any POSIX system.

It costs the start of an interpreter (some 20 ms), and is taken where `spawn_native` can't be, and
for attributes that posix_spawn(3) does not know. The host starts it with posix_spawn(3), which does
not copy the host's memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from ptykill.command import Command
from ptykill.keeper.start import start_beside
from ptykill.pty.birth import bear

__all__ = ["start"]


async def start(command: Command, slave: int) -> int:
    """Start the leader; return its pid. Raises `SpawnError`. Waits until the exec is done."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(0)
        with theirs:
            pid = start_beside("embryo", theirs.fileno())
        try:
            await bear(ours, command, slave, "")
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            # A host that ignores SIGCHLD has it reaped already.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)  # noqa: ASYNC222 - it is dead, or about to be
            raise
    return pid
