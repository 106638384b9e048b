"""What is held after a burst: processes beside the host, descriptors, memory, over a minute."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.cases.bursts import wrong
from benchmarks.cases.idle import Held, held
from benchmarks.cases.teardown import GRACE
from benchmarks.hosts import Hosts, Limits
from benchmarks.report import JSON, Result
from benchmarks.tables import Table

__all__ = ["pool"]

KEEPERS = ("ptykill_tier:keeper", "ptykill_tier:cgroup")
"""The containments that have keepers."""
SETTLE = 0.3
LOOKS = (0.5, 1.0, 5.0, 15.0, 25.0, 40.0, 60.0)
"""Seconds after the burst at which to look. In between the host sleeps."""


@dataclass(slots=True)
class Pools:
    """What each containment's host and its helpers hold, by the time since the burst."""

    title: str
    before: dict[str, Held] = field(default_factory=dict)
    full: dict[str, Held] = field(default_factory=dict)
    after: dict[str, dict[float, Held]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def rows(self) -> dict[str, dict[str, Held]]:
        """Return each containment's counts, by when they were taken."""
        return {
            label: {
                "before": self.before[label],
                "all alive": self.full[label],
                **{f"{seconds:g} s": one for seconds, one in looks.items()},
            }
            for label, looks in self.after.items()
        }

    def table(self) -> Table:
        """Return four rows for each containment, and a column for each time."""
        rows: list[tuple[str, ...]] = []
        times: dict[str, None] = {}
        for label, by_time in self.rows().items():
            times |= dict.fromkeys(by_time)
            looks = by_time.values()
            rows += [
                (f"{label}: processes beside the host", *(str(each.beside) for each in looks)),
                (f"{label}: helper MiB", *(mebibytes(each.their_memory) for each in looks)),
                (f"{label}: host MiB", *(mebibytes(each.memory) for each in looks)),
                (f"{label}: host descriptors", *(str(each.descriptors) for each in looks)),
            ]
        return Table(self.title, ("", *times), rows, [*self.remarks, *self.problems])

    def data(self) -> JSON:
        """Return the counts."""
        counts: JSON = {
            label: {
                when: {
                    "beside": each.beside,
                    "their memory": each.their_memory,
                    "memory": each.memory,
                    "descriptors": each.descriptors,
                }
                for when, each in by_time.items()
            }
            for label, by_time in self.rows().items()
        }
        return {"counts": counts, "remarks": self.remarks, "problems": self.problems}


def pool(limits: Limits) -> Result:
    """Spawn many sessions, end them at once, and count what is held from then on."""
    count = limits.largest
    result = Pools(f"{count} sessions ended at once: what is held, by the time since then")
    with ExitStack() as stack:
        hosts = Hosts(stack)
        names = hosts.start_each(KEEPERS)
        result.remarks = [*hosts.remarks, "MiB: PSS, without the programs of the sessions"]
        for name in names:
            burst(hosts, name, count, result)
            ended, pid = time.monotonic(), hosts.systems[name][0].pid
            for seconds in LOOKS:
                if seconds <= limits.seconds:
                    time.sleep(max(0.0, ended + seconds - time.monotonic()))
                    result.after[name][seconds] = held(pid)
            first, last = result.before[name], result.after[name][max(result.after[name])]
            if limits.seconds >= LOOKS[-1] and last.beside > first.beside:
                result.problems.append(f"{name}: {last.beside} processes, {first.beside} before")
    return result


def burst(hosts: Hosts, name: str, count: int, result: Pools) -> None:
    """Have a system spawn sessions and end them at once; count before, and while all are alive."""
    pid = hosts.systems[name][0].pid
    hosts.ask("prepare", name, "sleep", 1)  # The first session also opens what all share.
    hosts.ask("end", name, GRACE)
    time.sleep(SETTLE)
    result.before[name] = held(pid)
    leaders = hosts.ask("prepare", name, "sleep", count)
    result.full[name] = held(pid, leaders)
    hosts.ask("end", name, GRACE)
    result.after[name] = {}
    result.problems += [f"{name}: {each}" for each in wrong(leaders, count)]
    if result.full[name].beside <= count:
        result.problems.append(f"{name}: {result.full[name].beside} helpers of {count} sessions")


def mebibytes(size: int) -> str:
    """Return a size in MiB."""
    return f"{size / 2**20:.1f}"
