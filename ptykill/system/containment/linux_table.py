"""The process table of Linux: an index from sessions to pids, kept up to date by new pids.

getsid(2) over the pids is the cheapest way to know a session's members: it reads no file, and needs
no permission. The answer is kept, and only pids that the kernel has given out since are looked at.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterable, Sequence
from time import CLOCK_BOOTTIME, clock_gettime, monotonic

from ptykill.rules.processor_time import ProcessorTime
from ptykill.system.containment.process_table import PidMark
from ptykill.system.kernel import procfs
from ptykill.system.kernel.last_pid import LastPid
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.processor_time import processor_time_of
from ptykill.system.kernel.procfs import session_of
from ptykill.system.kernel.ticks import TICKS

__all__ = ["LinuxTable"]


class LinuxTable:
    """By ``/proc`` and ``/proc/sys/kernel/ns_last_pid``, the pid given out last.

    Pids are given out in a circle, so those between two readings are all that new processes can
    have, unless the circle has come round (`_trust`). They are looked at in the order in which they
    were given out, again and again until there are no more. A process that is not seen then has a
    parent that was not seen, and so on up to a process that was known.

    A pid is given out a little before its process can be found (Linux copy_process: alloc_pid
    first, attach_pid later), so a look may miss processes that are just being started: hence the
    margin.
    """

    _MARGIN = 8 + 2 * (os.cpu_count() or 1)
    """So many processes may be just being started."""
    _MOST_NEW = 256
    """To look at more new pids than this costs as much as to look at all processes."""
    _FASTEST = 1_000_000
    """No machine gives out more pids than this in a second."""
    _PASSES = 8

    def __init__(self) -> None:
        self._sessions: dict[int, set[int]] = {}
        self._last = -1
        self._looked = float("-inf")
        self._last_pid = LastPid()
        self._probe = os.open("/", os.O_RDONLY)  # Any file serves, and this one always exists.
        # Nobody has the highest pid that there can be (pid_max is one more than that).
        self._tells_use = self.in_use(os.getpid()) and not self.in_use(2**22)
        self._unlisted: dict[int, set[int]] = {}
        """Members that were found by probing alone, by their sessions."""
        self._trust = min(self._last_pid.highest / self._FASTEST, 1.0)
        """Seconds in which the kernel can't have given out all pids."""

    def in_session(
        self, sid: int, *, afresh: bool = False, probe: range | None = None
    ) -> list[int]:
        """Return the pids of a session."""
        if probe is not None:
            # /proc is mounted with hidepid=2 (proc(5)). getsid(2) answers all the same.
            count = self._last_pid.highest - 1
            pids = ((sid - 1 + each) % count + 1 for each in probe)
            found = [pid for pid in pids if session_of(pid) == sid]
            # The next look, which may be to signal them, has to find them as well.
            self._unlisted.setdefault(sid, set()).update(found)
            return found
        if afresh or not self._catch_up():
            self._look_at_all()
            self._catch_up()
        listed = self._sessions.get(sid, set())
        unlisted = self._unlisted.pop(sid, set())
        found = [pid for pid in listed | unlisted if session_of(pid) == sid]
        if unlisted.intersection(found):
            self._unlisted[sid] = unlisted.intersection(found)
        return found

    @property
    def pids_to_probe(self) -> int:
        """How many pids there are to probe where /proc hides processes; else 0."""
        return self._last_pid.highest - 1 if proc.hides else 0

    def _look_at_all(self) -> None:
        self._last = self._last_pid.last()
        self._looked = monotonic()
        self._sessions = {}
        self._add(procfs.pids())

    def _catch_up(self) -> bool:
        """Add the processes started since the last look; return False if they can't be found."""
        now = monotonic()
        if not self._last_pid.known or now - self._looked > self._trust:
            return False
        start = max(self._last - self._MARGIN, 1)  # getsid(0) would be of the host itself.
        for _ in range(self._PASSES):
            last = self._last_pid.last()
            around = last < self._last
            if last - start + around * self._last_pid.highest > self._MOST_NEW:
                return False
            self._add(
                (*range(start, self._last_pid.highest), *range(1, last + 1))
                if around
                else range(start, last + 1)
            )
            if last == self._last:
                self._looked = now
                return True
            start = self._last = last
        return False

    def _add(self, pids: Iterable[int]) -> None:
        """Add each process to its session."""
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

    def children(self, pid: int) -> list[int]:
        """Return the pids of a process's children, of all its threads (proc(5))."""
        return procfs.children(pid)

    def processor_time(self, pids: Sequence[int]) -> ProcessorTime:
        """Return the processor time of some processes."""
        return processor_time_of(pids)

    def is_child(self, pid: int, of: int) -> bool:
        """Return whether a process is a child of another, even if it is hidden itself."""
        return procfs.is_child(pid, of)

    # --- pids that are given out again ------------------------------------------------------------

    def mark(self) -> PidMark | None:
        """Return where the kernel is in giving out the pids of this pid namespace."""
        if not self._last_pid.known:
            return None
        # The time is read first: what started before it has a pid given out before `last`.
        now = clock_gettime(CLOCK_BOOTTIME)
        return PidMark(self._last_pid.last(), now)

    def pids_since(self, mark: PidMark, *, margin: int = 0) -> Collection[int]:
        """Return the pids given out since a recent mark, round the circle."""
        return self._last_pid.since(mark.last, margin)

    def pids_between(self, mark: PidMark, later: PidMark) -> Collection[int]:
        """Return the pids given out between two marks, round the circle."""
        return self._last_pid.between(mark.last, later.last)

    def may_be_reused(self, pid: int, mark: PidMark) -> bool:
        """Return whether a pid may have been given out since the mark."""
        age = clock_gettime(CLOCK_BOOTTIME) - mark.at
        return pid in self.pids_since(mark) or age > self._trust

    def started_before(self, pid: int, mark: PidMark) -> bool:
        """Return whether a process started in an earlier clock tick than the mark's (proc(5))."""
        fields = procfs.stat(pid)
        return bool(fields) and int(fields[19]) < int(mark.at * TICKS)

    @property
    def tells_use(self) -> bool:
        """Whether the kernel answers: it must know the host's own pid."""
        return self._tells_use

    def in_use(self, number: int) -> bool:
        """Ask the kernel to make the process or group of that number a descriptor's owner.

        It refuses if there is none (fcntl(2), F_SETOWN: ESRCH). The kernel looks the number up
        (f_setown, find_vpid), so it finds one that only a session has, too.
        """
        if self._probe < 0:
            return True  # It is closed: there is no descriptor to ask with.
        try:
            fcntl.fcntl(self._probe, fcntl.F_SETOWN, number)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Close the descriptors."""
        if self._probe >= 0:
            os.close(self._probe)
            self._probe = -1
        self._last_pid.close()
