"""The process table of any POSIX system, by psutil and getsid(2).

It has no marks: such systems do not report which pid was given out last.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

import psutil

from ptykill.rules.processor_time import ProcessorTime
from ptykill.system.containment.process_table import PidMark
from ptykill.system.kernel.procfs import session_of

__all__ = ["PortableTable"]


class PortableTable:
    """Asks psutil for all processes, at each look."""

    pids_to_probe: int = 0
    """None: what psutil does not list is not known."""
    tells_use: bool = False

    def in_session(
        self, sid: int, *, afresh: bool = False, probe: range | None = None
    ) -> list[int]:
        """Return the pids of a session."""
        del afresh, probe  # Each look is afresh, and there is nothing to probe.
        return [pid for pid in psutil.pids() if session_of(pid) == sid]

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

    def processor_time(self, pids: Sequence[int]) -> ProcessorTime:
        """Return the processor time of some processes."""
        total = 0.0
        own = {}
        for pid in pids:
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                times = process.cpu_times()
                used = times.user + times.system
                own[pid, round(1000 * process.create_time())] = round(used * 1_000_000)
                total += used + times.children_user + times.children_system
        return ProcessorTime(round(total * 1_000_000), own)

    def mark(self) -> PidMark | None:
        """Return None: there are no marks."""
        return None

    def pids_since(self, mark: PidMark, *, margin: int = 0) -> Collection[int]:
        """Raise an error: there are no marks to ask with."""
        raise NotImplementedError

    def pids_between(self, mark: PidMark, later: PidMark) -> Collection[int]:
        """Raise an error: there are no marks to ask with."""
        raise NotImplementedError

    def may_be_reused(self, pid: int, mark: PidMark) -> bool:
        """Raise an error: there are no marks to ask with."""
        raise NotImplementedError

    def started_before(self, pid: int, mark: PidMark) -> bool:
        """Raise an error: there are no marks to ask with."""
        raise NotImplementedError

    def in_use(self, number: int) -> bool:
        """Return True: it can't be known."""
        del number
        return True

    def close(self) -> None:
        """Close nothing: no descriptor is held."""
