"""Spawns through a stub that is started as a program of its own, on any POSIX system.

It costs the start of an interpreter (some 20 ms), and is used where posix_spawn(3) can't do it.
The host starts it with posix_spawn(3), which does not copy the host's memory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket

import trio

from ptykill.rules.command import Command
from ptykill.system.keeper import wire
from ptykill.system.keeper.start import start_beside
from ptykill.system.kernel.retry import again
from ptykill.system.kernel.session_leader import Order, StartFailed, failure_of_stub
from ptykill.system.pty.order import SPAWN_TIMEOUT, standard_input, working_directory
from ptykill.system.readiness import readable

__all__ = ["start"]


async def start(order: Order, command: Command, terminal: int) -> int:
    """Start the leader; return its pid. Raises OSError. Waits until the exec is done."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, working_directory(command) as here, standard_input(command) as stdin:
        ours.settimeout(0)
        with theirs:
            pid = start_beside("stub", theirs.fileno())
        try:
            failure: StartFailed | None = StartFailed(errno.ETIMEDOUT, "exec")
            with trio.move_on_after(SPAWN_TIMEOUT):
                failure = failure_of_stub(await _report_of(ours, order, [terminal, here, *stdin]))
        except BaseException:
            _end(pid)
            raise
    if failure is not None:
        _reap(pid)
        raise failure
    return pid


def _end(pid: int) -> None:
    """Kill and reap a stub."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _reap(pid)


def _reap(pid: int) -> None:
    """Reap a stub that exits; where the host ignores SIGCHLD the kernel has done so.

    Then the pid may be a stranger's: so a stub that has reported a failure is not killed.
    """
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


async def _report_of(stub: socket.socket, order: Order, fds: list[int]) -> bytes:
    if not wire.send(stub, (wire.ORDER, order), fds):
        return b""  # It is dead, or exits when it sees the end of the connection.
    said = b""
    while True:
        await readable(stub)
        try:
            more = again(lambda: stub.recv(256))
        except BlockingIOError:
            continue
        except ConnectionResetError:  # It died before it had read the order.
            return said
        if not more:
            return said
        said += more
