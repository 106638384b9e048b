"""An alarm that is exact to the microsecond, where trio rounds up to a millisecond.

trio waits with epoll_wait(2), whose timeout is whole milliseconds, so a deadline is met up to a
millisecond late. A timerfd that becomes readable at the right moment wakes the loop, and what is to
be done then is called at once: to cancel a task's wait, and have it do that, takes longer than the
wake-up itself. Where there is no timerfd, or no real time, deadlines have to do.
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import os
import sys
from collections.abc import Callable
from contextlib import suppress

import trio

from ptykill.system.kernel.retry import close
from ptykill.system.readiness import readable

__all__ = ["PreciseTimer"]

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)  # As TFD_*: timerfd_create(2).


class _Timer(ctypes.Structure):
    """struct itimerspec: an interval, which is zero here, and the first expiration."""

    _fields_ = [(name, ctypes.c_long) for name in ("every", "every_ns", "seconds", "ns")]


class PreciseTimer:
    """One timer for all sessions of a supervisor; does nothing where there is no timerfd."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        """Rings for the same time go by this: functions can't be compared."""
        self._fd = -1
        clock = trio.lowlevel.current_clock()
        is_real = 0 < clock.deadline_to_sleep_time(clock.current_time() + 1) <= 1
        if sys.platform == "linux" and is_real:
            self._library = ctypes.CDLL(None)
            with suppress(AttributeError):
                self._fd = self._library.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)

    def call_at(self, when: float, call: Callable[[], None]) -> bool:
        """Have something called at a time of trio's clock, which should be near.

        It must not raise. False if it won't be called; and True is no promise, so a deadline has to
        be set as well.
        """
        if self._fd < 0:
            return False
        heapq.heappush(self._calls, (when, next(self._number), call))
        if self._calls[0][0] == when:
            self._arm()
        return True

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Ring, until cancelled. If this ends by an error, deadlines have to do."""
        if self._fd < 0:
            return
        try:
            while True:
                await readable(self._fd)
                with suppress(OSError):  # EAGAIN; or it is readable still.
                    os.read(self._fd, 8)
                while self._calls and self._calls[0][0] <= trio.current_time():
                    heapq.heappop(self._calls)[2]()
                if self._calls:
                    self._arm()
        finally:
            fd, self._fd = self._fd, -1
            self._calls.clear()
            close(fd)

    def _arm(self) -> None:
        # Never early, since the loop would then go back to sleep for a millisecond, and never
        # zero, which would disarm it.
        ns = 1_000 + max(0, int((self._calls[0][0] - trio.current_time()) * 1e9))
        timer = _Timer(0, 0, *divmod(ns, 1_000_000_000))
        self._library.timerfd_settime(self._fd, 0, ctypes.byref(timer), None)
