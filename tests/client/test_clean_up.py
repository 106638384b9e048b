"""A clean-up that prints has its grace, also without a reader and with repeated signals."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeAlias, cast

import pytest

from tests.client.terminals import PTYKILL, TIMEOUT, Terminal

Start: TypeAlias = Callable[..., Terminal]


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """Return the path of a file that a clean-up writes when it is finished."""
    return tmp_path / "done"


@pytest.fixture
def command(done: Path) -> list[str]:
    """Return a command that prints always, also in its clean-up, which takes half a second."""
    loop = "while echo tick; do sleep 0.02; done"
    clean = f"echo cleaning; sleep 0.4; echo cleaned; sleep 0.1; echo done >{done}; exit 0"
    return ["run", "--grace", "30", "--", "sh", "-c", f"trap '{clean}' HUP; echo ready; {loop}"]


@pytest.fixture
def piped(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """Run it with its output piped into a ``cat``, both in one process group."""
    run = subprocess.Popen(
        [*PTYKILL, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    with (
        run,
        subprocess.Popen(
            ["cat"], stdin=run.stdout, stdout=subprocess.PIPE, process_group=run.pid
        ) as cat,
    ):
        cast(IO[bytes], run.stdout).close()
        shown = cast(IO[bytes], cat.stdout)
        assert shown.readline() == b"ready\r\n"
        yield run, cat
        run.kill()
        cat.kill()


def ended(run: subprocess.Popen[bytes], done: Path) -> int:
    """Return the exit status; check that the clean-up was finished."""
    status = run.wait(TIMEOUT)
    assert cast(IO[bytes], run.stderr).read() == b""
    assert done.exists()
    return -status


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_a_signal_to_the_whole_pipeline(
    piped: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]], done: Path, name: str
) -> None:
    """The reader's death does not count as a second signal."""
    number = signal.Signals[f"SIG{name}"]
    os.killpg(piped[0].pid, number)
    assert ended(piped[0], done) == number


def test_a_reader_that_goes_first(
    piped: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]], done: Path
) -> None:
    """A signal after the reader's exit counts as the first one, and ends the command."""
    run, cat = piped
    cat.kill()
    cat.wait()
    run.send_signal(signal.SIGINT)
    assert ended(run, done) == signal.SIGINT


def test_a_reader_that_goes(
    piped: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]], done: Path
) -> None:
    """Without a signal, it dies of SIGPIPE."""
    run, cat = piped
    cat.kill()
    assert ended(run, done) == signal.SIGPIPE


@pytest.mark.parametrize("names", [("HUP", "HUP"), ("TERM", "HUP"), ("TERM", "TERM")])
def test_signals_that_are_sent_twice(
    piped: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]],
    done: Path,
    names: tuple[str, str],
) -> None:
    """A closed window sends SIGHUP twice, systemd SIGHUP too, timeout(1) SIGTERM twice."""
    run, _ = piped
    for name in names:
        run.send_signal(signal.Signals[f"SIG{name}"])
    assert -ended(run, done) in {-signal.Signals[f"SIG{name}"] for name in names}


def test_a_window_that_is_closed(command: list[str], done: Path) -> None:
    """Writes to the terminal fail then, and the shell sends SIGHUP as well."""
    terminal = Terminal(*command)
    try:
        terminal.read_until("ready")
        os.close(terminal.master)
        assert terminal.process.wait(TIMEOUT) == -signal.SIGHUP
        assert done.exists()
    finally:
        terminal.process.kill()
        os.close(terminal.slave)
