"""Descriptors that come over a socket (unix(7), SCM_RIGHTS)."""

from __future__ import annotations

import array
import socket

__all__ = ["receive"]

_INT = array.array("i").itemsize
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def receive(channel: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Return up to ``size`` bytes, and up to ``most`` descriptors, which are close-on-exec.

    `socket.recv_fds` takes flags but does not pass them on (Python 3.11): its are inherited.
    """
    data, about, _, _ = channel.recvmsg(size, socket.CMSG_LEN(most * _INT), _CLOEXEC)
    if not about:
        return data, []
    found = array.array("i")
    for level, kind, content in about:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    return data, list(found)
