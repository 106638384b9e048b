"""Detects a client that disconnects while its request is carried out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import trio

from ptykill.http.asgi_types import Receive

__all__ = ["watch_disconnect"]

_PASSES = 3
"""Passes of the event loop that ``receive`` needs for a message that has already arrived."""
_CANCEL_TIMEOUT = 1.0
"""Time-out for a server's ``receive`` to end when it is cancelled, in seconds."""


@asynccontextmanager
async def watch_disconnect(receive: Receive) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Call ``receive`` in the background; yield a function that returns if the client disconnected.

    Use it when the whole request has been received: the next message is ``http.disconnect`` then.
    Until that message arrives, the client counts as connected: some servers never send it, or fail.
    """
    received: list[object] = []

    async def look() -> None:
        with suppress(Exception):  # After any error the answer is sent all the same.
            received.append((await receive())["type"])

    in_trio = trio.lowlevel.in_trio_task()

    async def left() -> bool:
        for _ in range(_PASSES):
            if in_trio:
                await trio.lowlevel.checkpoint()
            else:
                await asyncio.sleep(0)
        return "http.disconnect" in received

    if in_trio:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            yield left
            nursery.cancel_scope.cancel()
        return
    looking = asyncio.create_task(look())
    try:
        yield left
    finally:
        looking.cancel()
        await asyncio.wait([looking], timeout=_CANCEL_TIMEOUT)
