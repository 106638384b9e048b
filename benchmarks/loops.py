"""The few functions of an event loop that a host needs, for trio and for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import sniffio
import trio

__all__ = ["LOOPS", "on_asyncio", "pause", "readable", "together"]

LOOPS: dict[str, Callable[[Callable[[], Awaitable[None]]], None]] = {
    "trio": trio.run,
    "asyncio": lambda main: asyncio.run(main()),  # type: ignore[arg-type] # they are coroutines
}
"""How each loop runs an async function."""


def on_asyncio() -> bool:
    """Return whether asyncio is running, not trio."""
    return sniffio.current_async_library() == "asyncio"


async def pause(seconds: float) -> None:
    """Sleep."""
    await (asyncio.sleep if on_asyncio() else trio.sleep)(seconds)


async def readable(fd: int) -> None:
    """Wait until a descriptor is readable."""
    if not on_asyncio():
        return await trio.lowlevel.wait_readable(fd)
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(fd)


async def together(calls: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Run async functions concurrently, and wait for all."""
    if on_asyncio():
        await asyncio.gather(*(call() for call in calls))
        return
    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(call)
