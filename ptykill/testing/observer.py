"""Watch processes die from outside, whatever the program that ends them claims.

An `Observer` holds a pidfd of each process. A pidfd stays with its process, so an observer never
takes another process with the same pid for it. Nothing of ptykill is used here.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

__all__ = ["Observer"]

_PIDFD_GET_INFO: Final = 3 << 30 | 64 << 16 | 0xFF << 8 | 11
"""_IOWR(0xFF, 11, struct pidfd_info), of 64 bytes in its first version (linux/pidfd.h)."""
_PIDFD_INFO_EXIT: Final = 1 << 3
_MOST_EVENTS: Final = 2000


class Observer:
    """Holds processes by pidfd, and records when each dies. A process that has gone is left out.

    ``died`` has the time (`time.perf_counter_ns`) at which this process learned of each death.
    ``records`` False only holds them: then no death wakes this process. ``kills`` sends SIGKILL to
    each process that is alive when the observer is closed.
    """

    def __init__(self, pids: Iterable[int], *, records: bool = True, kills: bool = False) -> None:
        self.died: dict[int, int] = {}
        self._kills = kills
        self._epoll = select.epoll()
        self._fds: dict[int, int] = {}
        """The pidfd of each process, by its pid."""
        self._pids: dict[int, int] = {}
        """The pid of each process, by its pidfd."""
        self._thread: threading.Thread | None = None
        self._stop = -1
        for pid in pids:
            with suppress(ProcessLookupError):
                fd = os.pidfd_open(pid)
                self._fds[pid], self._pids[fd] = fd, pid
                if records:
                    self._epoll.register(fd, select.EPOLLIN)

    @property
    def pids(self) -> set[int]:
        """The pids of all processes that are held."""
        return set(self._fds)

    @property
    def alive(self) -> list[int]:
        """The pids whose death has not been recorded. Call `record` first to ask the kernel."""
        return [pid for pid in self._fds if pid not in self.died]

    def survivors(self) -> list[str]:
        """Ask the kernel which processes live now; return the pid and name of each."""
        names = {pid: _name(pid) for pid in self._fds}
        # The name was read while the process was there: it is alive after that.
        return [f"{pid} {names[pid]}" for pid, fd in self._fds.items() if not _dead(fd)]

    def fileno(self) -> int:
        """Return a descriptor that is readable when a death can be recorded."""
        return self._epoll.fileno()

    def record(self, timeout: float | None = 0.0) -> None:
        """Record deaths; wait up to ``timeout`` seconds for the first (None: for ever)."""
        deaths = self._epoll.poll(timeout, _MOST_EVENTS)
        now = time.perf_counter_ns()
        for fd, _ in deaths:
            if fd != self._stop:
                self.died.setdefault(self._pids[fd], now)
                # The thread below and its caller may get the same event.
                with suppress(FileNotFoundError):
                    self._epoll.unregister(fd)

    def wait(self, timeout: float) -> bool:
        """Record deaths until all are dead, or for ``timeout`` seconds; return which it was."""
        until = time.monotonic() + timeout
        while self.alive and (left := until - time.monotonic()) > 0:
            self.record(left)
        return not self.alive

    def record_in_thread(self) -> None:
        """Record deaths in a thread, until all are dead or the observer is closed."""
        self._stop = os.eventfd(0)
        self._epoll.register(self._stop, select.EPOLLIN)
        self._thread = threading.Thread(target=self._record_all, name="observer", daemon=True)
        self._thread.start()

    def _record_all(self) -> None:
        while self.alive and not _dead(self._stop):
            self.record(None)

    def exists(self, pid: int) -> bool:
        """Return whether a process is there, perhaps as a zombie: False once it is reaped."""
        return pid in self._fds and _send(self._fds[pid], 0)

    def cause(self, pid: int) -> str | None:
        """Return what a dead process died of: ``SIGHUP``, ``exit 0``; None if it can't be known."""
        status = _wait_status(pid, self._fds[pid])
        if status is None:
            return None
        number = os.waitstatus_to_exitcode(status)
        return f"exit {number}" if number >= 0 else signal.Signals(-number).name

    def kill(self) -> None:
        """Send SIGKILL to each process that is alive."""
        for fd in self._fds.values():
            _send(fd, signal.SIGKILL)

    def close(self) -> None:
        """Close all descriptors, and end the thread."""
        if self._kills:
            self.kill()
        if self._thread is not None:
            os.eventfd_write(self._stop, 1)
            _join(self._thread)
            os.close(self._stop)
        self._epoll.close()
        for fd in self._fds.values():
            os.close(fd)

    def __len__(self) -> int:
        """Return how many processes are held."""
        return len(self._fds)

    def __enter__(self) -> Self:
        """Return the observer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _join(thread: threading.Thread) -> None:
    """Wait for a thread whose `start` a signal handler's exception may have interrupted."""
    for _ in range(100):
        try:
            thread.join()
        except RuntimeError:  # It has not begun to run. It may do so in a moment, or never.
            time.sleep(0.01)
        else:
            return


def _dead(pidfd: int) -> bool:
    """Return whether a descriptor is readable: a pidfd is once its process is dead."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _send(pidfd: int, number: int) -> bool:
    """Send a signal (0: none); return whether the process is there, perhaps as a zombie."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    return ""


def _wait_status(pid: int, pidfd: int) -> int | None:
    """Return the wait status of another process's dead child; None if the kernel hides it."""
    if not _dead(pidfd):
        return None
    # Until the process is reaped, /proc has its status (proc_pid_stat(5), field 52); afterwards
    # the pidfd has it (Linux 6.15). Read /proc first: if the pidfd then says that the process was
    # not reaped, /proc can't have been another process's.
    of_zombie = _zombie_status(pid)
    info = bytearray(64)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:  # ESRCH: reaped, and the kernel does not keep it. ENOTTY: before Linux 6.13.
        return of_zombie if _send(pidfd, 0) else None
    status: int
    mask, status = struct.unpack_from("=Q52xi", info)
    return status if mask & _PIDFD_INFO_EXIT else of_zombie


def _zombie_status(pid: int) -> int | None:
    with suppress(OSError):
        # The name, in parentheses, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        if fields[0] == b"Z":
            return int(fields[49])
    return None
