"""The onlooker: it holds a pidfd on each process, and tells when it died and what of.

It knows nothing of ptykill and asks nobody but the kernel, so that it can bear witness.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Onlooker", "in_session", "marked", "sweep"]

_PIDFD_GET_INFO = 3 << 30 | 64 << 16 | 0xFF << 8 | 11
"""_IOWR(0xFF, 11, struct pidfd_info), of 64 bytes in its first version (linux/pidfd.h)."""
_PIDFD_INFO_EXIT = 1 << 3


class Onlooker:
    """Watches processes until it is left. ``deaths`` has the time of each (`time.perf_counter`)."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.deaths: dict[int, float] = {}
        self._fds = {pid: os.pidfd_open(pid) for pid in pids}
        self._all_dead = threading.Event()
        self._stop, self._stopper = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="onlooker", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Return itself: it watches already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Watch no longer. Ends nobody."""
        os.close(self._stopper)
        self._thread.join()
        for fd in (self._stop, *self._fds.values()):
            os.close(fd)

    def _watch(self) -> None:
        pids = {fd: pid for pid, fd in self._fds.items()}
        poll = select.poll()
        for fd in (self._stop, *pids):
            poll.register(fd, select.POLLIN)
        left = len(pids)
        while left:
            for fd, _ in poll.poll():
                now = time.perf_counter()
                if fd == self._stop:
                    return
                left -= 1
                self.deaths.setdefault(pids[fd], now)
                poll.unregister(fd)
        self._all_dead.set()

    def alive(self) -> list[int]:
        """Return who lives at this moment, by asking anew."""
        dead = {pid for pid, fd in self._fds.items() if _dead(fd)}
        now = time.perf_counter()
        for pid in dead:  # The thread may not have had its turn since.
            self.deaths.setdefault(pid, now)
        return [pid for pid in self._fds if pid not in dead]

    def wait_all_dead(self, timeout: float) -> bool:
        """Wait, up to ``timeout`` seconds, until all are dead."""
        return self._all_dead.wait(timeout)

    def kill(self) -> None:
        """End whoever lives."""
        for fd in self._fds.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)

    def cause(self, pid: int) -> str | None:
        """Say what a dead process died of: ``SIGHUP``, ``exit 0``; None if it can't be known."""
        status = _status(pid, self._fds[pid])
        if status is None:
            return None
        number = os.waitstatus_to_exitcode(status)
        return f"exit {number}" if number >= 0 else signal.Signals(-number).name


def _dead(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _status(pid: int, fd: int) -> int | None:
    """Return the wait status of somebody else's child, if it is dead and the kernel tells it."""
    if not _dead(fd):
        return None
    # Until it is reaped it is told in /proc (proc_pid_stat(5), field 52), and afterwards by the
    # pidfd (Linux 6.15). In this order: if the second says that it was not reaped, the first
    # can't have been somebody else's.
    waiting = _zombie_status(pid)
    info = bytearray(64)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(fd, _PIDFD_GET_INFO, info)
    except OSError:  # ESRCH: reaped, and not told. ENOTTY: before Linux 6.13.
        return waiting if _there(fd) else None
    told: int
    mask, told = struct.unpack_from("=Q52xi", info)
    return told if mask & _PIDFD_INFO_EXIT else waiting


def _zombie_status(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        # The name, in parentheses, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        if fields[0] == b"Z":
            return int(fields[49])
    return None


def _there(fd: int) -> bool:
    """Return whether a process has not been reaped."""
    try:
        signal.pidfd_send_signal(fd, 0)
    except ProcessLookupError:
        return False
    return True


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - names


def in_session(session: int) -> set[int]:
    """Return the pids in a POSIX session, zombies included."""
    found = set()
    for pid in _processes():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session:
                found.add(pid)
    return found


def marked(mark: str) -> set[int]:
    """Return the pids of all who live and whose environment has a mark that begins so."""
    return {pid for pid in _processes() if _carries(pid, mark)}


def _carries(pid: int, mark: str) -> bool:
    # A zombie's environment is empty, a stranger's can't be read.
    with contextlib.suppress(OSError):
        variables = b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
        return f"\0PTYKILL_DEMO={mark}".encode() in variables
    return False


def sweep(mark: str, timeout: float = 5.0) -> set[int]:
    """SIGKILL all who carry the mark, until there is none; return those left after ``timeout``."""
    until = time.monotonic() + timeout
    while (found := marked(mark)) and time.monotonic() < until:
        for pid in found:
            with contextlib.suppress(ProcessLookupError), Onlooker([pid]) as onlooker:
                # Held first, looked at then: the number may have changed hands in between.
                if _carries(pid, mark):
                    onlooker.kill()
                    onlooker.wait_all_dead(1.0)
    return found
