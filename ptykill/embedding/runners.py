"""Tasks that run errands for other threads: one of them leads, and another follows.

The one that leads waits for an errand, lets another lead, and runs it. So an errand is begun in the
pass of the loop that it has woken, with no task and no scope to be made for it first, and what has
to be made ready for the next one is made while this one waits. trio's own way into a run
(`trio.lowlevel.TrioToken`) takes two passes more.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import trio

from ptykill.embedding.loops import Errand
from ptykill.system.kernel.retry import again, close
from ptykill.system.readiness import readable

__all__ = ["Runners", "open_runners"]


class Runners:
    """The tasks, in a nursery of theirs, and the errands that nobody has begun."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._given: deque[tuple[Errand[Any], contextvars.Context]] = deque()
        self._follower: trio.lowlevel.Task | None = None
        self._open = True
        # A signal's handler may give an errand while its thread is giving one.
        self._lock = threading.RLock()
        self._heard, self._bell = os.pipe()
        os.set_blocking(self._heard, False)
        os.set_blocking(self._bell, False)
        nursery.start_soon(self._stand_by)

    def give(self, errand: Errand[Any], context: contextvars.Context) -> None:
        """Have an errand run, with these context variables. From any thread.

        Raises `trio.RunFinishedError` once they are closed.
        """
        with self._lock:  # The pipe's number could become another's.
            if not self._open:
                raise trio.RunFinishedError
            given = errand, context
            self._given.append(given)
            try:
                again(lambda: os.write(self._bell, b"\0"))
            except BlockingIOError:
                return  # It is full: it rings.
            except OSError:
                with suppress(ValueError):  # It has been begun, for another that rang.
                    self._given.remove(given)
                    raise

    def close(self) -> None:
        """Refuse what has not begun, and what comes later."""
        with self._lock:
            self._open = False
        while self._given:
            self._given.popleft()[0].refuse()

    def give_back(self) -> None:
        """Close the pipe, when there is no task any more."""
        close(self._heard)
        close(self._bell)

    async def _stand_by(self) -> None:
        """Lead, run what there is, follow; and leave if somebody else follows by then."""
        while True:
            with trio.CancelScope() as scope:
                await self._errand_given()
                errand, context = self._given.popleft()
                self._let_another_lead()
                errand.begin(scope)
                for variable, value in context.items():
                    variable.set(value)
                await errand.run()
                # Whoever gave it may run now, and in one interpreter waits for this thread to
                # rest: the scope is left later. Nobody can cancel it any more; who has, has ended
                # the use of it.
                if self._follower is not None or scope.cancel_called:
                    return
                await self._follow()

    async def _errand_given(self) -> None:
        while not self._given:
            await readable(self._heard)
            # Before the look: what is given after that rings again.
            with suppress(OSError):  # EAGAIN; or it rings on.
                os.read(self._heard, 4096)

    def _let_another_lead(self) -> None:
        if self._follower is None:
            self._nursery.start_soon(self._stand_by)
        else:
            trio.lowlevel.reschedule(self._follower)
            self._follower = None

    async def _follow(self) -> None:
        self._follower = trio.lowlevel.current_task()
        # It goes on with no variables: those of one caller are not another's.
        self._follower.context = contextvars.Context()
        await trio.lowlevel.wait_task_rescheduled(self._leave)

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self._follower = None
        return trio.lowlevel.Abort.SUCCEEDED


@asynccontextmanager
async def open_runners() -> AsyncIterator[Runners]:
    """Have errands run as long as the block lasts; those that are not done then are cancelled."""
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            runners = Runners(nursery)
            stack.callback(runners.give_back)
            try:
                yield runners
            finally:
                runners.close()
                nursery.cancel_scope.cancel()
