"""What `benchmarks.leak_check` counts, by which the documentation proves that nothing leaks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.usefixtures("installed")
def test_nothing_is_left_of_many_sessions() -> None:
    """Inside the supervisor and around it, no count is higher after them than before."""
    command = [sys.executable, "-m", "benchmarks.leak_check", "100", "60"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    counted = json.loads(done.stdout)
    assert counted["sessions"] == 100
    for where in "around", "inside":
        before, after = counted[where]
        assert all(after[each] <= before[each] for each in before), (where, counted)
