"""Limits the daemon's connections, and closes an idle one for a new one.

There is a limit for all connections, for those of one address, and for WebSockets, which last long.
At a limit, the connection that has been idle for the longest is closed: one without a request under
way. So clients that connect and send nothing do not keep other clients out.

Sessions may take the last descriptor nevertheless. accept(2) then fails with EMFILE, and the loop
tries again a second later (asyncio, ``ACCEPT_RETRY_DELAY``). An idle connection is closed then, or,
if there is none, a reserved descriptor, so that the next accept succeeds.
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
"""Descriptors that are reserved for connections."""
_GIVEN_UP_FOR = 3.0
"""Seconds until a released descriptor is reserved again: the loop accepts again after one."""


class Connection(Protocol):
    """What the limiter needs of a connection."""

    transport: asyncio.Transport

    @property
    def idle_since(self) -> float | None:
        """The loop's time at which the last request ended; None while one is under way."""


@dataclasses.dataclass(slots=True)
class _Entry:
    connection: Connection
    address: str | None
    """None for a client on this machine: many clients share its address, such as a proxy's."""
    websocket: bool = False
    closing_since: float | None = None


class ConnectionLimiter:
    """Admits connections, and closes idle ones.

    ``most`` is the limit of all connections; half of it is that of one address.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = limits.connections() if most is None else most
        self._most_of_one = max(1, self._most // 2)
        self._entries: dict[asyncio.BaseTransport, _Entry] = {}
        self._held: list[int] = []
        self._not_before = -math.inf
        self._hold()

    def admit(self, connection: Connection) -> bool:
        """Return whether a new connection is admitted; close an idle one for it if needed."""
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
        """Return whether an admitted connection may become a WebSocket."""
        entry = self._entries.get(connection.transport)
        if entry is None:
            return False
        attached = sum(each.websocket for each in self._living())
        if attached >= limits.websockets(self._most) or len(self._held) < _HELD_BACK:
            return False
        entry.connection, entry.websocket = connection, True
        return True

    def remove(self, connection: Connection) -> None:
        """Stop counting a connection that is closed."""
        self._entries.pop(connection.transport, None)

    def sweep(self, now: float) -> None:
        """Close connections on which no request arrives in time, or whose close does not finish."""
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
        """Handle an error of the loop: free a descriptor if accept(2) had none."""
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
        """Close the reserved descriptors."""
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
    """Return the address of a client on another machine; None for a client on this one.

    Many clients on this machine may share one address, such as those behind a proxy.
    """
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return None  # The client of a UNIX socket.
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return None if (mapped or address).is_loopback else str(mapped or address)
