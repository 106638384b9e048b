"""Receives descriptors over a socket (unix(7), SCM_RIGHTS)."""

from __future__ import annotations

import array
import socket

from ptykill.system.kernel.retry import close

__all__ = ["receive"]

_INT = array.array("i").itemsize
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def receive(channel: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Return up to ``size`` bytes, and up to ``most`` descriptors, which are close-on-exec.

    None of them if there was not room for all: this process has too few left.

    `socket.recv_fds` takes flags but does not pass them on (Python 3.11): its are inherited.
    """
    room = socket.CMSG_LEN(most * _INT)
    try:
        data, about, flags, _ = channel.recvmsg(size, room, _CLOEXEC)
    except (BlockingIOError, ConnectionResetError):
        raise
    except OSError:  # ENOMEM, say. The message is still there.
        data, about, flags, _ = channel.recvmsg(size, room, _CLOEXEC)
    if not about:
        return data, []
    found = array.array("i")
    for level, kind, content in about:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    if flags & socket.MSG_CTRUNC:  # RLIMIT_NOFILE (unix(7)). Some of them are of no use.
        for fd in found:
            close(fd)
        return data, []
    return data, list(found)
