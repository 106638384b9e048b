"""A lull, in which what ended sessions held is given back, and got ready what the next one needs.

To close what a session held takes as long as to end one. Done at once, it would keep others waiting
whose end is under way, and in another thread the one who has just been answered: an interpreter
goes to another thread when this one has come to rest (`sys.setswitchinterval` says within which
time else). To start another keeper at once would keep the program waiting that was just spawned.
"""

from __future__ import annotations

import math

import trio

__all__ = ["Lull"]

_QUIET = 0.005
"""Seconds in which nobody else has begun to wait: that is a lull."""
_LONGEST = 0.1
"""Seconds after which it is put off no more, however much is going on: descriptors are held."""


class Lull:
    """One for all sessions of a supervisor. There is no timer, and no wake-up, while none waits."""

    def __init__(self) -> None:
        self._waiting = 0
        self._nap = trio.CancelScope()
        self._here = trio.Event()
        self._closed = False

    async def wait(self) -> None:
        """Wait for the next one; not at all once the supervisor is being left.

        Nothing is done before those who have just been answered go on, in this thread or another:
        no task is woken yet.
        """
        if not self._closed:
            self._waiting += 1
            if self._waiting == 1:
                self._nap.deadline = trio.current_time() + _QUIET
            await self._here.wait()

    async def come_early(self) -> bool:
        """Return once those who wait have given back what they hold; False if nobody waits."""
        for _ in range(2):  # Whose session has just ended is here by then (`Driver`).
            await trio.lowlevel.checkpoint()
        if not self._waiting:
            return False
        self._come()
        for _ in range(2):  # They are woken in the first pass of the loop from here.
            await trio.lowlevel.checkpoint()
        return True

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Tell those who wait when there is one, until cancelled. May be called again then."""
        self._closed = False
        try:
            while True:
                soon = trio.current_time() + _QUIET if self._waiting else math.inf
                with trio.CancelScope(deadline=soon) as self._nap:
                    await trio.sleep_forever()
                before, until = 1, trio.current_time() + _LONGEST - _QUIET
                while self._waiting > before and trio.current_time() < until:
                    before = self._waiting
                    await trio.sleep(_QUIET)
                self._come()
        finally:
            self._closed = True
            self._come()

    def _come(self) -> None:
        self._waiting = 0
        self._here.set()
        self._here = trio.Event()
