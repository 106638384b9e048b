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
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.session_leader import Order

__all__ = ["warm_up"]

_HANDOVER = wire.Handover(wire.HANDOVER, "", "", 0, 0.0, 0.0)
_HUNG_UP = os.waitid_result((0, 0, 0, int(signal.SIGHUP), os.CLD_KILLED))
"""How the stand-in's session ends."""
_ORDER: Order = {
    "args": [],
    "env": {b"PATH": b"/proc/self:/proc/self/fd"},
    "cwd": b"/",
    "uid": None,
    "gid": None,
    "groups": None,
    "umask": None,
    "limits": None,
    "nice": None,
    "death_signal": None,
}
"""The stand-in's order: a program by its name, which is looked for in two folders."""


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
            keeper.tell(wire.EMPTY, session.status_of(_HUNG_UP))


def _start(host: socket.socket, keeper: _Keeper) -> None:
    """Order the start of a program that can't be executed."""
    umask = os.umask(0)
    os.umask(umask)
    # A file with the right to be executed, and a NUL: neither a program nor a script (ENOEXEC).
    program = syscalls.anonymous_file()
    root = os.open("/", os.O_PATH)
    pidfd = -1
    try:
        os.write(program, b"\0")
        order = {**_ORDER, "args": [b"%d" % program]}
        wire.send(host, (wire.ORDER, order, umask, *_HANDOVER), [program, root])
        keeper.serve()
        pidfd = syscalls.pidfd_open(os.getpid())
        keeper.tell(wire.STARTED, 0, os.getpid(), None)
    finally:
        for fd in program, root, pidfd:
            if fd >= 0:
                os.close(fd)


def _nothing() -> None:
    """Do nothing when the leader has exited: no host waits for it."""
