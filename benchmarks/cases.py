"""What is measured. Every case returns a `Result`, and keeps to its limits."""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import ptykill
from benchmarks.attached import FLOODED, FLOODS, MEGABYTES, OUTPUTS, PUMPED, QUIET, Attached
from benchmarks.report import JSON, InTurns, Result, Table, Timings, proc_field
from benchmarks.systems import TERMINATORS, TIERS, load
from benchmarks.systems.floor import FLOOR, VERIFIED
from benchmarks.systems.posix_spawn import POSIX_SPAWN
from benchmarks.worker import Worker

__all__ = ["CASES", "Case", "Limits"]

WARM_UP = 3
"""Rounds before the first that counts."""
START_BOUND = 60.0
"""Seconds that a host may take to start, and to fill its memory."""
GRACE = 2.0
"""Seconds that a cooperative session is given."""
SHORT_GRACE = 0.1
"""Seconds that a stubborn one is given; ptyprocess has no other."""
IN_A_ROW = 3
"""Sessions that a system ends in one turn after the first."""
CROWDS = (100, 5_000)
"""So many other processes there are when it is told whether that makes a difference."""
SIZES = {"small": 0, "500 MB": 500, "2 GB": 2000}
"""Memory, in MB, that a spawning host holds beside its own."""
HOUSEMATES = (("posix_spawn", *TIERS), ("pty_fork", "pty_process"))
"""Modules whose spawn is compared; those that fork the host share none with those that don't."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A case stops at the first: so many rounds (or cycles), so many seconds since it began.

    ``largest`` is the memory, in MB, of the largest host of ``spawn``, which may take longer to
    fill than all else; and the sessions that ``many`` ends at once.
    """

    rounds: int
    seconds: float
    largest: int = 2000


@dataclass(frozen=True, slots=True)
class Case:
    """A case, and how long it is in the full and in the quick form."""

    about: str
    run: Callable[[Limits], Result]
    full: Limits
    quick: Limits


@dataclass(slots=True)
class Hosts:
    """Processes that hold systems (`benchmarks.host`), each system known by a label."""

    stack: ExitStack
    began: float = field(default_factory=time.monotonic)
    remarks: list[str] = field(default_factory=list)
    systems: dict[str, tuple[Worker, str]] = field(default_factory=dict)

    def start(self, modules: Sequence[str], megabytes: int = 0, size: str = "") -> list[str]:
        """Start one more; return the names of its systems. A size becomes part of their labels."""
        argv = [sys.executable, "-m", "benchmarks.host", str(megabytes), *modules]
        host = self.stack.enter_context(Worker(argv))
        about = json.loads(host.answer(START_BOUND))
        for remark in remarks(about["skipped"]):
            if remark not in self.remarks:
                self.remarks.append(remark)
        if size:
            self.remarks.append(f"{size}: {about['resident']} resident: {', '.join(modules)}")
        for name in about["systems"]:
            self.systems[f"{name}, {size}" if size else name] = host, name
        return list(about["systems"])

    def ask(self, verb: str, label: str, *fields: str) -> int:
        """Have a system do something, and return nanoseconds."""
        host, name = self.systems[label]
        answer = host.ask(verb, name, *fields)
        if not answer.isdigit():
            raise RuntimeError(answer)
        return int(answer)


def teardown(title: str, program: str, grace: float, past: float, limits: Limits) -> Result:
    """Time the end of sessions, less the seconds that are ``past`` by design.

    Of those that a system ends in one turn the first finds everything cold.
    """
    with ExitStack() as stack:
        hosts = Hosts(stack)
        for module in TERMINATORS:
            hosts.start([module])
        labels = list(hosts.systems)
        result = InTurns(title, labels, {"/ C": dict.fromkeys(labels, FLOOR)}, hosts.remarks)

        def turn(label: str) -> int:
            first, *others = (
                hosts.ask("end", label, program, str(grace)) - round(past * 1e9)
                for _ in range(1 + IN_A_ROW)
            )
            result.note(label, round(statistics.median(others)))
            return first

        interleave(result, turn, limits, hosts.began)
    return result


