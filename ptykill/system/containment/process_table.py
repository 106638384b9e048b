"""The process table: which processes are in a session, and who is whose child.

getsid(2) over the pids is the cheapest way to know a session's members: no file is read, and no
permission needed. On Linux the answer is kept for a moment and brought up to date by looking only
at the numbers that the kernel has given out since.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Collection, Iterable
from time import CLOCK_BOOTTIME, clock_gettime, monotonic
from typing import NamedTuple, Protocol

import psutil

from ptykill.system.kernel import procfs, syscalls
from ptykill.system.kernel.last_pid import LastPid
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import session_of

__all__ = ["LinuxTable", "PidMark", "PortableTable", "ProcessTable", "process_table", "unusable"]


class PidMark(NamedTuple):
    """Where the kernel was in giving out numbers.

    ``last`` is the last one, ``at`` when that was, in seconds since boot.
    """

    last: int
    at: float


class ProcessTable(Protocol):
    """What there is to know of all processes."""

    @property
    def numbers(self) -> int:
        """How many numbers there are to ask about, where this system hides processes; else 0."""

    def in_session(
        self, sid: int, *, afresh: bool = False, asked: range | None = None
    ) -> list[int]:
        """Return the pids of a session, its leader's included, dead ones perhaps too.

        ``afresh`` looks at every process again instead of trusting what was seen just before.
        ``asked`` is for those that are not listed: it asks about these numbers instead, counted
        from the session's own, in the order in which they are given out.
        """

    def mark(self) -> PidMark | None:
        """Return where the kernel is in giving out numbers; None if this system does not tell."""

    def pids_since(self, mark: PidMark, *, margin: int = 0) -> Collection[int]:
        """Return the numbers given out since a mark that is not old, and so many before it."""

    def pids_between(self, mark: PidMark, later: PidMark) -> Collection[int]:
        """Return the numbers given out between two marks, of which neither is old."""

    def may_be_reused(self, number: int, mark: PidMark) -> bool:
        """Return whether a number free at the mark may have been given out since."""

    def started_before(self, pid: int, mark: PidMark) -> bool:
        """Return whether a process certainly started before the mark."""

    @property
    def tells_use(self) -> bool:
        """Whether this system tells which numbers are in use."""

    def in_use(self, number: int) -> bool:
        """Return whether a process, a process group or a session has this number.

        A number is free only when no process has it as its pid, nor as that of its process group
        or session (credentials(7); Linux free_pid).
        """

    def children(self, pid: int) -> list[int]:
        """Return the pids of a process's children."""

    def is_child(self, pid: int, of: int) -> bool:
        """Return whether a process is a child of another, which is there."""

    def close(self) -> None:
        """Give back what is held."""


