"""The messages between a host, its warden, and their keepers.

Each is a tuple that marshal can write, on a socket that keeps message boundaries (SOCK_SEQPACKET).
Both ends are the same version of the same interpreter.

To the warden:  ``(KEEP, groups)`` with the new keeper's socket to the host. ``groups`` is the
                folder in which the keeper makes a cgroup, or None.
                ``(LEAVE,)`` when the host needs no more keepers.
                ``(LOST, keeper's pid)`` about a keeper that died before its session, with a socket
                for the answer.
                ``(HURRY,)`` when the orphans of such keepers get no more time.
From it:        ``(READY, lacking)`` once: why its keepers could not keep a session, or None.
                ``(CLEAR, killed)`` on the socket that came with ``LOST``, when the keeper is reaped
                and no process is left of it or of another lost keeper; ``killed`` is whether the
                warden had to kill any. If the socket closes without it, nothing is proven.
To a keeper:    ``(ORDER, order, umask, limits, deadlines, *handover)`` with the terminal, the
                host's working directory and, if the leader has another descriptor 0 than the
                terminal, that one. ``umask`` is the host's, or None; ``limits`` is a `Limits`, or
                None; ``deadlines`` are lifetime, idle and detached, in seconds, or None if there
                are none.
                `Handover`, ``(KILL,)``, ``(SPARE,)``.
                ``(RENEW,)``: it is to get ready for another session.
                ``(DEADLINES, deadlines, elapsed)`` when they have changed, or the session has been
                active: ``elapsed`` is `rules.deadlines.Elapsed`.
From it:        ``(FORKED, keeper's pid)``, sent by the warden, so that the host knows of a keeper
                that is held up.
                ``(STARTED, leader's pid, keeper's pid, cgroup's path, times)`` with the leader's
                pidfd; or ``(FAILED, errno, stage)``. ``times`` are the seconds of processor time,
                user and system, of the keeper's sessions before this one.
                ``(EXITED, status)`` when the leader has exited and members are left.
                ``(ENDING, reason, kill_due)`` when a deadline has passed, and the host has not
                ended the session: the keeper carries out the plan. ``kill_due`` is the time of its
                SIGKILL, in monotonic seconds. The message is sent again, with None, at the SIGKILL.
                ``(EMPTY, status, reusable, ready, usage)`` when none is left, with the
                `UsageFigures`. If it is reusable, the keeper waits for another order. It answers
                ``(REFUSED,)``, and has started nothing, if it finds that its last session has
                changed it. If it is not ready, it has to enter its cgroup again before it can obey
                one, which takes some 10 ms. ``(READY,)`` says that it has done so.
                ``(BROKEN, traceback)`` if it fails itself.
To a stub:      ``(ORDER, order)``, with the same descriptors as to a keeper.

A message that is too long for the socket goes into a file, whose descriptor is sent in its place.

A status is an exit code, a signal, whether there is a core, and whether it was the kernel's out-of-
memory killer; or None.
"""

from __future__ import annotations

import marshal
import socket
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from ptykill.system.kernel import fd_passing, syscalls
from ptykill.system.kernel.retry import again, close

__all__ = [
    "BROKEN",
    "CLEAR",
    "DEADLINES",
    "EMPTY",
    "ENDING",
    "EXITED",
    "FAILED",
    "FORKED",
    "GONE",
    "HURRY",
    "KEEP",
    "KILL",
    "LEAVE",
    "LOST",
    "ORDER",
    "READY",
    "REFUSED",
    "RENEW",
    "SPARE",
    "STARTED",
    "Handover",
    "Message",
    "Status",
    "receive",
    "receive_or_reset",
    "send",
]

KEEP, LEAVE, READY = "keep", "leave", "ready"
LOST, HURRY, CLEAR = "lost", "hurry", "clear"
ORDER, HANDOVER, KILL, SPARE = "order", "handover", "kill", "spare"
DEADLINES, ENDING = "deadlines", "ending"
FORKED, STARTED, FAILED = "forked", "started", "failed"
EXITED, EMPTY, BROKEN = "exited", "empty", "broken"
RENEW, REFUSED = "renew", "refused"
GONE = "gone"
"""Not sent: what `receive` returns when the other end is closed."""

Message: TypeAlias = tuple[Any, ...]
Status: TypeAlias = tuple[int | None, int | None, bool, bool]

_LONGEST = 65_536
"""Bytes of a message; a socket takes a little over 200,000 in all (unix(7), net.core.wmem_max)."""
_MOST = 4
"""So many descriptors come with a message, at the most."""
_LARGE = b"large"


class Handover(NamedTuple):
    """What is to be done if the host dies, as things stand.

    The plan's text, the leftovers policy, how many steps have been delivered, in how many seconds
    the next is due, and in how many SIGKILL is, at the latest.
    """

    kind: str
    plan: str
    leftovers: str
    steps: int
    due: float
    grace: float


def send(channel: socket.socket, message: Message, fds: Sequence[int] = ()) -> bool:
    """Send a message; return False if the other end is closed, or full. Raises OSError.

    It is tried twice: see `kernel.retry`. Unless it returns True, the message was not sent.
    """
    try:
        return again(lambda: _send(channel, message, fds))
    except (BrokenPipeError, ConnectionResetError, BlockingIOError):
        return False  # It is gone; or it is stopped, and has been for long.


def _send(channel: socket.socket, message: Message, fds: Sequence[int]) -> bool:
    data = marshal.dumps(tuple(message))
    held = -1
    try:
        if len(data) > _LONGEST:
            held = syscalls.anonymous_file()
            with open(held, "wb", closefd=False) as file:
                file.write(data)
            fds, data = (*fds, held), _LARGE
        if fds:
            socket.send_fds(channel, [data], fds)
        else:
            channel.send(data)
    finally:
        if held >= 0:
            close(held)
    return True


def _whole(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def receive(channel: socket.socket) -> tuple[Message, list[int]]:
    """Return the next message and its descriptors. Raises BlockingIOError if there is none yet."""
    try:
        return receive_or_reset(channel)
    except ConnectionResetError:  # What the other end had said before comes after.
        return receive_or_reset(channel)


def receive_or_reset(channel: socket.socket) -> tuple[Message, list[int]]:
    """As `receive`, but raise ConnectionResetError, once, if the other end left ours unread.

    The kernel reports it first, before the other end's messages (unix(7), unix_release_sock).
    """
    data, fds = fd_passing.receive(channel, _LONGEST, _MOST)
    if data == _LARGE and fds:
        with open(fds.pop(), "rb") as file:
            data = again(lambda: _whole(file))
    return (marshal.loads(data) if data else (GONE,)), fds  # noqa: S302 - from our own processes
