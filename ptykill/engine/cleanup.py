"""Defers closing descriptors, and preparing the next spawn, until the loop is idle.

Closing a session's descriptors takes as long as ending one. Done at once, it would delay other
sessions whose end is under way. It would also delay the caller who has just got a verdict, if that
caller runs in another thread: an interpreter switches threads when the running one blocks, or else
after `sys.getswitchinterval`. Starting another keeper at once would delay the program that was
just spawned.
"""

from __future__ import annotations

import math

import trio

__all__ = ["DeferredCleanup"]

_IDLE_AFTER = 0.005
"""The loop counts as idle when no task has called `wait_idle` for so many seconds."""
_MAX_DELAY = 0.1
"""Seconds after which cleanup runs however busy the loop is: sessions hold descriptors."""


class DeferredCleanup:
    """Wakes the tasks that wait to clean up, once the loop is idle; one for each supervisor.

    It has no timer, and wakes nothing, while no task waits.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._sleep = trio.CancelScope()
        self._idle = trio.Event()
        self._closed = False

    async def wait_idle(self) -> None:
        """Wait until the loop is idle; return at once when the supervisor is being left.

        The callers who have just got a verdict run before that, in this thread or in another,
        because no waiting task is woken yet.
        """
        if not self._closed:
            self._waiting += 1
            if self._waiting == 1:
                self._sleep.deadline = trio.current_time() + _IDLE_AFTER
            await self._idle.wait()

    async def run_now(self) -> bool:
        """Let the waiting tasks clean up now, and wait for that; return False if there are none."""
        if not self._waiting:
            return False
        self._wake_all()
        for _ in range(2):  # They run in the next pass of the loop, before or after this task.
            await trio.lowlevel.checkpoint()
        return True

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Wake the waiting tasks whenever the loop is idle, until cancelled. May be run again."""
        self._closed = False
        try:
            while True:
                when = trio.current_time() + _IDLE_AFTER if self._waiting else math.inf
                with trio.CancelScope(deadline=when) as self._sleep:
                    await trio.sleep_forever()
                before, until = 1, trio.current_time() + _MAX_DELAY - _IDLE_AFTER
                while self._waiting > before and trio.current_time() < until:
                    before = self._waiting
                    await trio.sleep(_IDLE_AFTER)
                self._wake_all()
        finally:
            self._closed = True
            self._wake_all()

    def _wake_all(self) -> None:
        self._waiting = 0
        self._idle.set()
        self._idle = trio.Event()
