"""Start the processes that hold the systems, and give each system its turn."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

from benchmarks.report import Ending
from benchmarks.systems import PROGRAMS, comm
from benchmarks.worker import Worker
from ptykill.testing import processes
from ptykill.testing.observer import Observer

__all__ = ["OTHER", "START_BOUND", "Hosts", "Limits", "Notes", "interleave"]

T = TypeVar("T")

OTHER = "other"
"""What the label of a system ends in that has another ptykill."""
WARM_UP = 2
"""Rounds before the first that counts, if there are many."""
START_BOUND = 120.0
"""Seconds that a host may take to start, and to fill its memory."""
LATER = 1.0
"""Seconds after the answer at which the processes left alive are counted."""
UP_BOUND = 20.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a case: it stops after so many rounds or so many seconds.

    ``largest`` is the largest size of a case that grows: megabytes, sessions, processes. ``turn``
    is for how many seconds a system works in its turn, where that is what ends it. ``other`` is
    another interpreter, whose ptykill is measured beside this one's, where a case can do that.
    """

    rounds: int
    seconds: float
    largest: int = 0
    turn: float = 1.0
    other: str = ""


class Notes(Protocol):
    """Where remarks and problems of a case are collected."""

    remarks: list[str]
    problems: list[str]


@dataclass(slots=True)
class Hosts:
    """Processes that hold systems (`benchmarks.system_host`), each system known by a label."""

    stack: ExitStack
    remarks: list[str] = field(default_factory=list)
    systems: dict[str, tuple[Worker, str]] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    """What is over when a system answers, by its label."""

    def start(self, modules: Sequence[str], megabytes: int = 0, size: str = "") -> list[str]:
        """Start a host; return the names of its systems. A size becomes part of their labels."""
        return self._met(self._launched(modules, megabytes), modules, size)

    def start_other(self, python: str, modules: Sequence[str]) -> list[str]:
        """Start hosts with the ptykill of another interpreter; return the labels of their systems.

        An empty name starts none. That ptykill has to have what the modules import of it.
        """
        if not python:
            return []
        # Of the checkout they can import the benchmarks alone.
        alone = self.stack.enter_context(TemporaryDirectory())
        Path(alone, "benchmarks").symlink_to(Path(__file__).resolve().parent)
        labels = []
        for module in modules:
            try:
                host = self._launched([module], python=python, cwd=alone)
                labels += [f"{name}, {OTHER}" for name in self._met(host, [module], OTHER)]
            except EOFError as error:
                self.remarks.append(f"{module}, {OTHER}: skipped, {error}")
        return labels

    def start_each(self, modules: Sequence[str]) -> list[str]:
        """Start a host for each of them; return the names of all systems."""
        workers = [self._launched([module]) for module in modules]
        return [
            name
            for worker, module in zip(workers, modules, strict=True)
            for name in self._met(worker, [module])
        ]

    def _launched(
        self,
        modules: Sequence[str],
        megabytes: int = 0,
        *,
        python: str = sys.executable,
        cwd: str | None = None,
    ) -> Worker:
        argv = [python, "-m", "benchmarks.system_host", str(megabytes), *modules]
        return self.stack.enter_context(Worker(argv, cwd=cwd))

    def _met(self, host: Worker, modules: Sequence[str], size: str = "") -> list[str]:
        about = json.loads(host.answer(START_BOUND))
        for module, reason in about["skipped"].items():
            remark = f"{module}: skipped, {reason}"
            if remark not in self.remarks:
                self.remarks.append(remark)
        if size and size != OTHER:
            self.remarks.append(f"{size}: {about['resident']} resident: {', '.join(modules)}")
        for name, ends in about["systems"].items():
            label = f"{name}, {size}" if size else name
            self.systems[label], self.ends[label] = (host, name), ends
        return list(about["systems"])

    def ask(self, verb: str, label: str, *fields: object, observer: Observer | None = None) -> Any:
        """Send a request to a system, and return its answer."""
        host, name = self.systems[label]
        answer = json.loads(host.ask(verb, name, *map(str, fields), observer=observer))
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def end(self, label: str, program: str, grace: float, count: int = 1) -> Ending:
        """Have a system spawn and end sessions, and observe their processes."""
        leaders = self.ask("prepare", label, program, count)
        with Observer(complete(leaders, program), kills=True) as observer:
            start, stop = self.ask("end", label, grace, observer=observer)
            observer.record()
            late = len(observer.alive)
            reaped = not any(observer.exists(leader) for leader in leaders)
            observer.wait(stop / 1e9 + LATER - time.perf_counter())
            return Ending(
                answered=stop - start,
                dead=None if observer.alive else max(observer.died.values()) - start,
                members=len(observer.alive) + len(observer.died),
                late=late,
                left=len(observer.alive),
                reaped=reaped,
            )

    def end_unobserved(self, label: str, program: str, grace: float) -> int:
        """Have a system spawn and end a session, without waking; return what it took (ns)."""
        leaders = self.ask("prepare", label, program, 1)
        with Observer(leaders, records=False, kills=True):
            start, stop = self.ask("end", label, grace)
        return int(stop - start)


def complete(leaders: Sequence[int], program: str) -> list[int]:
    """Wait until the sessions have all processes of the program; return their pids."""
    until = time.monotonic() + UP_BOUND
    while time.monotonic() < until:
        found = processes.session_pids(leaders)
        jobs = PROGRAMS[program].jobs
        if not jobs or sum(comm(pid) == "sleep" for pid in found) == jobs * len(leaders):
            return found
        time.sleep(0.01)
    raise TimeoutError(f"{program} did not start all its jobs")


def interleave(
    names: Sequence[str],
    one: Callable[[str], T],
    limits: Limits,
    notes: Notes,
) -> list[dict[str, T]]:
    """Call ``one`` for every system in every round, in another order in each.

    So a drift of the machine affects all alike, and none is always measured after the same other.
    """
    order = random.Random(0)  # the same orders in each run
    began = time.monotonic()
    rounds: list[dict[str, T]] = []
    for number in range(-min(WARM_UP, limits.rounds // 5), limits.rounds):
        if number > 0 and time.monotonic() > began + limits.seconds:
            notes.remarks.append(f"{number} rounds of {limits.rounds}: the time was up")
            break
        taken: dict[str, T] = {}
        for name in order.sample(names, len(names)):
            try:
                taken[name] = one(name)
            except Exception as error:  # noqa: BLE001 - any error is the system's result
                notes.problems.append(f"{name}, round {number}: {error}")
        if number >= 0:
            rounds.append(taken)
    return rounds
