"""The process table: which processes are in a session, and who is whose child.

getsid(2) over the pids is the cheapest way to know a session's members: no file is read, and no
permission needed. On Linux the answer is kept for a moment and brought up to date by looking only
at the numbers that the kernel has given out since.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from time import CLOCK_BOOTTIME, clock_gettime, monotonic
from typing import NamedTuple, Protocol

import psutil

from ptykill.containment.reserve import reserve

__all__ = ["LinuxTable", "Mark", "PortableTable", "ProcessTable", "process_table"]


class Mark(NamedTuple):
    """Where the kernel was in giving out numbers.

    ``last`` is the last one, ``at`` when that was in monotonic seconds, ``tick`` in the unit in
    which the kernel tells when a process started (proc(5): clock ticks since boot).
    """

    last: int
    at: float
    tick: int


class ProcessTable(Protocol):
    """What there is to know of all processes."""

    def in_session(self, sid: int, *, afresh: bool = False, hidden: bool = False) -> list[int]:
        """Return the pids of a session, its leader's included, dead ones perhaps too.

        ``afresh`` looks at every process again instead of trusting what was seen just before;
        ``hidden`` also at those that are not listed, if this system hides any (it is slow).
        """

    def mark(self) -> Mark | None:
        """Return where the kernel is in giving out numbers; None if this system does not tell."""

    def born_since(self, mark: Mark, *, margin: int = 0) -> Collection[int]:
        """Return the numbers given out since a mark that is not old, and so many before it."""

    def passed(self, number: int, mark: Mark) -> bool:
        """Return whether a number free at the mark may have been given out since."""

    def older(self, pid: int, mark: Mark) -> bool:
        """Return whether a process certainly started before the mark."""

    @property
    def knows_use(self) -> bool:
        """Whether this system tells which numbers are in use."""

    def in_use(self, number: int) -> bool:
        """Return whether a process, a process group or a session has this number.

        A number is free only when no process has it as its pid, nor as that of its process group
        or session (credentials(7); Linux free_pid).
        """

    def children(self, pid: int) -> list[int]:
        """Return the pids of a process's children."""

    def parent(self, pid: int) -> int | None:
        """Return the pid of a process's parent; None if there is no such process."""

    def close(self) -> None:
        """Give back what is held."""


