"""The time of a spawn, to the return of the call and to the program's first byte."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.hosts import Hosts, Limits, interleave
from benchmarks.machine import proc_field
from benchmarks.report import JSON, Result, Timings
from benchmarks.systems import TIERS
from benchmarks.systems.posix_spawn import POSIX_SPAWN
from benchmarks.tables import Table

__all__ = ["spawn"]

SIZES = {"small": 0, "500 MB": 500, "2 GB": 2000}
"""Memory, in MB, that a spawning host holds besides its own."""
SHARING = (
    ("posix_spawn", "spawn_helper", *TIERS, "trio_process"),
    ("pty_fork", "pty_process", "pexpect_spawn"),
)
"""Modules that share a host: those that fork it make spawns of the others slower."""


@dataclass(slots=True)
class Spawns:
    """Both times of each system in each round: to the return, and to the first byte."""

    returned: Timings
    byte: Timings

    @property
    def problems(self) -> list[str]:
        """Those of ``returned``; ``byte`` is of the same calls."""
        return self.returned.problems

    def table(self) -> Table:
        """Return a row for each system in each host."""
        first, second = self.returned.table(), self.byte.table()
        rows = [
            (*a[:2], *a[3:-1], b[1], b[3], b[-1])
            for a, b in zip(first.rows, second.rows, strict=True)
        ]
        header = ("", "returned", *first.header[3:-1], "first byte", f"/ {POSIX_SPAWN} ", "rounds")
        title = "Spawn: from the call to its return, and to the program's first byte"
        return Table(title, header, rows, first.remarks)

    def data(self) -> JSON:
        """Return both."""
        return {"returned": self.returned.data(), "first byte": self.byte.data()}


def spawn(limits: Limits) -> Result:
    """Time the spawning call in hosts of several sizes, in the same rounds."""
    with ExitStack() as stack:
        hosts = Hosts(stack)
        found: dict[str, None] = {}
        sizes: list[str] = []
        for size, megabytes in SIZES.items():
            if megabytes > limits.largest:
                hosts.remarks.append(f"{size}: only in the full form")
                continue
            if available() < megabytes * len(SHARING) * 1.1:
                hosts.remarks.append(f"{size}: skipped, there is too little memory")
                continue
            sizes.append(size)
            for modules in SHARING:
                found |= dict.fromkeys(hosts.start(modules, megabytes, size))
        pairs = {f"{name}, {size}": (name, size) for name in found for size in sizes}
        result = Spawns(compared(pairs, sizes[0]), compared(pairs, sizes[0]))
        result.returned.remarks = hosts.remarks
        rounds = interleave(
            list(pairs),
            lambda label: hosts.ask("spawn", label, "first byte"),
            limits,
            result.returned,
        )
    for each, key in (result.returned, "returned"), (result.byte, "byte"):
        each.rounds = [{name: one[key] for name, one in taken.items()} for taken in rounds]
    return result


def compared(pairs: dict[str, tuple[str, str]], smallest: str) -> Timings:
    """Return timings without rounds."""
    columns: dict[str, dict[str, str]] = {
        f"/ {POSIX_SPAWN}": {label: f"{POSIX_SPAWN}, {size}" for label, (_, size) in pairs.items()},
        f"/ {smallest}": {label: f"{name}, {smallest}" for label, (name, _) in pairs.items()},
    }
    names: Sequence[str] = list(pairs)
    return Timings("Spawn", list(names), columns)


def available() -> float:
    """Return the available memory, in MB."""
    return int((proc_field("meminfo", "MemAvailable") or "0").split()[0]) / 1000
