"""What comes out: tables for a person, data for a program, and the machine both are from."""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Protocol, TypeAlias

__all__ = ["JSON", "InTurns", "Result", "Table", "Timings", "machine", "show"]

WIDTH = 100
"""Columns of a table that does not go to a terminal."""

JSON: TypeAlias = Mapping[str, "JSON"] | Sequence["JSON"] | str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a header, rows of text, and remarks below them."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    remarks: list[str]


class Result(Protocol):
    """What a case comes to; ``problems`` are what must not be, ``[]`` if all is well."""

    problems: list[str]

    def table(self) -> Table:
        """Return it for a person."""

    def data(self) -> JSON:
        """Return it for a program, nothing left out."""


@dataclass(slots=True)
class Timings:
    """Nanoseconds of each system in each round.

    ``references`` has a column for each comparison: which system is compared with which.
    """

    title: str
    names: list[str]
    references: dict[str, dict[str, str]]
    remarks: list[str] = field(default_factory=list)
    rounds: list[dict[str, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def times(self, name: str) -> list[int]:
        """Return what a system took, of the rounds in which it succeeded."""
        return [taken[name] for taken in self.rounds if name in taken]

    def ratio(self, name: str, other: str) -> tuple[float, float] | None:
        """Return the median of the rounds' ratios, and the ratio of the medians."""
        both = [taken for taken in self.rounds if taken.get(other) and name in taken]
        if not both:
            return None
        return (
            statistics.median(taken[name] / taken[other] for taken in both),
            statistics.median(self.times(name)) / statistics.median(self.times(other)),
        )

    def table(self) -> Table:
        """Return a row for each system."""
        rows = []
        for name in self.names:
            times = self.times(name)
            ratios = [self.ratio(name, other[name]) for other in self.references.values()]
            rows.append(
                (
                    name,
                    show_time(statistics.median(times)) if times else "-",
                    show_time(percentile(times, 99)) if times else "-",
                    *map(show_ratio, ratios),
                    str(len(times)),
                )
            )
        header = ("", "median", "p99", *self.references, "rounds")
        told = "/: median of the rounds' ratios (ratio of the medians)"
        return Table(self.title, header, rows, [told, *self.remarks, *self.problems])

    def data(self) -> JSON:
        """Return every round, and the figures of the table."""
        figures: dict[str, JSON] = {}
        for name in self.names:
            if times := self.times(name):
                ratios: dict[str, JSON] = {
                    column: self.ratio(name, other[name])
                    for column, other in self.references.items()
                }
                median, p99 = statistics.median(times), percentile(times, 99)
                figures[name] = {"median": median, "p99": p99, "ratios": ratios}
        return {
            "title": self.title,
            "unit": "ns",
            "figures": figures,
            "rounds": self.rounds,
            "remarks": self.remarks,
            "problems": self.problems,
        }


@dataclass(slots=True)
class InTurns(Timings):
    """Timings of which each round has one that found all cold, and the median of those after it."""

    warm: list[dict[str, int]] = field(default_factory=list)
    _turn: dict[str, int] = field(default_factory=dict)

    def note(self, name: str, nanoseconds: int) -> None:
        """Note what a system took in a row; belongs to the round that is being measured."""
        if name in self._turn:
            self.warm.append(self._turn)
            self._turn = {}
        self._turn[name] = nanoseconds

    def in_a_row(self) -> Timings:
        """Return the second timings, of as many rounds as there are of the first."""
        rounds = [*self.warm, self._turn][-len(self.rounds) :]
        return Timings(self.title, self.names, self.references, rounds=rounds)

    def table(self) -> Table:
        """Return a row for each system, with both."""
        cold, warm = Timings.table(self), self.in_a_row().table()
        rows = [(*a[:-1], *b[1:2], *b[3:]) for a, b in zip(cold.rows, warm.rows, strict=True)]
        header = (*cold.header[:-1], "in a row", *warm.header[3:])
        return Table(cold.title, header, rows, cold.remarks)

    def data(self) -> JSON:
        """Return both."""
        return {"alone": Timings.data(self), "in a row": self.in_a_row().data()}


def percentile(values: Sequence[int], percent: int) -> int:
    """Return the smallest value that so many per cent of ``values`` do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def show_ratio(ratio: tuple[float, float] | None) -> str:
    """Return both ratios in three digits, the second in brackets."""
    if ratio is None:
        return "-"
    first, second = (f"{each:.{2 if each < 10 else 1 if each < 100 else 0}f}" for each in ratio)
    return f"{first} ({second})"


def show_time(nanoseconds: float) -> str:
    """Return a time with its unit."""
    if abs(nanoseconds) < 1e6:
        return f"{nanoseconds / 1e3:.0f} µs"
    return f"{nanoseconds / 1e6:.{3 if nanoseconds < 1e8 else 4}g} ms"


def show(table: Table) -> None:
    """Print a table: by rich where it is installed, plainly where not."""
    try:
        show_richly(table)
    except ImportError:
        show_plainly(table)
    sys.stdout.flush()


def show_plainly(table: Table) -> None:
    """Print a table by print."""
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{table.title}")
    for first, *others in lines:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  ".join((first.ljust(widths[0]), *cells)))
    print(*table.remarks, sep="\n")


def show_richly(table: Table) -> None:
    """Print a table by rich."""
    from rich import box  # noqa: PLC0415 - it may not be installed
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table as Grid  # noqa: PLC0415

    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1))
    for number, name in enumerate(table.header):
        grid.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in table.rows:
        grid.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False)
    console.print(f"\n{table.title}", style="bold", soft_wrap=True)
    console.print(grid)
    for remark in table.remarks:
        console.print(f"  {remark}", soft_wrap=True)


def machine() -> dict[str, JSON]:
    """Describe the machine and what is installed on it, without naming it."""
    versions: dict[str, JSON] = {}
    for name in ("ptykill", "trio", "ptyprocess", "psutil", "rich"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": proc_field("cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "cpus usable": len(os.sched_getaffinity(0)),
        "memory": proc_field("meminfo", "MemTotal"),
        "load average": os.getloadavg(),
        "processes": sum(entry.name.isdigit() for entry in Path("/proc").iterdir()),
        "uptime": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "libc": " ".join(platform.libc_ver()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "bash": first_line("bash", "--version"),
        "compiler": first_line(os.environ.get("CC", "cc"), "--version"),
        "versions": versions,
    }


def proc_field(file: str, name: str) -> str | None:
    """Return a field of a file in /proc, None if it has no such."""
    for line in Path("/proc", file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def first_line(*command: str) -> str | None:
    """Return the first line that a command prints, None if there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0]
