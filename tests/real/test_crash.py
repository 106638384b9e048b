"""A host that is killed leaves no process behind: its keepers carry out the plan, and exit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ptykill.system.kernel import cgroup_place
from ptykill.testing import processes
from tests.real import hosts

GRACE, SLACK = 0.5, 1.0
"""Seconds: the plan's grace, and the extra time of a slow machine."""
CRASHES = int(os.environ.get("PTYKILL_TEST_CRASHES", "12"))

pytestmark = pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)


@contextmanager
def host(name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a host in a process of its own, which is killed at the end of the block."""
    command = [sys.executable, hosts.__file__, name, *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the host has made a file."""
    until = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)


def groups() -> set[Path]:
    """Return the cgroups whose keepers are dead."""
    parent = cgroup_place.own_cgroup()
    found = [] if parent is None else Path(parent).glob("ptykill-*-*-*-*")
    return {each for each in found if not Path("/proc", each.name.split("-")[2]).exists()}


@pytest.mark.parametrize("seed", range(CRASHES))
def test_killed_at_any_moment(mark: str, tier: str, tmp_path: Path, seed: int) -> None:
    """No process is left after the grace and a second; programs that were ready have cleaned up."""
    chance = random.Random(seed)
    before = groups()
    with host("that_crashes", tier, str(tmp_path), str(seed)) as process:
        if seed % 3:
            wait_for(tmp_path / "ready2", process)
        time.sleep(chance.uniform(0, 0.6))
        ready = [number for number in range(3) if (tmp_path / f"ready{number}").exists()]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert processes.left(mark, GRACE + SLACK) == []
    assert [number for number in ready if not (tmp_path / f"cleaned{number}").exists()] == []
    assert groups() <= before


def test_killed_while_in_a_hurry(mark: str, tier: str, tmp_path: Path) -> None:
    """The keeper keeps a grace that was shortened by a request, without the host."""
    with host("that_hurries", tier, str(tmp_path)) as process:
        wait_for(tmp_path / "asked", process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert processes.left(mark, GRACE + SLACK) == []


def test_killed_while_output_is_stopped(mark: str, tier: str, tmp_path: Path) -> None:
    """A clean-up that writes after Ctrl-S does not block: the terminal was closed with the host."""
    with host("with_stopped_output", tier, str(tmp_path)) as process:
        wait_for(tmp_path / "stopped", process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert processes.left(mark, 10 * SLACK) == []
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("late", [False, True])
def test_killed_while_its_keepers_are_stopped(
    mark: str, tier: str, tmp_path: Path, *, late: bool
) -> None:
    """The warden sends stopped keepers SIGCONT, and the sessions are ended."""
    with host("that_hurries", tier, str(tmp_path)) as process:
        wait_for(tmp_path / "asked", process)
        found = processes.descendants(process.pid)
        keepers = [each.pid for each in found if each.name == "ptykill-keeper"]
        assert keepers
        for when in (True, False) if late else (False, True):
            if when:
                process.kill()
                process.wait()
            else:
                for keeper in keepers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(keeper, signal.SIGSTOP)
        assert processes.left(mark, GRACE + SLACK + 1) == []


def test_killed_while_a_fork_lives(mark: str, tier: str, tmp_path: Path) -> None:
    """A forked child that holds the host's sockets and terminals does not prevent the end."""
    with host("with_a_fork", tier, str(tmp_path)) as process:
        for name in "ready0", "forked":
            wait_for(tmp_path / name, process)
        (child,) = [
            each.pid
            for each in processes.descendants(process.pid)
            if each.parent == process.pid and each.name != "ptykill-warden"
        ]
        process.kill()
        process.wait()
        until = time.monotonic() + GRACE + SLACK
        while len(processes.marked(mark)) > 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert [each.pid for each in processes.marked(mark)] == [child]
        processes.end(child)
    assert (tmp_path / "cleaned0").exists()


def test_a_host_that_closes_everything(mark: str, tier: str, tmp_path: Path) -> None:
    """If a host closes its sockets, its keepers end its sessions."""
    with host("that_closes_everything", tier, str(tmp_path)) as process:
        wait_for(tmp_path / "forked", process)
        until = time.monotonic() + GRACE + SLACK
        while len(processes.marked(mark)) > 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert [each.pid for each in processes.marked(mark)] == [process.pid]
