"""Reads the processor time of the processes below a process (proc(5)), and of a cgroup."""

from __future__ import annotations

from collections.abc import Sequence

from ptykill.rules.processor_time import ProcessorTime
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.procfs import children, stat
from ptykill.system.kernel.ticks import TICKS

__all__ = ["processor_time", "processor_time_of"]

_UTIME, _STIME, _CUTIME, _CSTIME, _START = 11, 12, 13, 14, 19
"""Fields of /proc/PID/stat, from the third on."""
_MICROSECONDS = 1_000_000 // TICKS


def processor_time(keeper: int, cgroup: Cgroup | None = None) -> ProcessorTime:
    """Return the processor time of all descendants of a keeper, and of those that it has reaped.

    A process that is started or reaped during the walk may be missed, or counted twice. So may one
    whose pid is reused. The next look corrects that.
    """
    found, parents = [], [keeper]
    seen = {keeper}
    while parents:
        for pid in children(parents.pop()):
            if pid not in seen:
                seen.add(pid)
                found.append(pid)
                parents.append(pid)
    times = processor_time_of(found)
    fields = stat(keeper)
    reaped = _ticks(fields, _CUTIME, _CSTIME) if fields else 0
    return times._replace(
        total=times.total + reaped * _MICROSECONDS,
        cgroup=0 if cgroup is None else cgroup.processor_time(),
    )


def processor_time_of(pids: Sequence[int]) -> ProcessorTime:
    """Return the processor time of some processes, and of those that they have waited for."""
    total = 0
    own = {}
    for pid in pids:
        fields = stat(pid)
        if fields:
            ticks = _ticks(fields, _UTIME, _STIME)
            own[pid, int(fields[_START])] = ticks * _MICROSECONDS
            total += ticks + _ticks(fields, _CUTIME, _CSTIME)
    return ProcessorTime(total * _MICROSECONDS, own)


def _ticks(fields: list[bytes], *numbers: int) -> int:
    return sum(int(fields[number]) for number in numbers)
