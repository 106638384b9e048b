"""What idle sessions hold, by /proc: memory, descriptors, threads, wake-ups."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hosts import Hosts, Limits
from benchmarks.report import Figures, Result
from benchmarks.systems import TIERS
from ptykill.testing import processes

__all__ = ["Held", "held", "idle"]

MODULES = (*TIERS, "trio_process", "asyncio_process", "pty_process", "terminado_manager")
SETTLE = 0.3
WARDEN = "ptykill-warden"
FORMATS = {
    "descriptors": ".2f",
    "threads": ".2f",
    "host KiB": ".1f",
    "processes": ".2f",
    "helper KiB": ".0f",
    "host woke": ".0f",
    "helpers woke": ".0f",
    "host MiB": ".1f",
    "helper MiB": ".1f",
    "warden MiB": ".1f",
}
"""Per session; from the wake-ups on, the columns are sums."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a host and its helper processes hold; memory is PSS, in bytes."""

    descriptors: int
    threads: int
    memory: int
    beside: int
    their_memory: int
    warden: int


def idle(limits: Limits) -> Result:
    """Count what idle sessions hold. All systems are idle at the same time."""
    count, seconds = limits.largest, limits.seconds
    result = Figures(
        f"{count} idle sessions, for {seconds:.0f} s: memory, descriptors and wake-ups", FORMATS
    )
    with ExitStack() as stack:
        hosts = Hosts(stack)
        names = hosts.start_each(MODULES)
        result.remarks = [
            *hosts.remarks,
            "KiB: PSS, without the programs that run in the sessions",
            "woke, MiB: in all",
            "helper MiB: of the keepers and the warden",
        ]
        before, after, woken = {}, {}, {}
        for name in names:
            before[name] = look(hosts, name, 1)  # The first session also opens what all share.
            after[name] = look(hosts, name, 1 + count)
        pids = {name: with_descendants(hosts.systems[name][0].pid) for name in names}
        for name in names:
            woken[name] = [wakes(pid) for pid in pids[name]]
        time.sleep(seconds)
        for name in names:
            host, *others = (
                woke(had, wakes(pid)) for pid, had in zip(pids[name], woken[name], strict=True)
            )
            beside = sum(others)
            first, last = before[name], after[name]
            each = (
                last.descriptors - first.descriptors,
                last.threads - first.threads,
                (last.memory - first.memory) / 1024,
                last.beside - first.beside,
                (last.their_memory - first.their_memory) / 1024,
            )
            sizes = (size / 2**20 for size in (last.memory, last.their_memory, last.warden))
            counts = (*(value / count for value in each), host, beside, *sizes)
            result.figures[name] = dict(zip(FORMATS, counts, strict=True))
            if name.startswith("ptykill") and beside:
                result.problems.append(f"{name}: {beside} wake-ups of those beside it")
        for name in names:
            hosts.ask("end", name, 0)
    return result


def look(hosts: Hosts, name: str, count: int) -> Held:
    """Have a system prepare so many sessions; return what it then holds."""
    leaders = hosts.ask("prepare", name, "sleep", count)
    time.sleep(SETTLE)
    return held(hosts.systems[name][0].pid, leaders)


def held(pid: int, leaders: Sequence[int] = ()) -> Held:
    """Return what a host and its descendants hold, without those in its sessions."""
    host, *beside = with_descendants(pid, processes.session_pids(leaders))
    wardens = [each for each in beside if comm(each) == WARDEN]
    return Held(
        descriptors=entries(host, "fd"),
        threads=entries(host, "task"),
        memory=memory(host),
        beside=len(beside),
        their_memory=sum(map(memory, beside)),
        warden=sum(map(memory, wardens)),
    )


def comm(pid: int) -> str:
    """Return a process's name, nothing if it has gone."""
    found = processes.look_up(pid)
    return found.name if found else ""


def with_descendants(pid: int, without: Collection[int] = ()) -> list[int]:
    """Return a process and its descendants, without some of them."""
    found = [pid]
    for parent in found:
        found += [child for child in processes.children(parent) if child not in without]
    return found


def entries(pid: int, folder: str) -> int:
    """Return how many entries a folder of a process in /proc has."""
    return len([*Path(f"/proc/{pid}/{folder}").iterdir()])


def memory(pid: int) -> int:
    """Return a process's proportional memory (PSS) in bytes; 0 if it has gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def wakes(pid: int) -> dict[str, int]:
    """Return the voluntary context switches of each thread of a process."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for line in (thread / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                found[thread.name] = int(line.split()[1])
    return found


def woke(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """Return how often threads have woken; a thread that has ended counts once."""
    left = len(before.keys() - after.keys())
    return left + sum(count - before.get(thread, 0) for thread, count in after.items())
