"""The messages that a keeper has for its host, and that could not be sent yet."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence

from ptykill.system.keeper import wire
from ptykill.system.kernel.retry import again, close

__all__ = ["SendQueue", "has_event"]


class SendQueue:
    """Sends messages to the host in their order, never waits, and keeps those that are left."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel: socket.socket | None = channel
        """The connection to the host; None once it is closed: messages are dropped then."""
        self._unsent: list[tuple[wire.Message, Sequence[int]]] = []
        """The messages, with their descriptors."""

    def __bool__(self) -> bool:
        """Return whether a message is left to send."""
        return bool(self._unsent)

    def add(self, message: wire.Message, fds: Sequence[int]) -> None:
        """Send a message, now or soon. Takes the descriptors over, and closes them."""
        self._unsent.append((message, fds))
        self.send()

    def send(self) -> None:
        """Send the messages that are left, as far as that is possible now."""
        while self._unsent:
            message, fds = self._unsent[0]
            if self.channel is not None:
                try:
                    if not wire.send(self.channel, message, fds) and _is_open(self.channel):
                        return
                except OSError:
                    return
            del self._unsent[0]
            for fd in fds:
                close(fd)


def has_event(channel: socket.socket, events: int = select.POLLIN) -> bool:
    """Return whether a socket has one of these events (poll(2)) now."""
    poll = select.poll()
    poll.register(channel, events)
    return bool(again(lambda: poll.poll(0)))


def _is_open(channel: socket.socket) -> bool:
    """Return whether the other end is open (poll(2): POLLHUP comes unasked)."""
    return not has_event(channel, 0)
