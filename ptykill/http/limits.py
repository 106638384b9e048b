"""The limits for clients: sizes in bytes, times in seconds.

The app enforces the limits down to `ALL_BODIES`, in any server. Only ``ptykill serve`` enforces the
others, since an app does not see connections.
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
    "event_streams",
    "websockets",
]

BODY = 1 << 20
"""The longest body of a request."""
BODY_SECONDS = 20.0
"""Time-out for a request's body."""
REFUSED_BODY = 4 * BODY
REFUSED_BODY_SECONDS = 1.0
"""How much of a refused body is read before the answer is sent, and for how long."""
ALL_BODIES = 16 * BODY
"""The most bytes of all the bodies that are being received."""

HEADER = 16 << 10
"""The longest request line and headers together."""
HEADER_SECONDS = 10.0
"""Time-out for a request line and headers, from the connection's start or the last answer."""
KEEP_ALIVE_SECONDS = 5
"""Time-out for an idle connection after an answer."""
CLOSING_SECONDS = 10.0
"""Time-out for a client to read the last bytes of a connection that is being closed."""
MESSAGE = 4 << 20
"""The longest WebSocket message that a client may send."""
PING_SECONDS = 4.0
"""The time between two PINGs. A public client gives up after ten seconds of silence."""
SILENCE_SECONDS = 60.0
"""Time-out for a WebSocket client that sends nothing, not even a PONG."""
CONNECTIONS = 1024
"""The most connections at once, if RLIMIT_NOFILE allows that many."""
_FEWEST = 8
_FOR_REQUESTS = 4
"""One connection in so many is reserved for requests: WebSockets last long, and would take all."""

_FOR_EVENTS = 8
"""One connection in so many may stream events, which lasts as long as that of a WebSocket."""


class TooManyBodies(Exception):
    """Raised if the bodies that are being received would exceed `ALL_BODIES`."""


class BodyBudget:
    """Counts the bytes of all the bodies that are being received."""

    def __init__(self, most: int = ALL_BODIES) -> None:
        self._left = most

    @contextmanager
    def room(self) -> Iterator[BodyShare]:
        """Yield the share of one body, and release it at the end of the block."""
        room = BodyShare(self)
        try:
            yield room
        finally:
            self._left += room.taken

    def take(self, size: int) -> None:
        """Count so many bytes. Raises `TooManyBodies`."""
        if size > self._left:
            raise TooManyBodies
        self._left -= size


class BodyShare:
    """The bytes of one body in the budget."""

    def __init__(self, bodies: BodyBudget) -> None:
        self._bodies = bodies
        self.taken: int = 0

    def take(self, size: int) -> None:
        """Count so many bytes more. Raises `TooManyBodies`."""
        self._bodies.take(size)
        self.taken += size


def connections() -> int:
    """Return the daemon's limit of connections: half of its descriptors, the rest for sessions."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(_FEWEST, min(CONNECTIONS, soft // 2 - 32))


def event_streams(most: int) -> int:
    """Return how many of ``most`` connections may stream events, besides the WebSockets."""
    return max(1, most // _FOR_EVENTS)


def websockets(most: int) -> int:
    """Return how many of ``most`` connections may be WebSockets."""
    return most - max(1, most // _FOR_REQUESTS)
