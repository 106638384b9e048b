"""Output errors never cancel kills, and no locale makes a command fail."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner

from ptykill.cli.main import main
from tests.client.conftest import KEY, serving
from tests.client.terminals import TIMEOUT, Cli, eventually
from tests.waiting import IDLE_LOOP

C_LOCALE = {
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "ascii:strict",
}
"""A locale of ASCII alone, which Python is not to mend (PEP 538, PEP 540)."""

DEAF = f"trap '' HUP; echo ready; {IDLE_LOOP}"


@pytest.fixture
def many(cli: Cli) -> list[str]:
    """Return the ids of twelve new sessions."""
    code = (
        "import sys, trio\n"
        "from ptykill.cli.client.daemon_client import DaemonClient\n"
        "async def main():\n"
        "    async with DaemonClient(sys.argv[1], sys.argv[2]) as daemon:\n"
        "        for _ in range(12):\n"
        "            print((await daemon.create(['sleep', '1000'])).session_id)\n"
        "trio.run(main)\n"
    )
    command = [sys.executable, "-c", code, cli.env["PTYKILL_URL"], KEY]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def shell(cli: Cli, script: str, env: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Run a script in which ``$1 -m ptykill`` is the command; return what it writes."""
    done = subprocess.run(
        ["bash", "-c", f'ptykill() {{ "$python" -m ptykill "$@"; }}\n{script}'],
        env={**os.environ, **cli.env, "python": sys.executable, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=2 * TIMEOUT,
        check=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


def alive(cli: Cli) -> list[str]:
    """Return the ids of the sessions that have not ended."""
    sessions = json.loads(cli.ask("list", "--json").stdout)["sessions"]
    return [each["session_id"] for each in sessions if each["is_alive"]]


# --- output errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("ptykill kill --all | head -n 1 >/dev/null; echo ${PIPESTATUS[0]}", ""),
        ("ptykill kill --all >/dev/full; echo $?", "No space left on device"),
        ("ptykill kill --all --json >/dev/full; echo $?", "No space left on device"),
        ("ptykill kill --all nowhere >&- 2>/dev/full; echo $(($? - 1))", ""),
    ],
)
def test_all_are_killed_though_nobody_is_told(
    cli: Cli, many: list[str], script: str, told: str
) -> None:
    """The exit status is about the sessions; one sentence reports that output was not written."""
    assert len(many) == 12
    out, err = shell(cli, script)
    assert alive(cli) == []
    assert out.split() == ["0"]
    assert len(err.splitlines()) == bool(told)
    assert told in err


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """Return the two ends of a full pipe."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"\n" * 4096)
    yield reader, writer
    os.close(reader)


def test_a_reader_that_does_not_read_holds_no_kill_up(cli: Cli) -> None:
    """All are killed while the output waits, and no line of it is lost."""
    sessions = {cli.new("sleep 1000") for _ in range(3)}
    with full_pipe() as (reader, writer):
        command = [sys.executable, "-m", "ptykill", "kill", "--all"]
        with subprocess.Popen(command, stdout=writer, env=os.environ | cli.env) as process:
            os.close(writer)
            eventually(lambda: alive(cli) == [])
            assert process.poll() is None
            with open(reader, "rb", closefd=False) as told:
                ended = {line.split()[0].decode() for line in told if line.strip()}
        assert process.returncode == 0
    assert ended == sessions


def test_what_is_listed_or_started_is_told_or_fails(cli: Cli) -> None:
    """`list` and `new` fail if their output can't be written."""
    out, err = shell(cli, "ptykill list >/dev/full; echo $?")
    assert (out, len(err.splitlines())) == ("1\n", 1)
    out, err = shell(cli, "ptykill new -d sleep 1000 >/dev/full; echo $?")
    (session_id,) = alive(cli)
    assert out == "1\n"
    assert session_id in err
    out, err = shell(cli, "ptykill list | true; echo ${PIPESTATUS[0]}")
    assert (out, err) in (("141\n", ""), ("0\n", ""))