def neighbours(limits: Limits) -> Result:
    """Time the end of a session among few other processes, and among many."""
    with ExitStack() as stack:
        hosts = Hosts(stack)
        for module in ("floor", *TIERS):
            hosts.start([module])
        crowd = stack.enter_context(Worker([sys.executable, "-m", "benchmarks.crowd"]))
        crowd.answer(START_BOUND)
        pairs = {f"{name}, {size:,}": (name, size) for name in hosts.systems for size in CROWDS}
        result = Timings(
            "bash -i, by the number of other processes: from the call until the leader is reaped",
            list(pairs),
            {
                f"/ {CROWDS[0]}": {
                    label: f"{name}, {CROWDS[0]:,}" for label, (name, _) in pairs.items()
                },
                "/ C": {label: f"{VERIFIED}, {size:,}" for label, (_, size) in pairs.items()},
            },
            remarks=hosts.remarks,
        )
        taken: dict[int, list[dict[str, int]]] = {size: [] for size in CROWDS}
        # Twice each, so that a drift of the machine does not look like the crowd's doing.
        for size in (*CROWDS, *reversed(CROWDS)):
            crowd.ask(str(size))
            part = Timings("", [label for label, (_, of) in pairs.items() if of == size], {})
            half = replace(limits, rounds=max(1, limits.rounds // 2))

            def one(label: str) -> int:
                return hosts.ask("end", pairs[label][0], "bash", str(GRACE))

            interleave(part, one, half, time.monotonic())
            taken[size] += part.rounds
            result.problems += part.problems
        result.rounds = [dict(few, **many) for few, many in zip(*taken.values(), strict=False)]
    return result


def many(limits: Limits) -> Result:
    """Time the end of many sessions at once."""
    with ExitStack() as stack:
        hosts = Hosts(stack)
        for module in ("floor", "trio_process", *TIERS):
            hosts.start([module])
        labels = [label for label in hosts.systems if label != FLOOR]
        count = limits.largest
        result = Timings(
            f"{count} sessions of sleep, ended at once: until the last leader is reaped",
            labels,
            {"/ C": dict.fromkeys(labels, VERIFIED)},
            remarks=hosts.remarks,
        )
        interleave(
            result, lambda label: hosts.ask("many", label, "sleep", str(count)), limits, hosts.began
        )
    return result


def idle(limits: Limits) -> Result:
    """Count what sessions hold that do nothing."""
    with ExitStack() as stack:
        hosts = Hosts(stack)
        for module in TIERS:
            hosts.start([module])
        count = limits.rounds
        figures = Figures(
            f"{count} idle sessions: what each holds",
            ("", "descriptors", "processes beside", "their memory (PSS)", "wake-ups a second, all"),
            remarks=[*hosts.remarks, "memory: of keepers and wardens, not of what runs in them"],
        )
        for label, (host, name) in hosts.systems.items():
            told = json.loads(host.ask("idle", name, "sleep", str(count)))
            figures.told[label] = told
    return figures


@dataclass(slots=True)
class Figures:
    """What was counted, not timed."""

    title: str
    header: tuple[str, ...]
    remarks: list[str] = field(default_factory=list)
    told: dict[str, dict[str, float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def table(self) -> Table:
        """Return a row for each system."""
        rows: list[tuple[str, ...]] = [
            (
                label,
                f"{told['descriptors']:.2f}",
                f"{told['processes']:.2f}",
                f"{told['memory'] / 2**20:.2f} MiB",
                f"{told['wakes']:.1f}",
            )
            for label, told in self.told.items()
        ]
        return Table(self.title, self.header, rows, [*self.remarks, *self.problems])

    def data(self) -> JSON:
        """Return the figures."""
        return {"figures": self.told, "remarks": self.remarks, "problems": self.problems}


def spawn(limits: Limits) -> Result:
    """Time the spawning call in hosts of several sizes, which live side by side."""
    with ExitStack() as stack:
        hosts = Hosts(stack)
        found: dict[str, None] = {}
        sizes: list[str] = []
        for size, megabytes in SIZES.items():
            if megabytes > limits.largest:
                hosts.remarks.append(f"{size}: only in the full form")
                continue
            if available() < megabytes * len(HOUSEMATES) * 1.1:
                hosts.remarks.append(f"{size}: skipped, there is too little memory")
                continue
            sizes.append(size)
            for modules in HOUSEMATES:
                found |= dict.fromkeys(hosts.start(modules, megabytes, size))
        pairs = {f"{name}, {size}": (name, size) for name in found for size in sizes}
        result = Timings(
            "Spawn: from the call to its return",
            list(pairs),
            {
                f"/ {POSIX_SPAWN}": {
                    label: f"{POSIX_SPAWN}, {size}" for label, (_, size) in pairs.items()
                },
                f"/ {sizes[0]}": {
                    label: f"{name}, {sizes[0]}" for label, (name, _) in pairs.items()
                },
            },
            remarks=hosts.remarks,
        )
        interleave(result, lambda label: hosts.ask("spawn", label, "sleep"), limits, hosts.began)
    return result


def available() -> float:
    """Return the memory that is to be had, in MB."""
    return int((proc_field("meminfo", "MemAvailable") or "0").split()[0]) / 1000


def interleave(result: Timings, one: Callable[[str], int], limits: Limits, began: float) -> None:
    """Have every system take its turn in every round, in an order of the round's own.

    A drift of the machine so hits all alike, and none is always measured after the same other.
    """
    order = random.Random(0)  # the same orders in each run
    for number in range(-WARM_UP, limits.rounds):
        if number > 0 and time.monotonic() > began + limits.seconds:
            result.remarks.append(f"{number} rounds of {limits.rounds}: the time was up")
            break
        taken: dict[str, int] = {}
        for name in order.sample(result.names, len(result.names)):
            try:
                taken[name] = one(name)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the system's result
                result.problems.append(f"{name}, round {number}: {error}")
        if number >= 0:
            result.rounds.append(taken)


def remarks(skipped: Mapping[str, str]) -> Iterable[str]:
    """Say what was skipped."""
    return [f"{module}: skipped, {reason}" for module, reason in skipped.items()]


def output(limits: Limits) -> Result:
    """Time so much output on its way through a WebSocket."""
    with Attached() as clients:
        result = Timings(
            f"Output: {MEGABYTES} MB, from the first byte to the last, one session, one client",
            [*OUTPUTS],
            {f"/ {PUMPED}": dict.fromkeys(OUTPUTS, PUMPED)},
        )
        interleave(result, clients.output, limits, time.monotonic())
    for label in OUTPUTS:
        if times := result.times(label):
            speed = MEGABYTES * 1_000 / statistics.median(times) * 1_000_000
            result.remarks.append(f"{label}: {speed:.0f} MB/s")
    return result


def floods(limits: Limits) -> Result:
    """Time a kill by request beside many sessions whose output is flowing."""
    with Attached() as clients:
        labels = [QUIET, FLOODED]
        result = Timings(
            "DELETE of a cooperative sleep: from the request to the answer",
            labels,
            {f"/ {QUIET}": dict.fromkeys(labels, QUIET)},
        )
        interleave(result, clients.delete, limits, time.monotonic())
    longest = max(result.times(FLOODED), default=0) / 1e9
    if longest > ptykill.HANGUP_THEN_KILL.longest:
        result.problems.append(f"past its plan: {longest:.1f} s")
    return result


@dataclass(slots=True)
class Leaks:
    """What `benchmarks.cycles` counted; nothing if it could not run."""

    counted: dict[str, Any]
    remarks: list[str]
    problems: list[str] = field(default_factory=list)

    def table(self) -> Table:
        """Return a row for each thing that is counted."""
        title = "Leaks: ptykill was not measured"
        rows: list[tuple[str, ...]] = []
        if self.counted:
            cycles, seconds = self.counted["cycles"], self.counted["seconds"]
            title = f"Leaks: {cycles} sessions spawned and ended, {cycles / seconds:.0f} per second"
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


def cycles(limits: Limits) -> Result:
    """Spawn and end many sessions in a process of their own, and compare what it holds."""
    skipped = load([TIERS[0]])[1]
    if skipped:
        return Leaks({}, list(remarks(skipped)))
    argv = [sys.executable, "-m", "benchmarks.cycles", str(limits.rounds), str(limits.seconds)]
    with Worker(argv) as worker:
        try:
            counted = json.loads(worker.answer(limits.seconds + START_BOUND))
        except (EOFError, TimeoutError) as error:
            return Leaks({}, [], [str(error)])
    first, last = counted["resident"]
    leaks = Leaks(counted, [f"resident memory: {(last - first) / 1e6:+.1f} MB over the cycles"])
    for where in ("around", "inside"):
        before, after = counted[where]
        if before != after:
            leaks.problems.append(f"leaked, {where} the supervisor: {before} became {after}")
    return leaks


COOPERATIVE = "from the call until the leader is dead and reaped"
STUBBORN = "from the end of the grace (100 ms) until the leader is dead and reaped"

CASES = {
    "sleep": Case(
        "teardown of a cooperative sleep",
        partial(teardown, f"sleep: {COOPERATIVE}", "sleep", GRACE, 0.0),
        full=Limits(100, 120),
        quick=Limits(10, 12),
    ),
    "bash": Case(
        "teardown of a cooperative interactive bash",
        partial(teardown, f"bash -i: {COOPERATIVE}", "bash", GRACE, 0.0),
        full=Limits(100, 120),
        quick=Limits(10, 12),
    ),
    "stubborn": Case(
        "overshoot past a grace of 100 ms, the leader being deaf to SIGHUP",
        partial(teardown, f"deaf to SIGHUP: {STUBBORN}", "deaf", SHORT_GRACE, SHORT_GRACE),
        full=Limits(30, 120),
        quick=Limits(4, 20),
    ),
    "spawn": Case(
        "spawning from hosts of several sizes", spawn, Limits(60, 90), Limits(12, 12, largest=500)
    ),
    "neighbours": Case(
        "teardown of a cooperative bash among many other processes",
        neighbours,
        Limits(60, 120),
        Limits(10, 30),
    ),
    "many": Case(
        "many sessions ended at once",
        many,
        Limits(10, 300, largest=500),
        Limits(2, 60, largest=50),
    ),
    "idle": Case("what idle sessions hold", idle, Limits(50, 120), Limits(10, 60)),
    "output": Case("output through a WebSocket", output, Limits(10, 90), Limits(3, 15)),
    "floods": Case(
        f"a kill by request, beside {FLOODS} that flood", floods, Limits(30, 120), Limits(5, 30)
    ),
    "cycles": Case("what many sessions leave behind", cycles, Limits(10_000, 300), Limits(500, 5)),
}
"""All cases, by the names that the command line has for them."""
