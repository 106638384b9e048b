"""The results of cases: as tables for a person, as data for a program."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol, TypeAlias

from benchmarks.tables import Table, percentile, show_ratio, show_time

__all__ = [
    "JSON",
    "Curve",
    "Ending",
    "Endings",
    "Figures",
    "Result",
    "Timings",
]


JSON: TypeAlias = Mapping[str, "JSON"] | Sequence["JSON"] | str | int | float | None


class Result(Protocol):
    """The result of a case."""

    @property
    def problems(self) -> list[str]:
        """What was wrong; ``[]`` if nothing was."""

    def table(self) -> Table:
        """Return a table for a person."""

    def data(self) -> JSON:
        """Return all data, for a program."""


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
        """Return a system's times, of the rounds in which it succeeded."""
        return [taken[name] for taken in self.rounds if name in taken]

    def ratio(self, name: str, other: str | None) -> tuple[float, float] | None:
        """Return the median of the rounds' ratios, and the ratio of the medians."""
        both = [taken for taken in self.rounds if other and taken.get(other) and name in taken]
        if not both or other is None:
            return None
        return (
            statistics.median(taken[name] / taken[other] for taken in both),
            statistics.median(self.times(name)) / statistics.median(self.times(other)),
        )

    def columns(self, name: str) -> tuple[str, ...]:
        """Return the cells of a system: its median, its p99, and its ratios."""
        times = self.times(name)
        ratios = [self.ratio(name, other.get(name)) for other in self.references.values()]
        return (
            show_time(statistics.median(times)) if times else "-",
            show_time(percentile(times, 99)) if times else "-",
            *map(show_ratio, ratios),
        )

    def table(self) -> Table:
        """Return a row for each system."""
        rows = [
            (name, *self.columns(name), str(len(self.times(name))))
            for name in self.names
            if self.times(name)
        ]
        header = ("", "median", "p99", *self.references, "rounds")
        return Table(self.title, header, rows, [*self.remarks, *self.problems])

    def data(self) -> JSON:
        """Return every round, and the figures of the table."""
        figures: dict[str, JSON] = {}
        for name in self.names:
            if times := self.times(name):
                ratios: dict[str, JSON] = {
                    column: self.ratio(name, other.get(name))
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


@dataclass(frozen=True, slots=True)
class Ending:
    """One end of sessions: by the system's clock, and as the observer saw it.

    Times are nanoseconds since the call. ``dead`` is the death of the last member, None if one was
    left. ``late`` counts the members that lived when the observer had received the answer, ``left``
    those that lived a second later.
    """

    answered: int
    dead: int | None
    members: int
    late: int
    left: int
    reaped: bool


@dataclass(slots=True)
class Endings:
    """Ends of sessions, compared with those of one system.

    ``warm`` has ends that were not observed; each is the median of several in a row.
    """

    title: str
    names: list[str]
    reference: str
    remarks: list[str] = field(default_factory=list)
    rounds: list[dict[str, Ending]] = field(default_factory=list)
    warm: list[dict[str, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def answered(self) -> Timings:
        """The answers alone."""
        return self._timings(
            [{name: one.answered for name, one in taken.items()} for taken in self.rounds]
        )

    @property
    def in_a_row(self) -> Timings:
        """The ends that were not observed."""
        return self._timings(self.warm)

    def median(self, name: str, of: Callable[[Ending], float]) -> float:
        """Return the median of an attribute of a system's ends."""
        return statistics.median(of(taken[name]) for taken in self.rounds if name in taken)

    def dead(self, name: str) -> float:
        """Return the median time of the last death; infinity if a process was mostly left."""
        return self.median(name, lambda one: math.inf if one.dead is None else one.dead)

    def table(self) -> Table:
        """Return a row for each system."""
        answers, warm = self.answered, self.in_a_row
        rows = []
        for name in self.names:
            if not answers.times(name):
                continue
            dead = self.dead(name)
            members = self.median(name, lambda one: one.members)
            counts = [self.median(name, of) for of in (lambda one: one.late, lambda one: one.left)]
            rows.append(
                (
                    name,
                    *answers.columns(name),
                    "never" if math.isinf(dead) else show_time(dead),
                    *(f"{count:.0f} of {members:.0f}" if round(count) else "-" for count in counts),
                    *((warm.columns(name)[0], warm.columns(name)[2]) if self.warm else ()),
                    str(len(answers.times(name))),
                )
            )
        row = ("in a row", "/ C ") if self.warm else ()
        header = ("", "answered", "p99", "/ C", "all dead", "alive then", "1 s on", *row, "rounds")
        return Table(self.title, header, rows, [*self.remarks, *self.problems])

    def data(self) -> JSON:
        """Return every round, and the figures of the table."""
        figures: dict[str, JSON] = {}
        for name in self.names:
            if self.answered.times(name):
                dead = self.dead(name)
                figures[name] = {
                    "dead": None if math.isinf(dead) else dead,
                    "members": self.median(name, lambda one: one.members),
                    "alive at the answer": self.median(name, lambda one: one.late),
                    "alive a second later": self.median(name, lambda one: one.left),
                    "leader reaped at the answer": self.median(name, lambda one: one.reaped),
                }
        return {
            "title": self.title,
            "figures": figures,
            "answered": self.answered.data(),
            "in a row": self.in_a_row.data(),
            "rounds": [{name: asdict(one) for name, one in taken.items()} for taken in self.rounds],
            "remarks": self.remarks,
            "problems": self.problems,
        }

    def _timings(self, rounds: list[dict[str, int]]) -> Timings:
        return Timings(
            self.title,
            self.names,
            {"/ C": dict.fromkeys(self.names, self.reference)},
            rounds=rounds,
        )


@dataclass(slots=True)
class Curve:
    """The same ends at growing sizes: ``parts`` has them by size."""

    title: str
    of: str
    parts: dict[int, Endings]
    remarks: list[str]

    @property
    def problems(self) -> list[str]:
        """Those of its parts."""
        return [f"{size:,}: {each}" for size, part in self.parts.items() for each in part.problems]

    def table(self) -> Table:
        """Return a row for each system, and a column for each size."""
        answers = {size: part.answered for size, part in self.parts.items()}
        names = [*dict.fromkeys(name for part in self.parts.values() for name in part.names)]
        rows = []
        for name in names:
            cells = []
            for timings in answers.values():
                times = timings.times(name)
                ratio = timings.ratio(name, timings.references["/ C"].get(name))
                text = f"{show_time(statistics.median(times))}" if times else "-"
                cells.append(text + (f" ({ratio[0]:.2f})" if ratio else ""))
            rows.append((name, *cells))
        reference = next(iter(self.parts.values())).reference
        note = f"in brackets: times {reference}, the median of the rounds' ratios"
        header = (self.of, *(f"{size:,}" for size in self.parts))
        return Table(self.title, header, rows, [note, *self.remarks, *self.problems])

    def data(self) -> JSON:
        """Return each part's."""
        return {
            "title": self.title,
            "of": self.of,
            "parts": {str(size): part.data() for size, part in self.parts.items()},
            "remarks": self.remarks,
            "problems": self.problems,
        }


@dataclass(slots=True)
class Figures:
    """Counts instead of times."""

    title: str
    formats: dict[str, str]
    remarks: list[str] = field(default_factory=list)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def table(self) -> Table:
        """Return a row for each system."""
        rows: list[tuple[str, ...]] = [
            (label, *(format(counts[name], how) for name, how in self.formats.items()))
            for label, counts in self.figures.items()
        ]
        return Table(self.title, ("", *self.formats), rows, [*self.remarks, *self.problems])

    def data(self) -> JSON:
        """Return the figures."""
        return {"figures": self.figures, "remarks": self.remarks, "problems": self.problems}
