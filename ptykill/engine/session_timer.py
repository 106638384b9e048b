"""Calls a function of each session at its time: one task for all, which does not poll."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

__all__ = ["SessionTimer"]


class SessionTimer:
    """Calls a function of each session at a time of trio's clock; shared by all of them.

    Moving the time of a session's own wait would cost more: trio keeps a heap of deadlines, and
    cancelling a wait raises an exception in its task.
    """

    def __init__(self) -> None:
        self._due: dict[Callable[[float], None], float] = {}
        self._sleep = trio.CancelScope()
        self._wakes_at = math.inf
        self._shield = trio.CancelScope()
        self._closed = False

    def set(self, function: Callable[[float], None], when: float) -> None:
        """Call a function, with the time, at a time of trio's clock; `math.inf` means never.

        This replaces the time that was set for it before. The function must not raise.
        """
        if when == math.inf:
            self._due.pop(function, None)
            return
        self._due[function] = when
        if when < self._wakes_at:
            self._wakes_at = self._sleep.deadline = when

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Make the calls that are due, until `close`. May be run again after an error.

        It is shielded, since sessions are ended by their plans when a supervisor's block is
        cancelled, too.
        """
        with trio.CancelScope(shield=True) as self._shield:
            while not self._closed:
                self._wakes_at = min(self._due.values(), default=math.inf)
                with trio.CancelScope(deadline=self._wakes_at) as self._sleep:
                    await trio.sleep_forever()
                # A busy loop hears of deaths late. It polls at the first checkpoint, and at the
                # second the tasks that hear of a death have run: no step is done for the dead.
                for _ in range(2):
                    await trio.lowlevel.checkpoint()
                self._call_due(trio.current_time())

    def close(self) -> None:
        """End `run`."""
        self._closed = True
        self._shield.cancel()

    def _call_due(self, now: float) -> None:
        for function, when in list(self._due.items()):
            if when <= now and self._due.pop(function, None) is not None:
                function(now)
