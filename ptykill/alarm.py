"""An alarm that wakes the event loop to the microsecond, where trio rounds up to a millisecond.

trio waits with epoll_wait(2), whose timeout is whole milliseconds, so a deadline is met up to a
millisecond late. A timerfd that becomes readable at the right moment wakes the loop, which then
finds the deadline expired. The deadline stays trio's: without the alarm, or with a virtual clock,
everything happens as before, only less exactly.
"""

from __future__ import annotations

import ctypes
import heapq
import os
import sys
from contextlib import suppress

import trio

__all__ = ["Alarm"]

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)  # As TFD_*: timerfd_create(2).


class _Timer(ctypes.Structure):
    """struct itimerspec: an interval, which is zero here, and the first expiration."""

    _fields_ = [(name, ctypes.c_long) for name in ("every", "every_ns", "seconds", "ns")]


class Alarm:
    """One timer for all sessions of a supervisor; does nothing where there is no timerfd."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._fd = -1
        if sys.platform == "linux":
            self._library = ctypes.CDLL(None)
            with suppress(AttributeError):
                self._fd = self._library.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)

    def ring_at(self, when: float) -> None:
        """Wake the loop at a time of trio's clock, which should be near."""
        if self._fd >= 0:
            heapq.heappush(self._times, when)
            if self._times[0] == when:
                self._arm()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Take the rings, until cancelled. That they wake the loop is all they are for."""
        if self._fd < 0:
            return
        try:
            while True:
                await trio.lowlevel.wait_readable(self._fd)
                with suppress(BlockingIOError):
                    os.read(self._fd, 8)
                # The time that it rang for is gone, even if a virtual clock does not know that.
                if self._times:
                    heapq.heappop(self._times)
                while self._times and self._times[0] <= trio.current_time():
                    heapq.heappop(self._times)
                if self._times:
                    self._arm()
        finally:
            os.close(self._fd)
            self._fd = -1

    def _arm(self) -> None:
        # Never early, since the loop would then go back to sleep for a millisecond, and never
        # zero, which would disarm it.
        ns = 1_000 + max(0, int((self._times[0] - trio.current_time()) * 1e9))
        timer = _Timer(0, 0, *divmod(ns, 1_000_000_000))
        self._library.timerfd_settime(self._fd, 0, ctypes.byref(timer), None)