def test_standard_output_may_be_non_blocking(cli: Cli) -> None:
    """A pipe on which another process has set O_NONBLOCK is waited for."""
    session_id = cli.new("exit 0")
    with full_pipe() as (reader, writer):
        os.set_blocking(writer, False)
        command = [sys.executable, "-m", "ptykill", "list"]
        with subprocess.Popen(command, stdout=writer, env=os.environ | cli.env) as process:
            os.close(writer)
            with open(reader, "rb", closefd=False) as told:
                assert session_id.encode() in told.read()
        assert process.returncode == 0


# --- Ctrl-C ---------------------------------------------------------------------------------------


def test_ctrl_c_is_one_sentence() -> None:
    """Ctrl-C ends the wait for a daemon that does not answer; a shell sees the status 130."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for command, told in (
            (["kill", "x"], "interrupted: the end of no session was requested"),
            (["kill", "0" * 32], "interrupted: 0 of 1 sessions are known to be over"),
            (["list"], "interrupted"),
            (["attach", "--token", "x", "y"], "interrupted"),
            (["attach", "--token", "x", "0" * 32], ""),
        ):
            process = subprocess.Popen(
                [sys.executable, "-m", "ptykill", *command],
                env={**os.environ, "PTYKILL_URL": url},
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            peer, _ = listener.accept()
            assert peer.recv(100)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=TIMEOUT)
            peer.close()
            assert process.returncode == -signal.SIGINT
            assert told in err
            assert len(err.splitlines()) == bool(told)


# --- locales --------------------------------------------------------------------------------------


@pytest.mark.long
def test_no_locale_makes_a_command_fail(cli: Cli) -> None:
    """Characters that the encoding lacks are escaped in messages, and sent as UTF-8."""
    out, err = shell(
        cli,
        "id=$(ptykill new -d --env 'NAME=\u00fc' -- sh -c 'printf %s \"$NAME$1\"; exit 3' sh"
        " '\u00e9\u20ac')\n"
        "ptykill list; ptykill attach $id </dev/null; echo; echo $?\n"
        "ptykill kill '\u00e9' $'\\xff' $id; echo $?; ptykill attach --token '\u00e9' '\u00e9'\n"
        "ptykill '\u00e9'; ptykill new -d '\u00e9'; ptykill list --url 'http://\u00e9:1'\n"
        "ptykill new -d -- echo $'\\xff'; true",
        C_LOCALE,
    )
    (listed,) = json.loads(cli.ask("list", "--json").stdout)["sessions"]
    assert listed["args"][-1] == "\u00e9\u20ac"
    assert "\u00fc\u00e9\u20ac" in out
    assert "what is not UTF-8 can't be sent" in err


CODE = (
    "import os, sys; print(*(each.hex() for each in ("
    "os.fsencode(sys.argv[1]), os.environb['N\\xc4ME'.encode()], os.getcwdb())))"
)


@pytest.fixture
def in_the_c_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """Return the clients of a daemon that was started in the C locale."""
    path = tmp_path / "socket"
    with monkeypatch.context() as changed:
        for name, value in C_LOCALE.items():
            changed.setenv(name, value)
        process = serving("--uds", str(path))
        started = process.__enter__()
    stdout: IO[str] | None = started.stdout
    assert stdout is not None
    stdout.readline()
    yield Cli(f"unix:{path}", KEY)
    process.__exit__(None, None, None)


def test_a_daemon_in_the_c_locale_takes_any_text(in_the_c_locale: Cli, tmp_path: Path) -> None:
    """Arguments, variables and the working directory are UTF-8 for the programs that get them."""
    folder = tmp_path / "\u00fc"
    folder.mkdir()
    cli = in_the_c_locale
    options = ["--env", "N\u00c4ME=\u00e4", "--cwd", str(folder)]
    created = json.loads(
        cli.ask("new", "--json", *options, "--", "python3", "-c", CODE, "\u00e9").stdout
    )
    done = cli.ask("attach", "--token", created["token"], created["session_id"])
    assert done.stdout.split() == [
        each.encode().hex() for each in ("\u00e9", "\u00e4", str(folder))
    ]


def test_help_is_told_in_any_encoding() -> None:
    """The help has no character that an encoding lacks."""
    for command in ([], ["new"], ["attach"], ["list"], ["kill"], ["run"], ["serve"]):
        assert CliRunner().invoke(main, [*command, "--help"]).output.isascii()
