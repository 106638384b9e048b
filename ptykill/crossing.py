"""From one event loop, in one thread, to another, and back: trio's and asyncio's.

An async function is given to the other loop, and a `concurrent.futures.Future` stands for what
becomes of it. Cancelling the future cancels the function.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

import trio

__all__ = ["carried", "carry_out", "conclude", "wait_for"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def carry_out(
    token: trio.lowlevel.TrioToken,
    future: concurrent.futures.Future[T],
    async_fn: Callable[[*Ts], Awaitable[T]],
    args: tuple[*Ts],
    at_the_end: Callable[[], Exception],
) -> None:
    """Run one function in trio, and give its outcome to whoever asked, if they still want it.

    ``at_the_end`` makes what is raised to those who are waiting when the run comes to its end.
    """
    with trio.CancelScope() as scope:

        def cancel(future: concurrent.futures.Future[T]) -> None:
            if future.cancelled():
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(scope.cancel)

        future.add_done_callback(cancel)
        try:
            value = await async_fn(*args)
        except BaseException as error:  # noqa: BLE001 - SystemExit, too, is for the caller
            # Cancelled by the caller, who has gone and won't see this, or because of the end.
            conclude(future, error=at_the_end() if _is_cancelled(error) else error)
        else:
            conclude(future, value)


def conclude(
    future: concurrent.futures.Future[Any], value: object = None, error: BaseException | None = None
) -> None:
    """Let whoever waits know, unless they have gone."""
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


async def wait_for(future: concurrent.futures.Future[T], *, shielded: bool = False) -> T:
    """Wait in asyncio or in trio; unless ``shielded``, the future is cancelled with the waiter."""
    if trio.lowlevel.in_trio_task():
        return await _wait_in_trio(future, shielded=shielded)
    waiting = asyncio.wrap_future(future)
    return await (asyncio.shield(waiting) if shielded else waiting)


def carried(async_fn: Callable[[*Ts], Awaitable[T]]) -> Callable[[*Ts], Awaitable[T]]:
    """Return a function that runs ``async_fn`` in the loop in which this is called.

    It may be awaited in any other loop, in another thread; cancelling it there cancels
    ``async_fn``.
    """
    if not trio.lowlevel.in_trio_task():
        loop = asyncio.get_running_loop()

        async def run(*args: *Ts) -> T:
            return await async_fn(*args)

        return lambda *args: wait_for(asyncio.run_coroutine_threadsafe(run(*args), loop))
    token = trio.lowlevel.current_trio_token()

    def submit(*args: *Ts) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        token.run_sync_soon(
            trio.lowlevel.spawn_system_task,
            carry_out,
            token,
            future,
            async_fn,
            args,
            trio.ClosedResourceError,
        )
        return future

    return lambda *args: wait_for(submit(*args))


def _is_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled)


async def _wait_in_trio(future: concurrent.futures.Future[T], *, shielded: bool) -> T:
    done = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def wake(_: object) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    future.add_done_callback(wake)
    try:
        await done.wait()
    finally:
        if not shielded:
            future.cancel()
    return future.result()
