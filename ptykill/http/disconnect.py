"""Detects a client that disconnects while its request is carried out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import trio

from ptykill.http.asgi_types import Receive

__all__ = ["watch_disconnect"]

_PASSES = 3
"""Passes of the event loop in which a message that is there already is received."""
_CANCEL_TIMEOUT = 1.0
"""Seconds that a server's ``receive`` has to end when it is cancelled."""


@asynccontextmanager
async def watch_disconnect(receive: Receive) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Have ``receive`` called once, beside the block; return what tells that the client has left.

    For use when all of a request has been received: what comes then is ``http.disconnect``. It is
    only believed when it comes: a server that has none, or fails, tells nothing.
    """
    told: list[object] = []

    async def look() -> None:
        with suppress(Exception):  # Whatever it is, the answer is sent, and fails or not.
            told.append((await receive())["type"])

    in_trio = trio.lowlevel.in_trio_task()

    async def left() -> bool:
        for _ in range(_PASSES):
            if in_trio:
                await trio.lowlevel.checkpoint()
            else:
                await asyncio.sleep(0)
        return "http.disconnect" in told

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
