"""Waiting in one event loop for another: the same functions for asyncio and for trio.

Each function here looks at the loop that it is called in. A `Call` is how one loop has a function
run in the other.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar, TypeVarTuple

import trio

from ptykill.embedding.call import Call, RunSoon, Wake

__all__ = ["finish", "in_this_loop", "time_limit", "wait_for_call", "wait_for_future"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def _waker() -> tuple[Wake, Callable[[], Awaitable[object]]]:
    """Return a function that wakes this task from any thread, and one that waits for that."""
    if trio.lowlevel.in_trio_task():
        token, woken = trio.lowlevel.current_trio_token(), trio.Event()

        def wake_in_trio() -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(woken.set)

        return wake_in_trio, woken.wait
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        with suppress(RuntimeError):  # The loop is closed, so no task waits in it.
            loop.call_soon_threadsafe(set_woken)

    def set_woken() -> None:
        if not waiting.done():
            waiting.set_result(None)

    return wake, lambda: waiting


async def wait_for_call(
    make: Callable[[Wake], Call[T]],
    send: Callable[[Call[T]], object],
    run_soon: RunSoon,
) -> T:
    """Send a call to a trio run, wait for it, and return or raise its result.

    Cancelling this cancels the call, by ``run_soon``.
    """
    wake, wait = _waker()
    call = make(wake)
    try:
        send(call)
        await wait()
        return call.result()
    except BaseException:
        call.abandon(run_soon)
        raise


async def wait_for_future(future: concurrent.futures.Future[T]) -> T:
    """Wait for another thread's future. Cancelling this leaves the future as it is."""
    wake, wait = _waker()
    future.add_done_callback(lambda _: wake())
    await wait()
    return future.result()


def in_this_loop(async_fn: Callable[[*Ts], Awaitable[T]]) -> Callable[[*Ts], Awaitable[T]]:
    """Return a function that runs ``async_fn`` in the loop in which `in_this_loop` was called.

    It may be awaited in trio, in another thread; cancelling it there cancels ``async_fn``.
    """
    if not trio.lowlevel.in_trio_task():
        loop = asyncio.get_running_loop()

        async def run(*args: *Ts) -> T:
            return await async_fn(*args)

        async def run_in_asyncio(*args: *Ts) -> T:
            future = asyncio.run_coroutine_threadsafe(run(*args), loop)
            try:
                return await wait_for_future(future)
            finally:
                future.cancel()

        return run_in_asyncio
    token = trio.lowlevel.current_trio_token()

    def run_in_trio(*args: *Ts) -> Awaitable[T]:
        def make(wake: Wake) -> Call[T]:
            return Call(async_fn, args, wake, trio.ClosedResourceError)

        def send(call: Call[T]) -> None:
            scope = trio.CancelScope()
            call.begin(scope)
            token.run_sync_soon(trio.lowlevel.spawn_system_task, call.run_in, scope)

        return wait_for_call(make, send, token.run_sync_soon)

    return run_in_trio


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError if the block takes longer, in asyncio or in trio."""
    if not trio.lowlevel.in_trio_task():
        async with asyncio.timeout(seconds):
            yield
        return
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise TimeoutError


async def finish(function: Callable[[], Awaitable[T]]) -> T:
    """Await what a function returns to its end, even if this task is cancelled meanwhile.

    It has to be bounded in time, and may be called again: the end of `asyncio.run` cancels every
    task, also the one that awaits it here. In asyncio the cancellation is raised after that.
    """
    if trio.lowlevel.in_trio_task():
        with trio.CancelScope(shield=True):
            return await function()
    waited: asyncio.Future[T] = asyncio.ensure_future(_awaited(function))
    cancelled: asyncio.CancelledError | None = None
    while not waited.done():
        try:
            await asyncio.wait([waited])
        except asyncio.CancelledError as error:
            cancelled = error
        if waited.cancelled():
            waited = asyncio.ensure_future(_awaited(function))
    if cancelled is not None:
        waited.exception()  # Else asyncio would log that nobody has asked for it.
        raise cancelled
    return waited.result()


async def _awaited(function: Callable[[], Awaitable[T]]) -> T:
    return await function()
