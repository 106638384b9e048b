"""One call: a function that a trio run executes for a caller in another thread, and its result.

The caller waits in its own way, in a thread, in asyncio or in another trio run. `Call` wakes it by
a plain function, ``wake``, and does nothing after that. So the caller's thread can take the
interpreter's lock (the GIL) as soon as the trio thread waits.

A caller can stop waiting at any moment: it is cancelled, or interrupted by a signal. Then no code
has the session or attachment that the function has made, so `Call` ends it, even if the function
had already returned; and gives back output that it has received.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeAlias, TypeVar, TypeVarTuple, cast

import trio

from ptykill import log
from ptykill.engine.attachment import Attachment
from ptykill.engine.caller import Caller, claimed, current_call, made_in, release
from ptykill.engine.session import Session
from ptykill.rules.plan import KILL_NOW

__all__ = ["Call", "RunSoon", "Wake", "end_undelivered"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Wake: TypeAlias = Callable[[], object]
RunSoon: TypeAlias = Callable[[Callable[[], object]], object]

RETRY_SECONDS = 60.0
"""How long a session with an idempotency key waits for a creator that left to try again."""


class Call(Generic[T]):
    """A function that trio runs for a caller elsewhere, and what it returned or raised.

    ``function`` may be plain or async. ``wake`` is called, in trio, once the result is there.
    ``at_the_end`` makes the error that the caller gets if the trio run ends before that.
    """

    def __init__(
        self,
        function: Callable[[*Ts], object],
        args: tuple[*Ts],
        wake: Wake,
        at_the_end: Callable[[], BaseException],
    ) -> None:
        self._function: Callable[[], object] = lambda: function(*args)
        self._wake = wake
        self._at_the_end = at_the_end
        self._scope: trio.CancelScope | None = None
        self._cancelled = False
        self._done = False
        self._taken = False
        self._identity = Caller()
        """What sessions and attachments made by this call are known by."""
        self._value: T | None = None
        self._error: BaseException | None = None

    def begin(self, scope: trio.CancelScope) -> None:
        """Let `cancel` cancel this scope, in which the call will run; cancel now if that is due."""
        self._scope = scope
        if self._cancelled:
            scope.cancel()

    async def run_in(self, scope: trio.CancelScope) -> None:
        """Run the function inside a scope that was given to `begin` and is not entered yet."""
        with scope:
            await self.run()

    async def run(self) -> None:
        """Run the function, in trio and inside its scope. Raises nothing, not even Cancelled."""
        current_call.set(self._identity)
        try:
            value = self._function()
            self._value = cast(T, await value if isinstance(value, Awaitable) else value)
        except BaseException as error:  # noqa: BLE001 - SystemExit, too, is for the caller
            self._error = self._at_the_end() if _is_cancelled(error) else error
        self._scope = None
        self._done = True
        if self._cancelled:
            self._discard()
        self._wake()

    def refuse(self) -> None:
        """Answer with the error that says that the trio run has ended."""
        self._error = self._at_the_end()
        self._wake()

    def abandon(self, run_soon: RunSoon) -> None:
        """Cancel the call, from any thread, unless the caller has its result already.

        ``run_soon`` has the trio run call a plain function.
        """
        if not self._taken:
            with suppress(trio.RunFinishedError):
                run_soon(self.cancel)

    def cancel(self) -> None:
        """Cancel the call, in trio, at any time: the caller does not wait any more."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()
        elif self._done:
            self._discard()

    def _discard(self) -> None:
        value, self._value = self._value, None
        self._identity.give_back(value)
        _discard(value, self._identity)

    def result(self) -> T:
        """Return or raise the result; once, and after ``wake`` was called."""
        error, self._error = self._error, None
        value = self._value
        self._taken = True  # An interrupt before this line leaves the value to `abandon`.
        self._value = None
        if error is None:
            return cast(T, value)
        try:
            raise error
        finally:
            del error  # The error refers to this frame, and the frame would refer to the error.


def _discard(value: object, call: object) -> None:
    """End the sessions and attachments that a call has made and returned, alone or in a list."""
    for each in value if isinstance(value, tuple | list) else (value,):
        match each:
            case Session() if made_in(each, call):
                end_undelivered(each, call)
            case Attachment() if made_in(each, call):
                each.close()


def end_undelivered(session: Session, call: object = None) -> None:
    """Kill a session whose creator left before it got the session. In trio; does not wait.

    ``call`` is the call that has made it. A session with an idempotency key lives on while another
    call has a claim to it, and for `RETRY_SECONDS` after the last: its creator may try again.
    """
    if not release(session, call):
        return
    if session.key is None:
        _kill(session)
    else:
        trio.lowlevel.spawn_system_task(_kill_unclaimed, session)


async def _kill_unclaimed(session: Session) -> None:
    with trio.move_on_after(RETRY_SECONDS):
        await session.wait()
    if not claimed(session):
        _kill(session)


def _kill(session: Session) -> None:
    if session.ended_at is None:
        session.request_end(plan=KILL_NOW)
        log.event(logging.WARNING, "session.undelivered", session_id=session.id, pid=session.pid)


def _is_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled)
