"""The host's ends of the sockets to its warden and keepers."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ptykill.system.kernel.retry import again

__all__ = ["close_socket", "closing", "connected", "hang_up", "open_pair"]


def open_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets that keep the bounds of messages. Raises OSError."""
    return again(_open_pair)


def _open_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@contextmanager
def closing(channel: socket.socket) -> Iterator[None]:
    """Close a socket at the end, whatever close(2) says (`kernel.retry.close`)."""
    try:
        yield
    finally:
        close_socket(channel)


def close_socket(channel: socket.socket) -> None:
    """Close a socket, whatever close(2) says."""
    with suppress(OSError):
        channel.close()


def hang_up(channel: socket.socket) -> None:
    """Close a socket, and the copies of it that children of the host have.

    A child that was not made by os.fork(3) has not closed its copy, which would keep the other end
    from seeing the end of the connection: shutdown(2) ends that for all copies.
    """
    with suppress(OSError):  # ENOTCONN: the other end is closed.
        channel.shutdown(socket.SHUT_RDWR)
    close_socket(channel)


def connected(channel: socket.socket) -> bool:
    """Return whether the other end is open, even if messages are left to be read."""
    if channel.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(channel, 0)  # poll(2) reports POLLHUP always.
    try:
        return not again(lambda: poll.poll(0))
    except OSError:  # EINVAL: our limit of descriptors is below one (poll(2)).
        return _readable_or_open(channel)


def _readable_or_open(channel: socket.socket) -> bool:
    try:
        return bool(channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:  # ECONNRESET
        return False
