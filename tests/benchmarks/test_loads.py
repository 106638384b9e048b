"""The arithmetic of the benchmarks' tables, and what they refuse to count."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from benchmarks.cases import bursts, http_rates, rates
from benchmarks.http_clients import Act, checked
from benchmarks.loads import IDLE, Load, Loads
from benchmarks.processor import MachineTime, process_time
from benchmarks.systems import Churned
from tests.benchmarks.sleeper import session
from tests.waiting import TIMEOUT

MS = 1_000_000
C, OURS = "C", "ours"


def load(done: int, elapsed: int, busy: int, took: list[int]) -> Load:
    """Return a load in milliseconds."""
    machine = MachineTime(busy * MS, 0, done)
    return Load(done, elapsed * MS, machine, {"one": [each * MS for each in took]})


def loads(*rounds: dict[str, Load]) -> Loads:
    """Return loads of C and of ours."""
    names, what = [C, OURS], {C: "leader", OURS: "session"}
    references = {C: C, OURS: C}
    return Loads("title", names, "per s", what, references, ("one",), "C", rounds=list(rounds))


def test_a_row_has_rates_times_processor_time_and_ratios() -> None:
    """Rates and ratios are of medians of rounds, and the times of all rounds are pooled."""
    result = loads(
        {C: load(100, 1000, 50, [1, 2]), OURS: load(50, 1000, 100, [3, 5])},
        {C: load(100, 1000, 50, [1, 9]), OURS: load(25, 1000, 100, [4, 6])},
        {C: load(100, 1000, 50, [1, 2]), OURS: load(50, 1000, 100, [3, 5])},
    )
    table = result.table()
    assert table.header == (
        *("", "what is over", "per s", "/ C", "one", "p99"),
        *("CPU, machine", "/ C", "rounds"),
    )
    assert table.rows == [
        (C, "leader", "100", "1.00", "1.5 ms", "9 ms", "500 µs", "1.00", "3"),
        (OURS, "session", "50", "2.00", "4.5 ms", "6 ms", "2 ms", "4.00", "3"),
    ]


def test_an_idle_turn_and_stolen_time_become_remarks() -> None:
    """The load of the machine itself is reported, and is in no row."""
    idle = Load(0, 1000 * MS, MachineTime(30 * MS, 20 * MS, 0))
    table = loads({C: load(1, 1000, 1, [1]), OURS: load(1, 1000, 1, [1]), IDLE: idle}).table()
    assert [row[0] for row in table.rows] == [C, OURS]
    assert table.remarks == [
        "stolen by the hypervisor: 0.7% of one processor",
        "the machine by itself: 3.0% of one processor",
    ]


def test_a_system_that_did_nothing_has_no_row() -> None:
    """Nothing is divided by zero."""
    table = loads({C: load(1, 1000, 1, [1]), OURS: load(0, 1000, 1, [])}).table()
    assert [row[0] for row in table.rows] == [C]


STAT = """\
cpu  1 2 3 4000 5000 6 7 8 9000 10000
cpu0 1 2 3 4000 5000 6 7 8 9000 10000
intr 5 1 2
processes 42
"""


def test_the_machine_is_busy_in_user_nice_system_irq_and_softirq() -> None:
    """Not while it is idle, waits, or is stolen; and a guest's time is counted once."""
    tick = 10 * MS
    assert MachineTime.read(STAT, tick) == MachineTime(19 * tick, 8 * tick, 42)


def test_the_machines_time_and_processes_grow() -> None:
    """A process more is counted, and so is work."""
    before = MachineTime.now()
    began, used = time.thread_time(), process_time_here()
    subprocess.run(["true"], check=True)
    until = time.monotonic() + TIMEOUT
    while time.thread_time() < began + 0.1:
        assert time.monotonic() < until
    spent = MachineTime.now().since(before)
    assert spent.forks >= 1
    assert spent.busy >= 20 * MS
    assert process_time_here() - used >= 50 * MS  # The two clocks differ by microseconds.


def process_time_here() -> int:
    """Return this process's processor time."""
    return process_time(os.getpid())


def test_a_session_that_was_left_is_not_counted_as_ended() -> None:
    """A leader that lives, or is not reaped, is found, whatever the system says."""
    with session() as pid:
        found = rates.wrong(Churned(0, 1, [(pid, 1)]), 1)
        assert found == [f"left when it was over: [{pid}]"]
        assert bursts.wrong([pid], 1) == found
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert bursts.wrong([pid], 1) == found  # A zombie.
    assert rates.wrong(Churned(0, 1, [(pid, 1)]), 1) == []
    assert bursts.wrong([pid], 1) == []


def test_sessions_that_never_were_are_not_counted() -> None:
    """Nor is one counted twice."""
    gone = (1 << 22) + 1  # Above the largest pid that Linux gives out.
    twice = Churned(0, 1, [(gone, 1), (gone, 1)])
    assert rates.wrong(twice, 2) == ["2 sessions have 1 pids"]
    assert rates.wrong(Churned(0, 1, [(gone, 1)]), 0) == [
        "1 sessions, and only 0 processes were made"
    ]
    assert rates.wrong(Churned(0, 1, []), 0) == ["no session"]
    assert bursts.wrong([gone, gone], 2) == ["1 sessions of 2"]


def test_requests_are_counted_only_if_each_create_has_its_delete() -> None:
    """Nor are they if the server has spawned nothing, or has left something."""

    def made(creates: int, deletes: int, forks: int) -> Load:
        times: dict[str, list[int]] = {Act.CREATE: [1] * creates, Act.DELETE: [1] * deletes}
        return Load(deletes, 1, MachineTime(0, 0, forks), times)

    assert http_rates.wrong(made(2, 2, 2), [], spawns=True) == []
    assert http_rates.wrong(made(2, 2, 0), [], spawns=False) == []
    assert http_rates.wrong(made(2, 1, 2), [], spawns=True) == ["2 creates, and 1 DELETEs"]
    assert http_rates.wrong(made(2, 2, 1), [], spawns=True) == [
        "2 sessions, and only 1 processes were made"
    ]
    assert http_rates.wrong(made(1, 1, 1), ["7 sleep"], spawns=True) == [
        "left when it was over: 7 sleep"
    ]
    assert http_rates.wrong(made(0, 0, 0), [], spawns=True) == ["no DELETE was answered"]


def test_an_answer_that_is_no_success_ends_the_turn() -> None:
    """A server that refuses is not a fast one."""
    assert checked(Act.CREATE, 201, b'{"session_id":"a-b_c","token":"d"}') == "a-b_c"
    assert checked(Act.DELETE, 204, b"") is None
    for act, status, body in (
        (Act.CREATE, 201, b"{}"),
        (Act.CREATE, 429, b'{"session_id":"a"}'),
        (Act.DELETE, 500, b"{}"),
        (Act.DELETE, 404, b"{}"),
    ):
        with pytest.raises(RuntimeError, match=str(status)):
            checked(act, status, body)


def test_another_installation_serves_as_well() -> None:
    """With each containment, under a label of its own; the no-op is there once."""
    found = http_rates.contenders("/other/python", [])
    others = {label for label, (_, _, python) in found.items() if python == "/other/python"}
    assert "no-op" in found
    assert {f"{label}, other" for label in found.keys() - {"no-op"} - others} == others
