"""The processor time of the whole machine, and that of one process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

__all__ = ["MachineTime", "measured", "process_time"]

T = TypeVar("T")

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_SETTLE = 0.2
"""Seconds for what work has put off, such as closing descriptors: it belongs to the work."""


class MachineTime(NamedTuple):
    """What all processors have done since boot, in nanoseconds, and how many processes were made.

    ``busy`` is user, nice, system, irq and softirq of proc_stat(5). Time of a guest is in user and
    nice already. Not in it are idle and iowait; nor is steal, in which the hypervisor ran something
    else: it is in ``stolen``. Without ``CONFIG_VIRT_CPU_ACCOUNTING_GEN`` the kernel samples all but
    steal at each tick, so that a figure needs a second or more of work.
    """

    busy: int
    stolen: int
    forks: int

    @classmethod
    def now(cls) -> Self:
        """Read /proc/stat."""
        return cls.read(Path("/proc/stat").read_text(), _TICK)

    @classmethod
    def read(cls, stat: str, tick: int) -> Self:
        """Read the text of /proc/stat, whose times are in ticks of so many nanoseconds."""
        fields = {}
        for line in stat.splitlines():
            name, *numbers = line.split()
            if name in {"cpu", "processes"}:
                fields[name] = [int(each) for each in numbers]
        user, nice, system, _idle, _iowait, irq, softirq, steal, *_guests = fields["cpu"]
        busy = (user + nice + system + irq + softirq) * tick
        return cls(busy, steal * tick, fields["processes"][0])

    def since(self, before: MachineTime) -> MachineTime:
        """Return the difference to an earlier time."""
        return MachineTime(*(now - then for now, then in zip(self, before, strict=True)))


def process_time(pid: int) -> int:
    """Return the processor time of a process's threads in nanoseconds, without its children's.

    ``/proc/PID/task/TID/schedstat`` is exact; the times in ``stat`` are sampled on most kernels. A
    thread that has exited is not in it.
    """
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # It has exited.
            total += int((thread / "schedstat").read_text().split()[0])
    return total


def measured(work: Callable[[], T]) -> tuple[T, MachineTime]:
    """Return what work returns, and what the machine did for it, also a moment later."""
    before = MachineTime.now()
    result = work()
    time.sleep(_SETTLE)
    return result, MachineTime.now().since(before)
