"""Standard descriptors that are closed, non-blocking or full, and what is told of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from ptykill.client.traffic import read_some, write_all
from tests.client.seat import PATIENCE

PTYKILL = (sys.executable, "-m", "ptykill")


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which ``"$@"`` is ptykill."""
    return subprocess.run(
        ["bash", "-c", script, "bash", *PTYKILL],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe, which don't block."""
    ends = os.pipe2(os.O_NONBLOCK)
    yield ends
    for fd in ends:
        os.close(fd)


# --- closed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"])
def test_closed_descriptors_are_opened_before_anything_else(closed: str) -> None:
    """Neither does a socket of our own get their numbers, nor is there a traceback."""
    done = shell(f'"$@" run -- sh -c "echo hello; exit 3" {closed}; echo "status $?"')
    assert done.stdout.splitlines()[-1] == "status 3"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["doctor --json", "list"])
def test_other_commands_run_without_descriptors(command: str) -> None:
    """They end as they do with all of them."""
    done = shell(f'"$@" {command} >&2; one=$?; "$@" {command} 0<&- 1>&- 2>&-; echo "$one $?"')
    one, other = done.stdout.split()
    assert one == other


# --- non-blocking ---------------------------------------------------------------------------------


def test_what_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    """All bytes go through a non-blocking pipe, and it is still one afterwards."""
    source, sink = pipe
    given = os.urandom(1_000_000)
    writer = threading.Thread(target=write_all, args=(sink, given))
    writer.start()
    got = b""
    while len(got) < len(given):
        got += read_some(source)
    writer.join(PATIENCE)
    assert got == given
    assert fcntl.fcntl(sink, fcntl.F_GETFL) & os.O_NONBLOCK
