"""Small forms of the benchmarks' cases: each row is there, and counts right."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

import ptykill
from benchmarks.__main__ import other_ptykill
from benchmarks.cases import CASES, bursts, http_rates, pools, rates
from benchmarks.cases.teardown import GRACE
from benchmarks.hosts import OTHER, Hosts, Limits
from benchmarks.loads import Loads
from benchmarks.report import Figures, Result, Timings
from benchmarks.systems import TIERS
from benchmarks.systems.floor import FLOOR, VERIFIED
from ptykill.system.containment import why_not
from tests.benchmarks.sleeper import session

pytestmark = pytest.mark.usefixtures("installed")

SECONDS = 60.0
"""Bounds a case, if its rounds do not."""
SOON = Limits(1, SECONDS, largest=4, turn=0.1)
SYSTEMS = ("floor", "bare_python", *TIERS, "trio_process", "asyncio_process", "popen")
HERE = [tier for tier in ("session", "keeper", "cgroup") if why_not(tier) is None]
OURS = [f"ptykill, {tier}" for tier in HERE]
OTHERS = ["Python, leader only", "trio.Process", "asyncio", "subprocess"]


def rows(result: Result) -> dict[str, dict[str, str]]:
    """Return the cells of a table, by their row and their column."""
    table = result.table()
    assert result.problems == []
    assert len({row[0] for row in table.rows}) == len(table.rows)
    return {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}


@pytest.mark.parametrize(
    ("at_once", "program", "grace"),
    [(1, "sleep", GRACE), (3, rates.PAUSE, GRACE), (3, "sleep", 0.0)],
)
def test_sessions_per_second(
    at_once: int, program: str, grace: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each system spawns and ends sessions; each is compared with C that does the same work."""
    if program == rates.PAUSE and shutil.which("cc") is None:
        pytest.skip("no C compiler")
    monkeypatch.setattr(rates, "MODULES", SYSTEMS)
    result = rates.churn(at_once, SOON, program, grace=grace)
    assert isinstance(result, Loads)
    found = rows(result)
    assert found.keys() >= {*OURS, *OTHERS}
    done = result.rounds[0]
    for name in found:
        assert done[name].done == len(done[name].times[rates.ONE]) > 0
        assert done[name].done >= at_once  # Each worker has ended one.
        assert max(done[name].times[rates.ONE]) <= done[name].elapsed
        # No worker has two sessions at a time.
        assert sum(done[name].times[rates.ONE]) <= at_once * done[name].elapsed
        assert found[name]["what is over"] == result.what[name]
    for name in OTHERS:
        assert (result.what[name], result.references[name]) == ("leader", FLOOR)
    for name in OURS:
        assert "proven" in result.what[name]
        assert result.references[name] == VERIFIED


def test_a_program_that_can_not_be_compiled_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other cases are measured all the same."""
    monkeypatch.setenv("CC", "no-such-compiler")
    table = rates.churn(1, SOON, rates.PAUSE).table()
    assert table.rows == []
    assert "no-such-compiler is not on PATH" in table.remarks[0]


def lying(pids: list[int]) -> Callable[..., object]:
    """Return a way to ask for sessions whose answer is made up."""

    def ask(_hosts: Hosts, verb: str, *_about: object) -> object:
        return {"churn": [0, 10**9, [[pid, 1000] for pid in pids]], "burst": [1000, pids]}[verb]

    return ask


def test_a_session_that_was_left_is_a_problem_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that leaves its sessions alive gets no clean row."""
    monkeypatch.setattr(rates, "MODULES", ("popen",))
    monkeypatch.setattr(bursts, "MODULES", ("popen",))
    with session() as leader:
        monkeypatch.setattr(Hosts, "ask", lying([leader]))
        left = f"subprocess: left when it was over: [{leader}]"
        assert left in rates.churn(1, SOON).problems
        assert bursts.burst(SOON).problems == ["subprocess: 1 sessions of 4", left]


