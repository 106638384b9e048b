"""Timers that are descriptors (timerfd_create(2)): exact to some microseconds. Linux only.

Python offers them since 3.13; before that, ctypes does.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["create", "start"]

_CLOCK_MONOTONIC = 1
_FLAGS = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
"""TFD_NONBLOCK and TFD_CLOEXEC, which have the values of these (timerfd_create(2))."""
_library = ctypes.CDLL(None)


class _Times(ctypes.Structure):
    """struct itimerspec: the interval, which is zero here, and the first expiration."""

    _fields_ = [(name, ctypes.c_long) for name in ("every", "every_ns", "seconds", "ns")]


def _create_by_ctypes() -> int:
    try:
        return int(_library.timerfd_create(_CLOCK_MONOTONIC, _FLAGS))
    except AttributeError:  # No Linux.
        return -1


def _start_by_ctypes(fd: int, ns: int) -> None:
    times = _Times(0, 0, *divmod(ns, 1_000_000_000))
    _library.timerfd_settime(fd, 0, ctypes.byref(times), None)


def create() -> int:
    """Return the descriptor of a new timer, which is not started; -1 if there is none to be had."""
    if sys.version_info >= (3, 13) and sys.platform == "linux":
        try:
            return os.timerfd_create(_CLOCK_MONOTONIC, flags=_FLAGS)
        except OSError:
            return -1
    return _create_by_ctypes()


def start(fd: int, ns: int) -> None:
    """Have a timer become readable once, in ``ns`` nanoseconds; 0 stops it. Never waits."""
    if sys.version_info >= (3, 13) and sys.platform == "linux":
        os.timerfd_settime_ns(fd, initial=ns)
    else:
        _start_by_ctypes(fd, ns)
