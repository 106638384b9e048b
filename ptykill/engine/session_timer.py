"""Calls a function of each session at its time: one task for all, which does not poll."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import suppress

import trio

__all__ = ["SessionTimer"]

_PASSES = 2
"""Passes in which a loop hears of deaths: it polls in one, and acts on that in the next."""


class SessionTimer:
    """Calls a function of each session at a time of trio's clock; shared by all of them.

    Moving the time of a session's own wait would cost more: trio keeps a heap of deadlines, and
    cancelling a wait raises an exception in its task.
    """

    def __init__(self) -> None:
        self._calls: dict[Callable[[float], None], _Call] = {}
        self._sleep = trio.CancelScope()
        self._wakes_at = math.inf
        self._shield = trio.CancelScope()
        self._closed = False

    def set(self, function: Callable[[float], None], when: float, until: float = -math.inf) -> None:
        """Call a function, with the time, at a time of trio's clock; `math.inf` means never.

        This replaces the time that was set for it before. With ``until`` a busy loop hears of
        deaths first: it makes two more passes, but no more from that time on.
        """
        if when == math.inf:
            self._calls.pop(function, None)
            return
        self._calls[function] = _Call(when, until)
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
                self._wakes_at = min((each.when for each in self._calls.values()), default=math.inf)
                with trio.CancelScope(deadline=self._wakes_at) as self._sleep:
                    await trio.sleep_forever()
                self._call_due(trio.current_time())

    def close(self) -> None:
        """End `run`."""
        self._closed = True
        self._shield.cancel()

    def _call_due(self, now: float) -> None:
        for function, call in list(self._calls.items()):
            if call.when > now or self._calls.get(function) is not call:
                continue
            if call.until > now and call.passes < _PASSES:
                call.passes += 1
                continue
            del self._calls[function]
            # The drivers catch and log errors. One of that code must not keep the steps of other
            # sessions from being done, either.
            with suppress(BaseException):
                function(now)


@dataclasses.dataclass(slots=True, eq=False)
class _Call:
    """When a function is called, and how many passes of the loop it has waited for."""

    when: float
    until: float
    passes: int = 0
