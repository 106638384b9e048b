"""The results of cases that do the same thing again and again: rates, times, processor time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.processor import MachineTime, measured
from benchmarks.report import JSON, Timings
from benchmarks.tables import Table, percentile, show_ratio, show_time

__all__ = ["IDLE", "Load", "Loads", "idle"]

IDLE = "nothing"
"""The label of turns in which no system works: the load of the machine itself."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was done in one turn, in so many nanoseconds.

    ``times`` has the nanoseconds of each thing that was done, by its kind; ``processor`` the
    processor time of the turn, by whose it is.
    """

    done: int
    elapsed: int
    machine: MachineTime
    times: dict[str, list[int]] = field(default_factory=dict)
    processor: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Loads:
    """Turns of systems, each compared with a system that does the same work.

    ``what`` says what is over when each answers; ``references`` has the system that each is
    compared with, ``against`` is their name in the table. ``kinds`` and ``processors`` are the keys
    of `Load.times` and `Load.processor` that have columns.
    """

    title: str
    names: list[str]
    unit: str
    what: dict[str, str]
    references: dict[str, str]
    kinds: tuple[str, ...]
    against: str
    processors: tuple[str, ...] = ()
    remarks: list[str] = field(default_factory=list)
    rounds: list[dict[str, Load]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def per_one(self, of: Callable[[Load], int]) -> Timings:
        """Return a quantity of each turn, divided by what was done in it."""
        rounds = [
            {name: round(of(load) / load.done) for name, load in taken.items() if load.done}
            for taken in self.rounds
        ]
        return Timings(self.title, self.names, {self.against: self.references}, rounds=rounds)

    def columns(self) -> dict[str, Timings]:
        """Return the quantities that are compared: the time for each, and its processor time."""
        return {
            "elapsed": self.per_one(lambda load: load.elapsed),
            "machine": self.per_one(lambda load: load.machine.busy),
            **{name: self.per_one(used_by(name)) for name in self.processors},
        }

    def pooled(self, name: str, kind: str) -> list[int]:
        """Return all times of one kind, of all rounds."""
        return [
            took
            for taken in self.rounds
            if name in taken
            for took in taken[name].times.get(kind, ())
        ]

    def table(self) -> Table:
        """Return a row for each system."""
        columns, rows = self.columns(), []
        for name in self.names:
            if not columns["elapsed"].times(name):
                continue
            cells = [name, self.what.get(name, "")]
            cells.append(f"{1e9 / statistics.median(columns['elapsed'].times(name)):,.0f}")
            cells.append(show_ratio(columns["elapsed"].ratio(name, self.references.get(name))))
            for kind in self.kinds:
                times = self.pooled(name, kind)
                cells += (
                    [show_time(statistics.median(times)), show_time(percentile(times, 99))]
                    if times
                    else ["-", "-"]
                )
            for label in ("machine", *self.processors):
                times = columns[label].times(name)
                cells.append(show_time(statistics.median(times)) if times else "-")
                cells.append(show_ratio(columns[label].ratio(name, self.references.get(name))))
            rows.append((*cells, str(len(columns["elapsed"].times(name)))))
        timed = [title for kind in self.kinds for title in (kind, "p99")]
        used = [
            title
            for label in ("machine", *self.processors)
            for title in (f"CPU, {label}", f"/ {self.against}")
        ]
        header = ("", "what is over", self.unit, f"/ {self.against}", *timed, *used, "rounds")
        return Table(self.title, header, rows, [*self.remarks, *self.noise(), *self.problems])

    def noise(self) -> list[str]:
        """Say what the machine did beside the systems."""
        loads = [load for taken in self.rounds for load in taken.values()]
        idle = [taken[IDLE] for taken in self.rounds if IDLE in taken]
        remarks = []
        if elapsed := sum(load.elapsed for load in loads):
            stolen = sum(load.machine.stolen for load in loads) / elapsed
            remarks.append(f"stolen by the hypervisor: {stolen:.1%} of one processor")
        if elapsed := sum(load.elapsed for load in idle):
            busy = sum(load.machine.busy for load in idle) / elapsed
            remarks.append(f"the machine by itself: {busy:.1%} of one processor")
        return remarks

    def data(self) -> JSON:
        """Return the figures, and each round's totals."""
        figures: dict[str, JSON] = {}
        columns = self.columns()
        for name in self.names:
            if not columns["elapsed"].times(name):
                continue
            reference = self.references.get(name)
            kinds: dict[str, JSON] = {
                kind: {"median": statistics.median(times), "p99": percentile(times, 99)}
                for kind in self.kinds
                if (times := self.pooled(name, kind))
            }
            figures[name] = {
                "what": self.what.get(name, ""),
                "reference": reference,
                "times": kinds,
                **{
                    label: {
                        "median": statistics.median(each.times(name)),
                        "ratio": each.ratio(name, reference),
                    }
                    for label, each in columns.items()
                    if each.times(name)
                },
            }
        return {
            "title": self.title,
            "unit": "ns for each",
            "figures": figures,
            "rounds": [
                {
                    name: {
                        "done": load.done,
                        "elapsed": load.elapsed,
                        "machine": load.machine.busy,
                        "stolen": load.machine.stolen,
                        **load.processor,
                    }
                    for name, load in taken.items()
                }
                for taken in self.rounds
            ],
            "remarks": [*self.remarks, *self.noise()],
            "problems": self.problems,
        }


def used_by(name: str) -> Callable[[Load], int]:
    """Return what gets a processor time out of a load."""
    return lambda load: load.processor[name]


def idle(seconds: float) -> Load:
    """Do nothing for so long."""
    began = time.perf_counter_ns()
    _, machine = measured(lambda: time.sleep(seconds))
    return Load(0, time.perf_counter_ns() - began, machine)
