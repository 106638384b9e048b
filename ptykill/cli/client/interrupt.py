"""Turn Ctrl-C into a cancellation, for commands that wait for a daemon."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import trio

__all__ = ["interruptible"]

T = TypeVar("T")


async def interruptible(async_fn: Callable[[], Awaitable[T]]) -> T:
    """Run an async function; SIGINT cancels it, and KeyboardInterrupt is raised.

    By default Python raises KeyboardInterrupt in whatever code runs. In the callback of a weak
    reference, as trio and the HTTP libraries have them, Python only prints it and goes on: the
    command would never end.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # Set by a shell for background jobs.
        return await async_fn()
    scope, failures, values = trio.CancelScope(), list[BaseException](), list[T]()
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_the_first, signals, scope)
            with scope:
                try:
                    values.append(await async_fn())
                except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
                    failures.append(error)  # Raised below: the nursery would wrap it in a group.
            nursery.cancel_scope.cancel()
    if scope.cancelled_caught:
        raise KeyboardInterrupt
    for failure in failures:
        raise failure
    return values[0]


async def _cancel_at_the_first(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
