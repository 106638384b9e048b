"""Wakes up at the earliest deadline of all sessions: one timer, and none while none is near."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

__all__ = ["DeadlineTimer"]


class DeadlineTimer:
    """Calls a function of each session when its deadline is due; one for each supervisor."""

    def __init__(self) -> None:
        self._due: dict[Callable[[float], None], float] = {}
        self._sleep = trio.CancelScope()

    def set(self, function: Callable[[float], None], when: float) -> None:
        """Call a function, with the time, at a time of trio's clock; `math.inf` means never.

        This replaces the time that was set for it before. The function must not raise.
        """
        if when == math.inf:
            self._due.pop(function, None)
        else:
            self._due[function] = when
            self._sleep.deadline = min(self._sleep.deadline, when)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Make the calls that are due, until cancelled. May be run again."""
        while True:
            earliest = min(self._due.values(), default=math.inf)
            with trio.CancelScope(deadline=earliest) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            for function, when in list(self._due.items()):
                if when <= now and self._due.pop(function, None) is not None:
                    function(now)
