"""What clients may take of a server, in one place: sizes in bytes, times in seconds.

The numbers down to `ALL_BODIES` are kept by the app, in front of any server. The others are kept by
``ptykill serve`` alone, since an app does not see connections.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "ALL_BODIES",
    "BODY",
    "BODY_SECONDS",
    "CLOSING_SECONDS",
    "CONNECTIONS",
    "HEADER",
    "HEADER_SECONDS",
    "KEEP_ALIVE_SECONDS",
    "MESSAGE",
    "PING_SECONDS",
    "REFUSED_BODY",
    "REFUSED_BODY_SECONDS",
    "SILENCE_SECONDS",
    "BodyBudget",
    "BodyShare",
    "TooManyBodies",
    "connections",
    "websockets",
]

BODY = 1 << 20
"""The longest body of a request."""
BODY_SECONDS = 20.0
"""How long a body may take to arrive."""
REFUSED_BODY = 4 * BODY
REFUSED_BODY_SECONDS = 1.0
"""How much of a body that is refused is read before that is told, and for how long."""
ALL_BODIES = 16 * BODY
"""The bytes that the bodies of all requests may hold while they arrive."""

HEADER = 16 << 10
"""The longest request line and headers, in all."""
HEADER_SECONDS = 10.0
"""How long a connection may take for a request line and headers, from its start or the last answer.
"""
KEEP_ALIVE_SECONDS = 5
"""How long a connection may be silent after an answer."""
CLOSING_SECONDS = 10.0
"""How long a client may take to read the last bytes of a connection that is being closed."""
MESSAGE = 4 << 20
"""The longest message of a WebSocket that a client may send."""
PING_SECONDS = 4.0
"""The time between two PINGs. A public client gives up after ten seconds of silence."""
SILENCE_SECONDS = 60.0
"""A client from whose WebSocket nothing was heard for so long, no PONG either, is gone."""
CONNECTIONS = 1024
"""The most connections at once, where the limit of descriptors allows them."""
_FEWEST = 8
_FOR_REQUESTS = 4
"""One connection in so many is kept free of WebSockets, which last: health and DELETE need it."""


class TooManyBodies(Exception):
    """The bodies that are arriving hold as many bytes as they may."""


class BodyBudget:
    """Counts the bytes that the bodies of all requests hold while they arrive."""

    def __init__(self, most: int = ALL_BODIES) -> None:
        self._left = most

    @contextmanager
    def room(self) -> Iterator[BodyShare]:
        """Give the room of one body back at the end of the block."""
        room = BodyShare(self)
        try:
            yield room
        finally:
            self._left += room.taken

    def take(self, size: int) -> None:
        """Take so many bytes. Raises `TooManyBodies`."""
        if size > self._left:
            raise TooManyBodies
        self._left -= size


class BodyShare:
    """What one body has taken."""

    def __init__(self, bodies: BodyBudget) -> None:
        self._bodies = bodies
        self.taken: int = 0

    def take(self, size: int) -> None:
        """Take so many bytes more. Raises `TooManyBodies`."""
        self._bodies.take(size)
        self.taken += size


def connections() -> int:
    """Return how many connections a daemon takes: half of its descriptors are the sessions'."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(_FEWEST, min(CONNECTIONS, soft // 2 - 32))


def websockets(most: int) -> int:
    """Return how many of so many connections may be WebSockets."""
    return most - max(1, most // _FOR_REQUESTS)
