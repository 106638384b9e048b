"""Calls functions on time to some microseconds; trio's deadlines are up to a millisecond late.

trio waits with epoll_wait(2), whose timeout is in whole milliseconds, rounded up. A timerfd that
becomes readable at the right moment wakes the loop on time, and the timer's task calls the function
at once. Cancelling another task's wait, so that it does the work, takes longer than the wake-up
itself. The timer makes the teardown of a session that ignores every signal but SIGKILL 0.75 ms
shorter; nothing else uses it. Without a timerfd, or with a virtual clock, `call_at` returns False,
and the caller's deadline does the work.
"""

from __future__ import annotations

import heapq
import itertools
import os
from collections.abc import Callable
from contextlib import suppress

import trio

from ptykill.system.kernel import timerfd
from ptykill.system.kernel.retry import close
from ptykill.system.readiness import readable

__all__ = ["PreciseTimer"]


class PreciseTimer:
    """Calls functions at times of trio's clock; one for all sessions of a supervisor."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        """Orders calls for the same time, since functions can't be compared."""
        clock = trio.lowlevel.current_clock()
        is_real = 0 < clock.deadline_to_sleep_time(clock.current_time() + 1) <= 1
        self._fd = timerfd.create() if is_real else -1

    def call_at(self, when: float, function: Callable[[], None]) -> bool:
        """Call a function at a time that is near; return False if it won't be called.

        The function must not raise. True is no promise: set a later deadline as well.
        """
        if self._fd < 0:
            return False
        heapq.heappush(self._calls, (when, next(self._number), function))
        if self._calls[0][0] == when:
            self._start()
        return True

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Make the calls that are due, until cancelled. After an error `call_at` returns False."""
        if self._fd < 0:
            return
        try:
            while True:
                await readable(self._fd)
                with suppress(OSError):  # EAGAIN, or another error, after which it stays readable.
                    os.read(self._fd, 8)
                while self._calls and self._calls[0][0] <= trio.current_time():
                    heapq.heappop(self._calls)[2]()
                if self._calls:
                    self._start()
        finally:
            fd, self._fd = self._fd, -1
            self._calls.clear()
            close(fd)

    def _start(self) -> None:
        # 1 µs is added: the loop would sleep for another millisecond if it woke too early, and a
        # zero would stop the timer.
        ns = 1_000 + max(0, int((self._calls[0][0] - trio.current_time()) * 1e9))
        timerfd.start(self._fd, ns)
