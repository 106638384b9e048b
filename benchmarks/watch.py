"""When processes die, as seen from outside: by pidfds of their own, whatever a system says."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Watch", "members", "sessions"]


class Watch:
    """Processes, and when each has died; its epoll is readable when one has.

    ``noting`` False only holds them, so that nobody is woken by a death.
    """

    def __init__(self, pids: Iterable[int], *, noting: bool = True) -> None:
        self.died: dict[int, int] = {}
        """The time (monotonic, ns) at which this process was told of a death."""
        self._epoll = select.epoll()
        self._alive: dict[int, tuple[int, int]] = {}
        for pid in pids:
            with suppress(ProcessLookupError):
                fd = os.pidfd_open(pid)
                self._alive[fd] = pid, fd
                if noting:
                    self._epoll.register(fd, select.EPOLLIN)

    def fileno(self) -> int:
        """Return what is readable when somebody has died."""
        return self._epoll.fileno()

    def note(self, within: float = 0.0) -> None:
        """Note who has died, or dies within so many seconds."""
        deaths = self._epoll.poll(within, 2000)
        now = time.perf_counter_ns()
        for fd, _ in deaths:
            self._epoll.unregister(fd)
            self.died[self._alive[fd][0]] = now

    def wait(self, within: float) -> None:
        """Note deaths until all are dead, or it is time."""
        until = time.monotonic() + within
        while self.alive and (left := until - time.monotonic()) > 0:
            self.note(left)

    @property
    def alive(self) -> list[int]:
        """Who has not been seen to die."""
        return [pid for pid, _ in self._alive.values() if pid not in self.died]

    def there(self, pid: int) -> bool:
        """Return whether a process is there, if only as a zombie: False once it is reaped."""
        return any(signalled(fd, 0) for of, fd in self._alive.values() if of == pid)

    def __enter__(self) -> Self:
        """Return the watch itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nobody alive."""
        for _, fd in self._alive.values():
            signalled(fd, signal.SIGKILL)
            os.close(fd)
        self._epoll.close()


def signalled(pidfd: int, number: int) -> bool:
    """Send a signal (0: none) and return whether the process is there, if only as a zombie."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def sessions() -> dict[int, list[int]]:
    """Return the pids of each session of the machine."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(ProcessLookupError):
                found.setdefault(os.getsid(int(entry.name)), []).append(int(entry.name))
    return found


def members(leaders: Iterable[int]) -> list[int]:
    """Return who is in the sessions of these processes."""
    by_number = sessions()
    return [pid for leader in leaders for pid in by_number.get(os.getsid(leader), [])]
