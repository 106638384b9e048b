"""Standard descriptors that are closed, non-blocking or full, and the errors about them."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptykill.cli.client.fd_io import read_some, write_all
from tests.client.terminals import PTYKILL, TIMEOUT


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which ``"$@"`` is ptykill."""
    return subprocess.run(
        ["bash", "-c", script, "bash", *PTYKILL],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
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
    """No socket of ptykill's gets their numbers, and there is no traceback."""
    done = shell(f'"$@" run -- sh -c "echo hello; exit 3" {closed}; echo "status $?"')
    assert done.stdout.splitlines()[-1] == "status 3"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["doctor --json", "list"])
def test_other_commands_run_without_descriptors(command: str) -> None:
    """They exit with the same status as with all descriptors."""
    done = shell(f'"$@" {command} >&2; one=$?; "$@" {command} 0<&- 1>&- 2>&-; echo "$one $?"')
    one, other = done.stdout.split()
    assert one == other


# --- non-blocking ---------------------------------------------------------------------------------


def test_what_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    """All bytes go through a non-blocking pipe, which stays non-blocking."""
    source, sink = pipe
    given = os.urandom(1_000_000)
    writer = threading.Thread(target=write_all, args=(sink, given))
    writer.start()
    got = b""
    while len(got) < len(given):
        got += read_some(source)
    writer.join(TIMEOUT)
    assert got == given
    assert fcntl.fcntl(sink, fcntl.F_GETFL) & os.O_NONBLOCK


def received(source: int, process: subprocess.Popen[bytes]) -> bytes:
    """Return all output of a process; read slowly at first, so that the pipe is full."""
    got = b""
    while True:
        if len(got) < 1000:
            got += read_some(source, 100)
            select.select([], [], [], 0.02)
        elif more := read_some(source):
            got += more
        else:
            assert process.wait(TIMEOUT) == 0
            return got


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_output_that_does_not_block_is_all_there(kind: str) -> None:
    """Standard output may be non-blocking, and its reader slow."""
    if kind == "pipe":
        source, sink = os.pipe()
    else:
        source, sink = (each.detach() for each in socket.socketpair())
    os.set_blocking(sink, False)
    with subprocess.Popen(
        [*PTYKILL, "run", "seq", "60000"], stdin=subprocess.DEVNULL, stdout=sink
    ) as process:
        os.close(sink)
        lines = received(source, process).split(b"\r\n")
        os.close(source)
    assert lines == [*(b"%d" % number for number in range(1, 60_001)), b""]


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_input_that_does_not_block_is_all_there(kind: str) -> None:
    """Standard input may be non-blocking, and its data may come late."""
    if kind == "pipe":
        source, sink = os.pipe()
    else:
        source, sink = (each.detach() for each in socket.socketpair())
    os.set_blocking(source, False)
    command = [*PTYKILL, "run", "--", "sh", "-c", "echo ready; cksum"]
    with subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE) as process:
        os.close(source)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\r\n"
        given = os.urandom(300_000)
        write_all(sink, given)
        os.close(sink)
        told, _ = process.communicate(timeout=TIMEOUT)
    wanted = subprocess.run(["cksum"], input=given, capture_output=True, check=True).stdout
    assert told.split() == wanted.split()


# --- full, and worse ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "status", "told"),
    [
        ('"$@" run -- seq 10 >/dev/full', 125, "ptykill: standard output: No space left on device"),
        ('"$@" run -- sleep 0 >/dev/full', 0, ""),
        (
            'ulimit -f 1; "$@" run -- seq 4000 >here',
            125,
            "ptykill: standard output: File too large",
        ),
        ('"$@" run -- seq 10 1</dev/null', 125, "ptykill: standard output: Bad file descriptor"),
        ('"$@" run -- cat 0>here', 1, ""),
        ('"$@" run -- sh -c "echo hello; exit 3" 2>/dev/full', 3, ""),
    ],
)
def test_an_error_is_told_as_what_it_is(
    script: str, status: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence reports the error, and the exit status is the right one."""
    monkeypatch.chdir(tmp_path)
    done = shell(f"{script}; echo status $? >&2")
    assert done.stderr.splitlines() == ([told] if told else []) + [f"status {status}"]


def test_a_command_is_ended_whose_output_can_not_be_written(tmp_path: Path) -> None:
    """It gets the plan, and has time to clean up."""
    script = f"trap 'sleep 0.2; echo x; touch {tmp_path}/done; exit' HUP; while echo x; do :; done"
    done = shell(f'"$@" run -- sh -c "{script}" >/dev/full; echo "status $?"')
    assert done.stdout == "status 125\n"
    assert (tmp_path / "done").exists()


# --- data -----------------------------------------------------------------------------------------


def test_what_is_piped_in_is_data() -> None:
    """Long lines, control characters and bytes that are no text all arrive."""
    for given in (
        b"x" * 100_000 + b"\n",
        b"x" * 4_096,
        bytes(range(256)) * 20,
        b"a\3b\4c\x13d\x11\x16\x1a\x1c\n\4\4\3",
    ):
        done = subprocess.run(
            [*PTYKILL, "run", "od", "-An", "-v", "-tx1"],
            input=given,
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        )
        assert bytes.fromhex(done.stdout.decode()) == given


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ("ptykill run -- sh -c 'cat; cat; echo end' </dev/null", "end"),
        ("printf 'a\\nb' | ptykill run -- sh -c 'read a; cat; cat; cat; echo; echo end'", "b\nend"),
        ("ptykill run -- sh -c 'cat; cat </dev/tty; cat </dev/tty; echo end' </dev/null", "end"),
        ("printf 'a\\023b\\n' | ptykill run -- cat", "a\x13b"),
        ("echo data | ptykill run -- $P run -- cat", "data"),
        ("echo data | ptykill run -- $P run -n -- cat", ""),
        ("echo data | ptykill run -- sh -c 'tty; tty <&1 >/dev/null && cat'", "not a tty\ndata"),
        ("for x in a b; do echo $x; done | while read x; do ptykill run -n echo $x; done", "a\nb"),
        ("seq 9 >f; { ptykill run sed 3q; ptykill run -n cat; } <f", "1\n2\n3"),
    ],
)
def test_the_end_of_a_pipe_stays_an_end(
    script: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reader gets it, however many there are, also from ``/dev/tty``."""
    monkeypatch.chdir(tmp_path)
    done = shell(f'P="$*"; ptykill() {{ $P "$@"; }}; {script}')
    assert done.stdout.replace("\r", "").rstrip("\n") == shown
    assert done.returncode == 0


def test_a_password_that_nobody_types() -> None:
    """A program that asks for one at its terminal reads an end of input."""
    ask = "import getpass; getpass.getpass(); getpass.getpass()"
    done = shell(f"echo secret | \"$@\" run -- python3 -c '{ask}'; echo ${{PIPESTATUS[1]}}")
    assert "EOFError" in done.stdout
    assert done.stdout.endswith("\n1\n")
