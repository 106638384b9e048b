"""The process table: which processes are in a session, and who is whose child.

getsid(2) over the pids is the cheapest way to know a session's members: no file is read, and no
permission needed. On Linux the answer is kept for a moment and brought up to date by looking only
at the numbers that the kernel has given out since.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Protocol

import psutil

__all__ = ["LinuxTable", "PortableTable", "ProcessTable", "process_table"]


class ProcessTable(Protocol):
    """What there is to know of all processes."""

    def in_session(self, sid: int, *, afresh: bool = False) -> list[int]:
        """Return the pids of a session, its leader's included, dead ones perhaps too.

        ``afresh`` looks at every process again instead of trusting what was seen just before.
        """

    def children(self, pid: int) -> list[int]:
        """Return the pids of a process's children."""

    def parent(self, pid: int) -> int | None:
        """Return the pid of a process's parent; None if there is no such process."""

    def close(self) -> None:
        """Give back what is held."""


class PortableTable:
    """By psutil and getsid(2): any POSIX system."""

    def in_session(self, sid: int, *, afresh: bool = False) -> list[int]:
        """Return the pids of a session."""
        del afresh  # It always is.
        return [pid for pid in psutil.pids() if _session_of(pid) == sid]

    def children(self, pid: int) -> list[int]:
        """Return the pids of a process's children."""
        try:
            return [child.pid for child in psutil.Process(pid).children()]
        except psutil.Error:
            return []

    def parent(self, pid: int) -> int | None:
        """Return the pid of a process's parent."""
        try:
            return psutil.Process(pid).ppid()
        except psutil.Error:
            return None

    def close(self) -> None:
        """Nothing is held."""


class LinuxTable:
    """By ``/proc``, with an index from session to pids that is brought up to date by births.

    ``/proc/sys/kernel/ns_last_pid`` is the number given out last in this pid namespace. Numbers
    are given out in a circle, so those between two readings are all that can have been born
    meanwhile, as long as the circle can't have come round: `_trust`. A number is given out some
    time before its process can be found (Linux copy_process: alloc_pid, later attach_pid), hence
    the margin, and hence a second pass over the numbers that gave nothing at first.
    """

    _MARGIN = 8 + 2 * (os.cpu_count() or 1)
    """So many births may be under way at once."""
    _MOST_BIRTHS = 256
    """More births than this, and looking at every process costs no more."""
    _FASTEST = 1_000_000
    """No machine gives out more numbers than this in a second."""
    _PASSES = 8

    def __init__(self) -> None:
        self._sessions: dict[int, set[int]] = {}
        self._last = -1
        self._looked = float("-inf")
        self._births: int | None = None
        with contextlib.suppress(OSError):
            self._births = os.open("/proc/sys/kernel/ns_last_pid", os.O_RDONLY)
        self._highest = int(_read("/proc/sys/kernel/pid_max") or b"32768")
        self._trust = min(self._highest / self._FASTEST, 1.0)
        self._has_children_file = os.path.exists(f"/proc/self/task/{os.getpid()}/children")

    def close(self) -> None:
        """Give back the descriptor."""
        if self._births is not None:
            os.close(self._births)
            self._births = None

    def in_session(self, sid: int, *, afresh: bool = False) -> list[int]:
        """Return the pids of a session."""
        if afresh or not self._catch_up():
            self._look_at_all()
            self._catch_up()
        return [pid for pid in self._sessions.get(sid, ()) if _session_of(pid) == sid]

    def children(self, pid: int) -> list[int]:
        """Return the pids of a process's children, of all its threads (proc(5))."""
        if not self._has_children_file:  # A kernel without CONFIG_PROC_CHILDREN.
            return [each for each in _pids() if self.parent(each) == pid]
        folder = f"/proc/{pid}/task"
        try:
            threads = os.listdir(folder)
        except OSError:
            return []
        return [
            int(child)
            for thread in threads
            for child in _read(f"{folder}/{thread}/children").split()
        ]

    def parent(self, pid: int) -> int | None:
        """Return the pid of a process's parent."""
        # The name, in parentheses, may itself hold spaces and parentheses (proc(5)).
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return int(fields[1]) if fields else None

    def _look_at_all(self) -> None:
        self._last = self._last_pid()
        self._looked = monotonic()
        self._sessions = {}
        self._note(_pids())

    def _catch_up(self) -> bool:
        """Take in what was born since the last look; False if that can't be told."""
        if self._births is None or monotonic() - self._looked > self._trust:
            return False
        seen = None
        start = max(self._last - self._MARGIN, 1)  # 0 would mean ourselves.
        for _ in range(self._PASSES):
            last = self._last_pid()
            born = self._between(start, last)
            if born is None:
                return False
            before = self._note(born)
            if seen == (last, before):
                self._last = last
                self._looked = monotonic()
                return True
            seen = (last, before)
        return False

    def _between(self, start: int, last: int) -> Iterable[int] | None:
        """Return the numbers given out from ``start`` to ``last``, round the circle."""
        around = last < self._last
        if last - start + around * self._highest > self._MOST_BIRTHS:
            return None
        if around:
            return (*range(start, self._highest), *range(1, last + 1))
        return range(start, last + 1)

    def _note(self, pids: Iterable[int]) -> int:
        """File each process under its session; return how many there are."""
        sessions = self._sessions
        getsid = os.getsid
        count = 0
        for pid in pids:
            try:
                sid = getsid(pid)
            except OSError:
                continue
            count += 1
            try:
                sessions[sid].add(pid)
            except KeyError:
                sessions[sid] = {pid}
        return count

    def _last_pid(self) -> int:
        return -1 if self._births is None else int(os.pread(self._births, 16, 0))


def process_table() -> ProcessTable:
    """Return the table that this system has."""
    linux = sys.platform == "linux" and os.path.exists("/proc/self/stat")
    return LinuxTable() if linux else PortableTable()


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""
