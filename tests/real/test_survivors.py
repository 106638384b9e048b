"""A survivor is described without waiting for it, since the kernel may hold it up."""

from __future__ import annotations

import os
import pwd
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from ptykill.system.containment.identity import identify
from ptykill.system.kernel.pidfd import open_pidfd
from ptykill.system.kernel.proc_folder import ProcFolder
from ptykill.system.kernel.proc_view import proc
from tests.waiting import TIMEOUT


@pytest.fixture
def sleeper() -> Iterator[int]:
    """Run a sleep."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Hold up whoever reads a command line, as mmap_lock would; yield the pids that were read."""
    asked: list[int] = []
    answer = threading.Event()

    def command(folder: ProcFolder) -> bytes:
        asked.append(folder.pid)
        assert answer.wait(TIMEOUT)
        return b"late"

    monkeypatch.setattr(ProcFolder, "command", command)
    yield asked
    answer.set()
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread():
            thread.join(1)


@pytest.mark.parametrize("way", ["by /proc", "by psutil"])
def test_a_survivor_is_described(sleeper: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the words of ps(1), also where there is no /proc to hold open."""
    process = open_pidfd(sleeper)
    assert process is not None
    with monkeypatch.context() as patched:
        if way == "by psutil":
            patched.setattr(proc, "folder", -1)
        survivor = identify(sleeper, process)
    process.close()
    assert (survivor.pid, survivor.name, survivor.command) == (sleeper, "sleep", "sleep 60")
    assert survivor.user == pwd.getpwuid(os.geteuid()).pw_name
    assert survivor.state in {"R", "S"}
    assert survivor.started is not None
    assert abs(survivor.started - time.time()) < TIMEOUT
    assert survivor.why == "unknown"


def test_a_command_line_that_can_not_be_read_holds_up_no_verdict(
    sleeper: int, held_up: list[int]
) -> None:
    """All else is told, and the next survivor does not wait for another thread."""
    process = open_pidfd(sleeper)
    assert process is not None
    found = [identify(sleeper, process) for _ in range(3)]
    process.close()
    assert held_up == [sleeper]
    for survivor in found:
        assert (survivor.name, survivor.command) == ("sleep", "")
        assert survivor.started is not None