def test_a_burst_of_spawns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each system has all its sessions, and each has written a byte."""
    monkeypatch.setattr(bursts, "MODULES", ("posix_spawn", *TIERS, "trio_process"))
    result = bursts.burst(SOON)
    assert isinstance(result, Timings)
    assert rows(result).keys() == {"posix_spawn", *OURS, "trio.Process"}


def test_requests_per_second() -> None:
    """The server that does nothing, and the daemon with each containment."""
    result = http_rates.requests(3, SOON)
    assert isinstance(result, Loads)
    found = rows(result)
    assert found.keys() == {"no-op", *(f"ptykill serve, {tier}" for tier in HERE)}
    for name, load in result.rounds[0].items():
        if name in found:
            assert load.done == len(load.times["create"]) == len(load.times["DELETE"]) >= 3
            assert load.processor["server"] > 0
            assert result.references[name] == "no-op"


def test_another_installation_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its systems have labels of their own."""
    monkeypatch.setattr(rates, "MODULES", ("ptykill_tier:session",))
    monkeypatch.setattr(rates, "TIERS", ("ptykill_tier:session",))
    found = rows(rates.churn(1, Limits(1, SECONDS, turn=0.1, other=sys.executable)))
    assert list(found) == ["ptykill, session", f"ptykill, session, {OTHER}"]


def test_another_installation_that_can_not_be_measured_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rest is measured all the same."""
    monkeypatch.setattr(rates, "MODULES", ("ptykill_tier:session",))
    monkeypatch.setattr(rates, "TIERS", ("ptykill_tier:session",))
    result = rates.churn(1, Limits(1, SECONDS, turn=0.1, other="/bin/true"))
    assert list(rows(result)) == ["ptykill, session"]
    assert any(f"{OTHER}: skipped" in remark for remark in result.table().remarks)


def test_another_installation_is_named() -> None:
    """So that the same code is not compared with itself unnoticed."""
    assert other_ptykill(sys.executable) == f"{ptykill.__file__} {ptykill.__version__}"
    with pytest.raises(SystemExit, match="has no ptykill"):
        other_ptykill("/bin/true")


def test_what_is_held_after_a_burst() -> None:
    """Each session has had a keeper, and has ended when the row says so."""
    result = pools.pool(Limits(1, 0.5, largest=4))
    assert result.problems == []
    assert isinstance(result, pools.Pools)
    assert {f"ptykill, {tier}" for tier in HERE if tier != "session"} == result.after.keys()
    for name, looks in result.after.items():
        # The warden and one keeper, or two: the first session of a busy machine takes long enough.
        assert result.before[name].beside in (2, 3)
        assert result.full[name].beside >= 5  # The warden, and each session's keeper.
        assert list(looks) == [0.5]
        assert looks[0.5].their_memory > looks[0.5].warden > 0
    assert len(result.table().rows) == 4 * len(result.after)


def test_what_idle_sessions_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each session has one keeper, and a warden is there for all."""
    # Its package has a function of the same name.
    monkeypatch.setattr(sys.modules["benchmarks.cases.idle"], "MODULES", TIERS)
    result = CASES["idle"].run(Limits(1, 0.2, largest=3))
    assert isinstance(result, Figures)
    figures = result.figures
    assert figures.keys() >= set(OURS)
    for name in OURS:
        kept = name != "ptykill, session"
        assert figures[name]["processes"] == kept
        assert (figures[name]["warden MiB"] > 0) == kept
        assert figures[name]["helper MiB"] >= figures[name]["warden MiB"]
        assert figures[name]["host MiB"] > 1


def test_start_up_of_the_command_line() -> None:
    """A run of each containment stands beside a bare interpreter, and beside trio's import."""
    result = CASES["start-up"].run(Limits(1, SECONDS))
    runs = {f"ptykill run -- true, {tier}" for tier in HERE}
    found = rows(result)
    assert found.keys() >= {"python -c pass", "import trio", *runs}
    times: Any = result.data()
    bare = times["figures"]["python -c pass"]["median"]
    assert all(times["figures"][name]["median"] > bare > 0 for name in runs)