class PortableTable:
    """By psutil and getsid(2): any POSIX system."""

    numbers: int = 0

    def in_session(
        self, sid: int, *, afresh: bool = False, asked: range | None = None
    ) -> list[int]:
        """Return the pids of a session."""
        del afresh, asked  # It always is, and what psutil does not list can't be known.
        return [pid for pid in psutil.pids() if session_of(pid) == sid]

    def mark(self) -> PidMark | None:
        """Not told."""
        return None

    def pids_since(self, mark: PidMark, *, margin: int = 0) -> Collection[int]:
        """Never asked, since there are no marks."""
        raise NotImplementedError

    def pids_between(self, mark: PidMark, later: PidMark) -> Collection[int]:
        """Never asked, since there are no marks."""
        raise NotImplementedError

    def may_be_reused(self, number: int, mark: PidMark) -> bool:
        """Never asked, since there are no marks."""
        raise NotImplementedError

    def started_before(self, pid: int, mark: PidMark) -> bool:
        """Never asked, since there are no marks."""
        raise NotImplementedError

    @property
    def tells_use(self) -> bool:
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

    def is_child(self, pid: int, of: int) -> bool:
        """Return whether a process is a child of another."""
        try:
            return psutil.Process(pid).ppid() == of
        except psutil.Error:
            return False

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
    _MOST_FORKS = 256
    """More births than this, and looking at every process costs no more."""
    _FASTEST = 1_000_000
    """No machine gives out more numbers than this in a second."""
    _PASSES = 8

    def __init__(self) -> None:
        self._sessions: dict[int, set[int]] = {}
        self._last = -1
        self._looked = float("-inf")
        self._births = LastPid()
        self._probe = os.open("/", os.O_RDONLY)  # Any file will do, and this one there is.
        # Nobody has the highest number that there can be (pid_max is one more than that).
        self._tells_use = self.in_use(os.getpid()) and not self.in_use(2**22)
        self._found: dict[int, set[int]] = {}
        """Members that only the slow look has found, by their sessions."""
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._trust = min(self._births.highest / self._FASTEST, 1.0)

    def close(self) -> None:
        """Give back the descriptors."""
        if self._probe >= 0:
            os.close(self._probe)
            self._probe = -1
        self._births.close()

    @property
    def numbers(self) -> int:
        """How many numbers there are to ask about, where this system hides processes; else 0."""
        return self._births.highest - 1 if proc.hides else 0

    def in_session(
        self, sid: int, *, afresh: bool = False, asked: range | None = None
    ) -> list[int]:
        """Return the pids of a session."""
        if asked is not None:
            # Mounted with hidepid=2 (proc(5)). getsid(2) answers all the same.
            count = self._births.highest - 1
            numbers = ((sid - 1 + each) % count + 1 for each in asked)
            found = [pid for pid in numbers if session_of(pid) == sid]
            # Who was found by this, is to be found by the next, which may be to signal them.
            self._found.setdefault(sid, set()).update(found)
            return found
        if afresh or not self._catch_up():
            self._look_at_all()
            self._catch_up()
        listed = self._sessions.get(sid, set())
        hidden_ones = self._found.pop(sid, set())
        found = [pid for pid in listed | hidden_ones if session_of(pid) == sid]
        if hidden_ones.intersection(found):
            self._found[sid] = hidden_ones.intersection(found)
        return found

    def mark(self) -> PidMark | None:
        """Return where the kernel is in giving out the numbers of this pid namespace."""
        if not self._births.known:
            return None
        now = clock_gettime(CLOCK_BOOTTIME)  # First: who is older than that, is older than `last`.
        return PidMark(self._births.last(), now)

    def pids_since(self, mark: PidMark, *, margin: int = 0) -> Collection[int]:
        """Return the numbers given out since a mark that is not old, round the circle."""
        return self._births.since(mark.last, margin)

    def pids_between(self, mark: PidMark, later: PidMark) -> Collection[int]:
        """Return the numbers given out between two marks, round the circle."""
        return self._births.between(mark.last, later.last)

    def may_be_reused(self, number: int, mark: PidMark) -> bool:
        """Return whether a number free at the mark may have been given out since."""
        age = clock_gettime(CLOCK_BOOTTIME) - mark.at
        return number in self.pids_since(mark) or age > self._trust

    def started_before(self, pid: int, mark: PidMark) -> bool:
        """Return whether a process started in an earlier clock tick than the mark's (proc(5))."""
        fields = procfs.stat(pid)
        return bool(fields) and int(fields[19]) < int(mark.at * self._ticks)

    @property
    def tells_use(self) -> bool:
        """Whether the kernel answers: it must know that we are here."""
        return self._tells_use

    def in_use(self, number: int) -> bool:
        """Ask the kernel, which refuses to make nobody a descriptor's owner.

        fcntl(2), F_SETOWN: ESRCH if the number means no process and no process group. The kernel
        looks for the number itself (f_setown, find_vpid), which a session keeps as well.
        """
        if self._probe < 0:
            return True  # Closed: there is nothing to ask with.
        try:
            fcntl.fcntl(self._probe, fcntl.F_SETOWN, number)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True

    def children(self, pid: int) -> list[int]:
        """Return the pids of a process's children, of all its threads (proc(5))."""
        return procfs.children(pid)

    def is_child(self, pid: int, of: int) -> bool:
        """Return whether a process is a child of another, even if it is hidden itself."""
        return procfs.is_child(pid, of)

    def _look_at_all(self) -> None:
        self._last = self._births.last()
        self._looked = monotonic()
        self._sessions = {}
        self._note(procfs.pids())

    def _catch_up(self) -> bool:
        """Take in what was born since the last look; False if that can't be told."""
        now = monotonic()
        if not self._births.known or now - self._looked > self._trust:
            return False
        start = max(self._last - self._MARGIN, 1)  # 0 would mean ourselves.
        for _ in range(self._PASSES):
            last = self._births.last()
            around = last < self._last
            if last - start + around * self._births.highest > self._MOST_FORKS:
                return False
            self._note(
                (*range(start, self._births.highest), *range(1, last + 1))
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


def process_table() -> ProcessTable:
    """Return the table that this system has."""
    return LinuxTable() if sys.platform == "linux" else PortableTable()


def unusable() -> str | None:
    """Say why sessions' members can't be found here; None if they can. Raises OSError."""
    if sys.platform != "linux":
        return None
    lacking = proc.find()
    if proc.at_proc:
        return None
    try:
        os.close(syscalls.pidfd_open(os.getpid()))
    except OSError as error:
        return lacking or f"/proc is not of our pids, and pidfd_open is refused: {error.strerror}"
    return lacking
