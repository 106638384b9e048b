"""What many sessions leave behind in their host: descriptors, threads, processes."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any

from benchmarks.hosts import START_BOUND, Limits
from benchmarks.report import JSON, Result
from benchmarks.tables import Table
from benchmarks.worker import Worker

__all__ = ["leaks"]


@dataclass(slots=True)
class Leaks:
    """The counts of `benchmarks.leak_check`; none if it could not run."""

    counted: dict[str, Any]
    remarks: list[str]
    problems: list[str] = field(default_factory=list)

    def table(self) -> Table:
        """Return a row for each count."""
        title = "Leaks: ptykill was not measured"
        rows: list[tuple[str, ...]] = []
        if self.counted:
            sessions, seconds = self.counted["sessions"], self.counted["seconds"]
            title = (
                f"Leaks: {sessions} sessions spawned and ended, {sessions / seconds:.0f} per second"
            )
            (before, after), (first, last) = self.counted["around"], self.counted["inside"]
            rows = [
                (name, *(str(counts[name]) for counts in (before, first, last, after)))
                for name in before
            ]
        header = ("", "before opening", "after the first", "after the last", "after closing")
        return Table(title, header, rows, [*self.remarks, *self.problems])

    def data(self) -> JSON:
        """Return the counts."""
        return {"counted": self.counted, "remarks": self.remarks, "problems": self.problems}


def leaks(limits: Limits) -> Result:
    """Spawn and end many sessions in another process, and compare its counts."""
    argv = [sys.executable, "-m", "benchmarks.leak_check", str(limits.rounds), str(limits.seconds)]
    with Worker(argv) as worker:
        try:
            counted = json.loads(worker.answer(limits.seconds + START_BOUND))
        except (EOFError, TimeoutError) as error:
            return Leaks({}, [], [str(error)])
    first, last = counted["resident"]
    result = Leaks(counted, [f"resident memory: {(last - first) / 1e6:+.1f} MB over them all"])
    for where in ("around", "inside"):
        before, after = counted[where]
        if any(after[each] > before[each] for each in before):
            result.problems.append(f"leaked, {where} the supervisor: {before} became {after}")
    return result
