"""The messages between a host, its warden, and their keepers.

Each is a tuple that marshal can write, on a socket that keeps its bounds (SOCK_SEQPACKET). Both
ends are the same version of the same interpreter.

To the warden:  ``(KEEP, cgroup)`` with two descriptors: sockets to the host for the keeper and for
                its embryo. ``cgroup`` is the path of one to be made, or None.
From it:        ``(READY,)`` once.
To a keeper:    `Will`, ``(KILL,)``, ``(SPARE,)``.
From it:        ``(KEPT, keeper's pid, embryo's pid)`` with the embryo's pidfd, or
                ``(FAILED, errno, what)``; then ``(EXITED, status)`` when the leader has exited and
                members are left, and ``(EMPTY, status)``, its last. ``(BROKEN, traceback)`` if it
                fails itself.

A status is an exit code, a signal, whether there is a core, and whether it was the kernel's out-of-
memory killer; or None.
"""

from __future__ import annotations

import marshal
import socket
from typing import Any, NamedTuple, TypeAlias

from ptykill.kernel import passing

__all__ = [
    "BROKEN",
    "EMPTY",
    "EXITED",
    "FAILED",
    "GONE",
    "KEEP",
    "KEPT",
    "KILL",
    "READY",
    "SPARE",
    "Message",
    "Status",
    "Will",
    "receive",
    "send",
]

KEEP, READY = "keep", "ready"
WILL, KILL, SPARE = "will", "kill", "spare"
KEPT, FAILED, EXITED, EMPTY, BROKEN = "kept", "failed", "exited", "empty", "broken"
GONE = "gone"
"""Not sent: what `receive` returns when the other end is closed."""

Message: TypeAlias = tuple[Any, ...]
Status: TypeAlias = tuple[int | None, int | None, bool, bool]

_LONGEST = 65_536


class Will(NamedTuple):
    """What is to be done if the host dies, as things stand.

    The plan's text, the leftovers policy, how many steps have been delivered, and in how many
    seconds the next is due.
    """

    kind: str
    plan: str
    leftovers: str
    steps: int
    due: float


def send(channel: socket.socket, message: Message, fds: tuple[int, ...] = ()) -> bool:
    """Send a message; False if there is nobody to read it, or no room for it."""
    data = marshal.dumps(tuple(message))
    try:
        if fds:
            socket.send_fds(channel, [data], fds)
        else:
            channel.send(data)
    except OSError:  # EPIPE, ECONNRESET: gone. EAGAIN: stopped, for a long time.
        return False
    return True


def receive(channel: socket.socket) -> tuple[Message, list[int]]:
    """Return the next message and its descriptors. Raises BlockingIOError if there is none yet."""
    try:
        data, fds = passing.receive(channel, _LONGEST, 2)
    except ConnectionResetError:
        # The other end went with something of ours unread. What it had said before comes after.
        data, fds = passing.receive(channel, _LONGEST, 2)
    return (marshal.loads(data) if data else (GONE,)), fds  # noqa: S302 - from our own processes