class PortableTable:
    """By psutil and getsid(2): any POSIX system."""

    def in_session(self, sid: int, *, afresh: bool = False, hidden: bool = False) -> list[int]:
        """Return the pids of a session."""
        del afresh, hidden  # It always is, and what psutil does not list can't be known.
        return [pid for pid in psutil.pids() if _session_of(pid) == sid]

    def mark(self) -> Mark | None:
        """Not told."""
        return None

    def born_since(self, mark: Mark, *, margin: int = 0) -> Collection[int]:
        """Never asked, since there are no marks."""
        raise NotImplementedError

    def passed(self, number: int, mark: Mark) -> bool:
        """Never asked, since there are no marks."""
        raise NotImplementedError

    def older(self, pid: int, mark: Mark) -> bool:
        """Never asked, since there are no marks."""
        raise NotImplementedError

    @property
    def knows_use(self) -> bool:
        """It does not."""
        return False

    def in_use(self, number: int) -> bool:
        """Suppose that it is."""
        del number
        return True

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
    meanwhile, as long as the circle can't have come round (`_trust`). They are looked at in the
    order in which they were given out, again and again until no more are: whoever is not seen
    then, has a parent that was not seen, and so on up to a process that was known.

    A number is given out a little before its process can be found (Linux copy_process: alloc_pid
    first, attach_pid later), so a look may miss births that are under way: hence the margin.
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
        self._probe = os.open(os.devnull, os.O_RDONLY)
        with contextlib.suppress(OSError):
            self._births = os.open("/proc/sys/kernel/ns_last_pid", os.O_RDONLY)
        # Nobody has the highest number that there can be (pid_max is one more than that).
        self._knows_use = self.in_use(os.getpid()) and not self.in_use(2**22)
        self._highest = int(_read("/proc/sys/kernel/pid_max") or b"32768")
        self._hides = not os.path.exists("/proc/1")
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._trust = min(self._highest / self._FASTEST, 1.0)
        self._has_children_file = os.path.exists(f"/proc/self/task/{os.getpid()}/children")

    def close(self) -> None:
        """Give back the descriptors."""
        if self._probe >= 0:
            os.close(self._probe)
            self._probe = -1
        if self._births is not None:
            os.close(self._births)
            self._births = None

    def in_session(self, sid: int, *, afresh: bool = False, hidden: bool = False) -> list[int]:
        """Return the pids of a session."""
        if hidden and self._hides:
            # Mounted with hidepid=2 (proc(5)). getsid(2) answers all the same.
            return [pid for pid in range(1, self._highest) if _session_of(pid) == sid]
        if afresh or not self._catch_up():
            self._look_at_all()
            self._catch_up()
        return [pid for pid in self._sessions.get(sid, ()) if _session_of(pid) == sid]

    def mark(self) -> Mark | None:
        """Return where the kernel is in giving out the numbers of this pid namespace."""
        if self._births is None:
            return None
        tick = int(clock_gettime(CLOCK_BOOTTIME) * self._ticks)
        return Mark(self._last_pid(), monotonic(), tick)

    def born_since(self, mark: Mark, *, margin: int = 0) -> Collection[int]:
        """Return the numbers given out since a mark that is not old, round the circle."""
        last = self._last_pid()
        start = max(mark.last + 1 - margin, 1)
        if last >= mark.last:
            return range(start, last + 1)
        return (*range(start, self._highest), *range(1, last + 1))

    def passed(self, number: int, mark: Mark) -> bool:
        """Return whether a number free at the mark may have been given out since."""
        return number in self.born_since(mark) or monotonic() - mark.at > self._trust

    def older(self, pid: int, mark: Mark) -> bool:
        """Return whether a process started in an earlier tick than the mark's."""
        fields = _stat(pid)
        return bool(fields) and int(fields[19]) < mark.tick

    @property
    def knows_use(self) -> bool:
        """Whether the kernel answers: it must know that we are here."""
        return self._knows_use

    def in_use(self, number: int) -> bool:
        """Ask the kernel, which refuses to make nobody a descriptor's owner.

        fcntl(2), F_SETOWN: ESRCH if the number means no process and no process group. The kernel
        looks for the number itself (f_setown, find_vpid), which a session keeps as well.
        """
        try:
            fcntl.fcntl(self._probe, fcntl.F_SETOWN, number)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True

    def children(self, pid: int) -> list[int]:
        """Return the pids of a process's children, of all its threads (proc(5))."""
        if not self._has_children_file:  # A kernel without CONFIG_PROC_CHILDREN.
            return [each for each in _pids() if self.parent(each) == pid]
        folder = f"/proc/{pid}/task"
        try:
            # Two links and one for each thread: spares the listing of most processes.
            alone = os.stat(folder).st_nlink == 3
            threads = [str(pid)] if alone else reserve.use(lambda: os.listdir(folder))
        except OSError:
            return []
        return [
            int(child)
            for thread in threads
            for child in _read(f"{folder}/{thread}/children").split()
        ]

    def parent(self, pid: int) -> int | None:
        """Return the pid of a process's parent."""
        fields = _stat(pid)
        return int(fields[1]) if fields else None

    def _look_at_all(self) -> None:
        self._last = self._last_pid()
        self._looked = monotonic()
        self._sessions = {}
        self._note(_pids())

    def _catch_up(self) -> bool:
        """Take in what was born since the last look; False if that can't be told."""
        now = monotonic()
        if self._births is None or now - self._looked > self._trust:
            return False
        start = max(self._last - self._MARGIN, 1)  # 0 would mean ourselves.
        for _ in range(self._PASSES):
            last = self._last_pid()
            around = last < self._last
            if last - start + around * self._highest > self._MOST_BIRTHS:
                return False
            self._note(
                (*range(start, self._highest), *range(1, last + 1))
                if around
                else range(start, last + 1)
            )
            if last == self._last:
                self._looked = now
                return True
            start = self._last = last
        return False

    def _note(self, pids: Iterable[int]) -> None:
        """File each process under its session."""
        sessions = self._sessions
        getsid = os.getsid
        for pid in pids:
            try:
                sid = getsid(pid)
            except OSError:
                continue
            try:
                sessions[sid].add(pid)
            except KeyError:
                sessions[sid] = {pid}

    def _last_pid(self) -> int:
        return -1 if self._births is None else int(os.pread(self._births, 16, 0))


def process_table() -> ProcessTable:
    """Return the table that this system has."""
    linux = sys.platform == "linux" and os.path.exists("/proc/self/stat")
    return LinuxTable() if linux else PortableTable()


def _pids() -> Iterator[int]:
    return (int(name) for name in reserve.use(lambda: os.listdir("/proc")) if name.isdigit())


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third on; none if there is no such process."""
    # The second, the name in parentheses, may itself hold spaces and parentheses (proc(5)).
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def _read(path: str) -> bytes:
    """Return what a file of /proc says, as far as it can be read; b"" if it can't."""
    data = b""
    try:
        fd = reserve.use(lambda: os.open(path, os.O_RDONLY))
    except OSError:
        return data
    try:
        while more := os.read(fd, 16_384):
            data += more
            if len(more) < 4_096:  # Shorter than a page: that was all (seq_file).
                break
    except OSError:
        pass
    finally:
        os.close(fd)
    return data
