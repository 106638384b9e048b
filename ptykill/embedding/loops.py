"""From one event loop, in one thread, to another, and back: trio's and asyncio's.

An async function that is wanted in trio is an `Errand`. Whoever has sent it waits in a way of their
own, and is woken by a plain call, which is the last thing that is done: in one interpreter nobody
else runs before that thread has come to rest. The tasks that run errands are `runners.Runners`.

A caller may stop waiting at any moment: cancelled, or interrupted by a signal. A session or an
attachment that was made for it is ended then, also if the function was done already: nobody else
knows of it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeAlias, TypeVar, TypeVarTuple, cast

import trio

from ptykill import log
from ptykill.engine.caller import made_for
from ptykill.engine.output import Attachment
from ptykill.engine.session import Session
from ptykill.rules.plan import KILL_NOW

__all__ = ["Errand", "Ring", "at_most", "carried", "end_undelivered", "fetch", "wait_for"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Ring: TypeAlias = Callable[[], object]


class Errand(Generic[T]):
    """A function that trio runs for somebody elsewhere, and what has become of it.

    ``ring`` is called, in trio, when that is known. ``at_the_end`` makes what is raised to whoever
    waits when the run comes to its end meanwhile.
    """

    def __init__(
        self,
        async_fn: Callable[[*Ts], Awaitable[T]],
        args: tuple[*Ts],
        ring: Ring,
        at_the_end: Callable[[], BaseException],
    ) -> None:
        self._call: Callable[[], Awaitable[T]] = lambda: async_fn(*args)
        self._ring = ring
        self._at_the_end = at_the_end
        self._scope: trio.CancelScope | None = None
        self._cancelled = False
        self._done = False
        self._taken = False
        self._mark = object()
        self._value: T | None = None
        self._error: BaseException | None = None

    def begin(self, scope: trio.CancelScope) -> None:
        """Have it cancelled by this scope, in which it is going to run; now, if it was already."""
        self._scope = scope
        if self._cancelled:
            scope.cancel()

    async def run_in(self, scope: trio.CancelScope) -> None:
        """Run it in its scope, which nobody is in yet."""
        with scope:
            await self.run()

    async def run(self) -> None:
        """Run it; in trio, and in its scope. Raises nothing, and is cancelled without a word."""
        made_for.set(self._mark)
        try:
            self._value = await self._call()
        except BaseException as error:  # noqa: BLE001 - SystemExit, too, is for the caller
            self._error = self._at_the_end() if _is_cancelled(error) else error
        self._scope = None
        self._done = True
        if self._cancelled:
            self._discard()
        self._ring()

    def refuse(self) -> None:
        """Have it raised that the run has come to its end."""
        self._error = self._at_the_end()
        self._ring()

    def give_up(self, token: trio.lowlevel.TrioToken) -> None:
        """Have it cancelled unless its result was taken: the caller does not wait any more."""
        if not self._taken:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self.cancel)

    def cancel(self) -> None:
        """Cancel it: nobody waits any more. In trio, at any time."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()
        elif self._done:
            self._discard()

    def _discard(self) -> None:
        value, self._value = self._value, None
        _discard(value, self._mark)

    def result(self) -> T:
        """Return or raise what it did; once, and after the ring."""
        error, self._error = self._error, None
        value = self._value
        self._taken = True  # An interrupt before this finds the value where it was.
        self._value = None
        if error is None:
            return cast(T, value)
        try:
            raise error
        finally:
            del error  # It has this frame, which has it.


def _discard(value: object, mark: object) -> None:
    """End what was made for a caller who is gone: what a function returned, or what is in that."""
    for each in value if isinstance(value, tuple | list) else (value,):
        match each:
            case Session() if each.made_for is mark:
                end_undelivered(each)
            case Attachment() if each.made_for is mark:
                each.close()


def end_undelivered(session: Session) -> None:
    """Kill a session whose creator is gone before it was told of it. In trio; does not wait."""
    if session.ended_at is None:
        session.request_end(plan=KILL_NOW)
        log.event(logging.WARNING, "session.undelivered", session_id=session.id, pid=session.pid)


def bell() -> tuple[Ring, Callable[[], Awaitable[object]]]:
    """Return a call that rings, from any thread, and one that waits for it in this loop."""
    if trio.lowlevel.in_trio_task():
        token, rung = trio.lowlevel.current_trio_token(), trio.Event()

        def ring_in_trio() -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(rung.set)

        return ring_in_trio, rung.wait
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()

    def ring() -> None:
        with suppress(RuntimeError):  # The loop is closed, and nobody waits in it.
            loop.call_soon_threadsafe(wake)

    def wake() -> None:
        if not waiting.done():
            waiting.set_result(None)

    return ring, lambda: waiting


async def fetch(
    errand_with: Callable[[Ring], Errand[T]],
    send: Callable[[Errand[T]], object],
    token: trio.lowlevel.TrioToken,
) -> T:
    """Wait in asyncio or in trio for an errand that ``send`` sends off to the run of ``token``.

    Cancelled, it cancels the errand.
    """
    ring, wait = bell()
    errand = errand_with(ring)
    try:
        send(errand)
        await wait()
        return errand.result()
    except BaseException:
        errand.give_up(token)
        raise


async def wait_for(future: concurrent.futures.Future[T]) -> T:
    """Wait in asyncio or in trio; who is cancelled changes nothing for others who wait."""
    ring, wait = bell()
    future.add_done_callback(lambda _: ring())
    await wait()
    return future.result()


def carried(async_fn: Callable[[*Ts], Awaitable[T]]) -> Callable[[*Ts], Awaitable[T]]:
    """Return a function that runs ``async_fn`` in the loop in which this is called.

    It may be awaited in trio, in another thread; cancelling it there cancels ``async_fn``.
    """
    if not trio.lowlevel.in_trio_task():
        loop = asyncio.get_running_loop()

        async def run(*args: *Ts) -> T:
            return await async_fn(*args)

        async def carry(*args: *Ts) -> T:
            future = asyncio.run_coroutine_threadsafe(run(*args), loop)
            try:
                return await wait_for(future)
            finally:
                future.cancel()

        return carry
    token = trio.lowlevel.current_trio_token()

    def carry_in_trio(*args: *Ts) -> Awaitable[T]:
        def errand_with(ring: Ring) -> Errand[T]:
            return Errand(async_fn, args, ring, trio.ClosedResourceError)

        def send(errand: Errand[T]) -> None:
            scope = trio.CancelScope()
            errand.begin(scope)
            token.run_sync_soon(trio.lowlevel.spawn_system_task, errand.run_in, scope)

        return fetch(errand_with, send, token)

    return carry_in_trio


@asynccontextmanager
async def at_most(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError if the block takes longer, in asyncio or in trio."""
    if not trio.lowlevel.in_trio_task():
        async with asyncio.timeout(seconds):
            yield
        return
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise TimeoutError


def _is_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled)
