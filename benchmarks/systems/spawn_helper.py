"""posix_spawn(3) by a helper process that waits for requests: the least that a keeper costs.

A keeper has to be its leader's parent, so a spawn is a request to another process. This helper does
nothing else.
"""

from __future__ import annotations

import marshal
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.systems import ENVIRONMENT, Program, Session, Span, Spawn, System, read_terminal

__all__ = ["systems"]

HELPER = """
import marshal, os, signal, socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
os.set_inheritable(channel.fileno(), False)
while order := channel.recv(65536):
    argv, environment, terminal = marshal.loads(order)
    pid = os.posix_spawnp(
        argv[0],
        argv,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGHUP, signal.SIGPIPE),
    )
    channel.send(marshal.dumps(pid))
    channel.recv(1)  # It has been killed.
    os.waitpid(pid, 0)
    channel.send(b"0")
"""


def systems() -> list[System]:
    """Return the one system."""
    return [System("posix_spawn by a helper", opened)]


@asynccontextmanager
async def opened() -> AsyncIterator[Spawn]:
    """Start the helper, as a bare interpreter."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = str(theirs.fileno())
    helper = subprocess.Popen(  # noqa: ASYNC220 - before anything is measured
        [sys.executable, "-I", "-S", "-c", HELPER, channel], pass_fds=[theirs.fileno()]
    )
    theirs.close()

    async def spawn(program: Program) -> Session:
        master, slave = pty.openpty()
        ours.send(marshal.dumps((program.argv, ENVIRONMENT, os.ttyname(slave))))
        pid = marshal.loads(ours.recv(100))
        os.close(slave)
        return HelpedSession(pid, master, ours)

    try:
        yield spawn
    finally:
        ours.close()
        helper.wait()


@dataclass(frozen=True, slots=True)
class HelpedSession:
    """A child of the helper, its terminal's master, and the socket of the helper."""

    pid: int
    master: int
    helper: socket.socket

    async def read(self, within: float) -> bytes:
        """Read the master."""
        return read_terminal(self.master, within)

    async def end(self, grace: float) -> Span:  # noqa: ARG002 - nothing polite is compared here
        """SIGKILL, and have it reaped."""
        start = time.perf_counter_ns()
        os.kill(self.pid, signal.SIGKILL)
        self.helper.send(b"0")
        self.helper.recv(1)
        stop = time.perf_counter_ns()
        os.close(self.master)
        return Span(start, stop)
