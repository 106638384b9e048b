"""Each tier beside the C program with the necessary system calls, with generous bounds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

GRACE_FOR_ORPHANS = 120.0
AT_MOST = {"session": 25.0, "keeper": 25.0, "cgroup": 30.0}
"""Times the C floor, the best round of each; 2 to 4 are usual."""
ROUNDS = """
import json, sys
from contextlib import ExitStack
from benchmarks.hosts import Hosts
from benchmarks.systems import TIERS

with ExitStack() as stack:
    hosts = Hosts(stack)  # a process for each, and none for the peers
    names = hosts.start_each(("floor", *TIERS))
    best = {
        name: min(hosts.end_unobserved(name, "sleep", 30.0) for _ in range(8)) for name in names
    }
    dead = {name: hosts.end(name, "sleep", 30.0).dead is not None for name in names}
print(json.dumps({"best": best, "dead": dead, "remarks": hosts.remarks}))
"""


@pytest.mark.usefixtures("installed")
def test_an_ordinary_kill_is_near_the_floor() -> None:
    """No tier takes a multiple of what it did, and an observer sees everybody dead."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    done = subprocess.run(
        [sys.executable, "-c", ROUNDS],
        capture_output=True,
        text=True,
        timeout=GRACE_FOR_ORPHANS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    floor = told["best"].pop("C, leader only")
    for name, bound in AT_MOST.items():
        taken = told["best"].get(f"ptykill, {name}")
        assert taken is None or taken / floor < bound, (name, told)
    assert all(told["dead"].values()), told
