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

from tests.benchmarks import counted

GRACE_FOR_ORPHANS = 120.0
"""Seconds for a host that needs three."""
SCANS = {"session": (0, 1), "keeper": (0, 0), "cgroup": (0, 0)}
"""Looks through the process table: for a leader that leaves when it is asked to, and a deaf one."""
SLEEPS = 20
"""A host sleeps four times in a deaf one's grace; one that polls every 10 ms, forty times."""
CALLS = {"session": 35, "keeper": 12, "cgroup": 50}
"""System calls of the host for a sleep that leaves when it is asked to.

Seen were 20, 7, and 7 or 38: to remove a cgroup may take more than the 2 ms after which the host
looks for members.
"""
KEEPERS_CALLS = 25
"""The same of its keeper; it is asked for more if the sleep takes more than 2 ms."""


def run(*arguments: str, wrapper: Sequence[str] = ()) -> Any:  # noqa: ANN401 - JSON
    """Run the host that counts, and return what it has counted."""
    command = [*wrapper, sys.executable, counted.__file__, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=GRACE_FOR_ORPHANS, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def least(kills: list[dict[str, int]], what: str) -> int:
    """Return what a kill costs that nothing else on the machine has held up."""
    return min(kill[what] for kill in kills)


def test_scans_and_wake_ups(tier: str) -> None:
    """No look through the process table more than before, no polling, no wake-up when idle."""
    told = run(tier)
    scans = least(told["kills"], "scans"), least(told["deaf"], "scans")
    # Where hardly another process starts (in a pid namespace of its own), one look less will do.
    assert all(now <= before for now, before in zip(scans, SCANS[tier], strict=True))
    assert least(told["deaf"], "sleeps") <= SLEEPS
    assert told["idle"] == {"host": 0, "beside": 0}


def test_system_calls_of_the_host(tier: str, tmp_path: Path) -> None:
    """An ordinary kill takes hardly more system calls than it did."""
    # Without its children, which would be so slow that they are looked for.
    told, calls = traced(tier, tmp_path)
    assert 0 < min(each.total() for each in calls) <= CALLS[tier], told


def test_system_calls_of_the_keeper(tier: str, tmp_path: Path) -> None:
    """Nor has its keeper to make more."""
    if tier == "session":
        pytest.skip("it has none")
    told, calls = traced(tier, tmp_path, "-f")
    keepers = [each[kill["parent"]] for kill, each in zip(told["kills"], calls, strict=True)]
    assert 0 < min(keepers) <= KEEPERS_CALLS, keepers


def traced(tier: str, folder: Path, *options: str) -> tuple[Any, list[Counter[int]]]:
    """Run the host that counts in strace; return what it counted, and each kill's system calls."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not on PATH")
    probe = ["strace", *options, "-qq", "-o", str(folder / "trace")]
    if subprocess.run([*probe, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    told = run(tier, "--kills-only", wrapper=probe)
    return told, list(marked((folder / "trace").read_text()))


def marked(trace: str) -> Iterator[Counter[int]]:
    """Return how many calls each process made from each mark to the next; 0 is the only one."""
    calls: Counter[int] | None = None
    for line in trace.splitlines():
        if counted.BEGIN in line:
            calls = Counter()
        elif counted.END in line and calls is not None:
            yield calls
            calls = None
        elif calls is not None and (begun := re.match(r"(\d+ +)?\w+\(", line)):
            calls[int(begun[1] or 0)] += 1
