"""Ctrl-C as a cancellation, for commands that wait for a daemon."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import trio

__all__ = ["interruptible"]

T = TypeVar("T")


async def interruptible(async_fn: Callable[[], Awaitable[T]]) -> T:
    """Run an async function; SIGINT cancels it. Raises KeyboardInterrupt then.

    A KeyboardInterrupt is otherwise raised wherever code happens to run. Where that is the callback
    of a weak reference, as there are in trio and the libraries below HTTP, Python prints it and
    goes on, and whoever pressed Ctrl-C waits for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # As a shell has it in the background.
        return await async_fn()
    scope, failures, values = trio.CancelScope(), list[BaseException](), list[T]()
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_the_first, signals, scope)
            with scope:
                try:
                    values.append(await async_fn())
                except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
                    failures.append(error)  # Raised below, and not in a group.
            nursery.cancel_scope.cancel()
    if scope.cancelled_caught:
        raise KeyboardInterrupt
    for failure in failures:
        raise failure
    return values[0]


async def _cancel_at_the_first(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
