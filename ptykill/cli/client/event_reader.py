"""Follow the events of a daemon, over a connection that may be lost.

Each connection goes on after the last event of the one before (``Last-Event-ID``). If the daemon
does not keep the events after that one any more, or is another one, it sends a reset.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import trio

from ptykill.cli.client.daemon_client import DaemonClient, DaemonError
from ptykill.cli.client.messages import print_message_async
from ptykill.cli.client.reconnecting import Reconnecting
from ptykill.http.event_schema import Event

__all__ = ["EventParser", "Received", "follow"]


class Received(NamedTuple):
    """One event, and the JSON in which it came; that may have more fields."""

    event: Event
    told: dict[str, Any]


class EventParser:
    """Parses server-sent events (the HTML standard, 9.2), with lines that end in LF or CR LF."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Received]:
        """Return the events that are complete with these bytes. Raises `DaemonError`."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found = []
        for line in map(_without_cr, lines):
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value)
            elif not line and self._data:
                found.append(_decoded(b"\n".join(self._data)))
                self._data.clear()
        return found


async def follow(
    daemon: DaemonClient,
    since: str | None,
    use: Callable[[Sequence[Received]], Awaitable[None]],
) -> None:
    """Call a function with events, in their order, until the daemon ends the stream.

    The first come after that with the id ``since``; None begins with a reset. Connects again when
    the connection is lost, as `Reconnecting` says. Raises `DaemonError`.
    """
    tries, begun = Reconnecting(), False
    while True:
        connected_at: float | None = None
        try:
            async with daemon.events(since) as chunks:
                connected_at = trio.current_time()
                if begun:
                    await print_message_async("connected again", raw=False)
                begun, parser = True, EventParser()
                async for chunk in chunks:
                    if received := parser.feed(chunk):
                        await use(received)
                        since = received[-1].event.id
        except DaemonError as error:
            failure = error
        else:
            return
        if connected_at is not None:
            tries.lost(connected_at)
        final = tries.check(failure) if begun else failure
        if final is not None:
            raise final
        if connected_at is not None:
            lost = f"the connection to {daemon.url} is lost; connecting again"
            await print_message_async(lost, raw=False)
        await tries.wait()


def _without_cr(line: bytes) -> bytes:
    return line.removesuffix(b"\r")


def _decoded(data: bytes) -> Received:
    try:
        told = json.loads(data)
        return Received(msgspec.convert(told, Event), told)
    except (ValueError, msgspec.ValidationError):
        msg = "an event of the daemon can't be read: it may have another version"
        raise DaemonError(msg, status=200) from None
