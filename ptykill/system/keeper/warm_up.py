"""Warms a new keeper up: goes through a start and an end before they are timed.

A keeper shares its memory with the warden that it was forked from. The kernel copies a page when it
is first written to (a copy-on-write fault). For a start and an end these faults take as long as all
else together. So a stand-in keeper does both, on a socket of its own, while no caller waits.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Protocol

from ptykill.system.keeper import wire
from ptykill.system.keeper.kept_session import KeptSession
from ptykill.system.keeper.poller import Poller
from ptykill.system.keeper.resources import Resources
from ptykill.system.keeper.stand_in import stand_in
from ptykill.system.kernel import syscalls

__all__ = ["warm_up"]

_HANDOVER = wire.Handover(wire.HANDOVER, "", "", 0, 0.0, 0.0)
_HUNG_UP = os.CLD_KILLED, int(signal.SIGHUP)
"""How the stand-in's session ends."""


class _Keeper(Protocol):
    def serve(self) -> None: ...

    def tell(self, what: str, *about: object) -> None: ...

    def close(self) -> None: ...


def warm_up(make: Callable[[socket.socket], _Keeper], resources: Resources, *, start: bool) -> None:
    """Run the code of an end on a stand-in, and that of a start before it if ``start`` is true."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, suppress(OSError):  # EMFILE, say: the real start reports that.
        theirs.settimeout(0)
        with closing(make(theirs)) as keeper:
            if start:
                _start(ours, keeper)
            session = KeptSession(os.getpid(), resources, Poller(), _nothing)
            session.look()  # This process has no children: it is empty.
            keeper.tell(wire.EMPTY, session.status_of(*_HUNG_UP), None, session.usage())


def _start(host: socket.socket, keeper: _Keeper) -> None:
    """Order the start of a program that can't be executed."""
    umask = os.umask(0)
    os.umask(umask)
    with stand_in() as (order, fds):
        wire.send(host, (wire.ORDER, order, umask, None, None, *_HANDOVER), fds)
        keeper.serve()
    pidfd = syscalls.pidfd_open(os.getpid())
    try:
        keeper.tell(wire.STARTED, 0, os.getpid(), None, os.times()[2:4])
    finally:
        os.close(pidfd)


def _nothing() -> None:
    """Do nothing when the leader has exited: no host waits for it."""
