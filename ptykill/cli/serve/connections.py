"""Limits the daemon's connections, and closes an idle one for a new one.

All connections are bounded, those of one address are, and so are WebSockets, which last. Where
there are too many, the connection that has been idle for the longest is closed: one that has no
request under way. So clients that connect and say nothing lock nobody out.

The sessions may have taken the last descriptor nevertheless. accept(2) then fails with EMFILE, and
the loop tries again a second later (asyncio, ``ACCEPT_RETRY_DELAY``). A few descriptors are held
back for that moment.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import ipaddress
import logging
import math
import os
from contextlib import suppress
from typing import Any, Protocol

from ptykill import log
from ptykill.http import limits

__all__ = ["Connection", "ConnectionLimiter"]

_HELD_BACK = 4
"""Descriptors for connections that would not be accepted otherwise."""
_GIVEN_UP_FOR = 3.0
"""Seconds that one which was given up stays so: the loop accepts again after one."""


class Connection(Protocol):
    """A connection, as far as the limiter is concerned."""

    transport: asyncio.Transport

    @property
    def idle_since(self) -> float | None:
        """Since when nothing is under way, by the loop's clock; None while something is."""


@dataclasses.dataclass(slots=True)
class _Entry:
    connection: Connection
    address: str | None
    """None for those that are not told apart: this machine's."""
    websocket: bool = False
    closing_since: float | None = None


class ConnectionLimiter:
    """Knows every connection. ``most`` is the bound of all, half of it that of one address."""

    def __init__(self, most: int | None = None) -> None:
        self._most = limits.connections() if most is None else most
        self._most_of_one = max(1, self._most // 2)
        self._entries: dict[asyncio.BaseTransport, _Entry] = {}
        self._held: list[int] = []
        self._not_before = -math.inf
        self._hold()

    def admit(self, connection: Connection) -> bool:
        """Return whether a new connection may stay; another may have been closed for it."""
        address = _address(connection.transport)
        if address is not None:
            of_it = [each for each in self._living() if each.address == address]
            if len(of_it) >= self._most_of_one and not _close_longest_idle(of_it):
                return False
        living = self._living()
        if len(living) >= self._most and not _close_longest_idle(living):
            return False
        self._entries[connection.transport] = _Entry(connection, address)
        return True

    def upgrade(self, connection: Connection) -> bool:
        """Return whether a connection may become a WebSocket, whose connection this is."""
        entry = self._entries.get(connection.transport)
        if entry is None:
            return False
        attached = sum(each.websocket for each in self._living())
        if attached >= limits.websockets(self._most) or len(self._held) < _HELD_BACK:
            return False
        entry.connection, entry.websocket = connection, True
        return True

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._entries.pop(connection.transport, None)

    def sweep(self, now: float) -> None:
        """Close what has had its time: a request that does not begin, a close that does not end."""
        if now >= self._not_before:
            self._hold()
        for entry in list(self._entries.values()):
            transport, since = entry.connection.transport, entry.connection.idle_since
            if transport.is_closing():
                entry.closing_since = entry.closing_since or now
                if now - entry.closing_since > limits.CLOSING_SECONDS:
                    transport.abort()
            elif since is not None and now - since > limits.HEADER_SECONDS:
                transport.abort()

    def handle_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle what goes wrong in the loop: make room where accept(2) had no descriptor."""
        error = context.get("exception")
        if (
            not (isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE})
            or "socket" not in context
        ):
            loop.default_exception_handler(context)
            return
        closed = _close_longest_idle(self._living())
        log.event(logging.WARNING, "serve.no_descriptors", connections=len(self._entries))
        if not closed and self._held:
            os.close(self._held.pop())
            self._not_before = loop.time() + _GIVEN_UP_FOR

    def close(self) -> None:
        """Give back what was held."""
        while self._held:
            os.close(self._held.pop())

    def _living(self) -> list[_Entry]:
        return [
            each for each in self._entries.values() if not each.connection.transport.is_closing()
        ]

    def _hold(self) -> None:
        with suppress(OSError):
            while len(self._held) < _HELD_BACK:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _close_longest_idle(entries: list[_Entry]) -> bool:
    """Close the connection that has been idle for the longest; return whether there was one."""
    idle = [(each.connection.idle_since, each.connection) for each in entries]
    waiting = [(since, connection) for since, connection in idle if since is not None]
    if not waiting:
        return False
    min(waiting, key=lambda each: each[0])[1].transport.abort()
    return True


def _address(transport: asyncio.Transport) -> str | None:
    """Return the address of a client elsewhere.

    On this machine, many clients have one address: a proxy's, above all.
    """
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return None  # A UNIX socket's.
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return None if (mapped or address).is_loopback else str(mapped or address)
