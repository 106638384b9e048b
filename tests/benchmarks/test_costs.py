"""What a session costs, counted: the same on a slow machine, and more as soon as somebody polls."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ptykill.containment import why_not
from tests.benchmarks import counted

PATIENCE = 120.0
"""Seconds for a host that needs three."""
SCANS = {"session": (0, 1), "keeper": (0, 0), "cgroup": (0, 0)}
"""Looks through the process table: for a leader that leaves when it is asked to, and a deaf one."""
SLEEPS = 20
"""A host sleeps four times in a deaf one's grace; one that polls every 10 ms, forty times."""
CALLS = {"session": (35, 0), "keeper": (12, 10), "cgroup": (30, 15)}
"""System calls for a sleep that leaves when it is asked to: of the host, of the keeper."""


@pytest.fixture(params=["session", "keeper", "cgroup"])
def tier(request: pytest.FixtureRequest) -> str:
    """Take each way to contain a session in turn."""
    name: str = request.param
    reason = why_not(name)
    if reason is not None:
        pytest.skip(reason)
    return name


def run(*arguments: str, wrapper: Sequence[str] = ()) -> Any:  # noqa: ANN401 - JSON
    """Run the host that counts, and return what it has counted."""
    command = [*wrapper, sys.executable, counted.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def least(kills: list[dict[str, int]], what: str) -> int:
    """Return what a kill costs that nothing else on the machine has held up."""
    return min(kill[what] for kill in kills)


def test_scans_and_wake_ups(tier: str) -> None:
    """No look through the process table more than before, no polling, no wake-up when idle."""
    told = run(tier)
    scans = least(told["kills"], "scans"), least(told["deaf"], "scans")
    assert scans == SCANS[tier]
    assert least(told["deaf"], "sleeps") <= SLEEPS
    assert told["idle"] == {"host": 0, "beside": 0}


def test_system_calls(tier: str, tmp_path: Path) -> None:
    """An ordinary kill takes hardly more system calls than it did; nor does its keeper."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not on PATH")
    trace = tmp_path / "trace"
    probe = ["strace", "-f", "-qq", "-o", str(trace)]
    if subprocess.run([*probe, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    told = run(tier, "--kills-only", wrapper=probe)
    traced = list(zip(told["kills"], marked(trace.read_text()), strict=True))
    host = min(calls[told["host"]] for _, calls in traced)
    keeper = min(calls[kill["parent"]] for kill, calls in traced) if tier != "session" else 0
    assert 0 < host <= CALLS[tier][0]
    assert keeper <= CALLS[tier][1]


def marked(trace: str) -> Iterator[Counter[int]]:
    """Return how many calls each process made, from each mark in a trace to the next."""
    calls: Counter[int] | None = None
    for line in trace.splitlines():
        if counted.BEGIN in line:
            calls = Counter()
        elif counted.END in line and calls is not None:
            yield calls
            calls = None
        elif calls is not None and (begun := re.match(r"(\d+) +\w+\(", line)):
            calls[int(begun[1])] += 1
