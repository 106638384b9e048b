"""Attaching without a token at hand, and attaching to see alone."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.client.conftest import KEY, serving
from tests.client.proxy import Proxy
from tests.client.terminals import Cli, Terminal, eventually
from tests.client.test_reconnecting import BACK, LOST, port_of, setting, through

Start: TypeAlias = Callable[..., Terminal]

ECHOES = "stty -echo; echo ready; while read line; do echo heard $line; done"


def forget_all(home: Path) -> None:
    """Forget the tokens, as a user who has started none of the sessions."""
    (home / "tokens").unlink(missing_ok=True)


def test_attaching_to_a_session_of_another_user(cli: Cli, start: Start, home: Path) -> None:
    """The daemon issues a token to whoever has the key; it is remembered, and used again."""
    session_id = cli.new(ECHOES)
    forget_all(home)
    tokens = []
    for line in "one", "two":
        terminal = start("attach", session_id, cli=cli)
        terminal.read_until("ready\r\n")
        terminal.type(f"{line}\r")
        terminal.read_until(f"heard {line}\r\n")
        terminal.type("\x1d")
        assert terminal.wait() == 0
        tokens.append(json.loads((home / "tokens").read_text()))
    assert list(tokens[0]) == [session_id]
    assert tokens[1] == tokens[0]


def test_a_remembered_token_that_was_revoked(cli: Cli, start: Start, home: Path) -> None:
    """The daemon issues another one; for a token that was given there is no other."""
    session_id = cli.new(ECHOES)
    (home / "tokens").write_text(json.dumps({session_id: "wrong"}))
    given = cli.ask("attach", session_id, "--token", "wrong")
    assert given.returncode == 1
    assert "token is missing, wrong or expired" in given.stderr
    terminal = start("attach", session_id, cli=cli)
    terminal.read_until("ready\r\n")
    terminal.type("\x1d")
    assert terminal.wait() == 0


@pytest.mark.parametrize("key", ["\x1d", "\x03"])
def test_seeing_alone(cli: Cli, start: Start, home: Path, key: str) -> None:
    """Neither keys nor the size of the window reach the session; Ctrl-C detaches, too."""
    session_id = cli.new(ECHOES)
    forget_all(home)
    watching = start("attach", "--read-only", session_id, cli=cli, rows=10, cols=20)
    watching.read_until("ready\r\n")
    watching.type("not this\r")
    watching.resize(11, 21)
    typing = start("attach", session_id, cli=cli, rows=30, cols=90)
    typing.read_until("ready\r\n")
    typing.type("this\r")
    watching.read_until("heard this\r\n")
    assert "not this" not in watching.seen
    shown = cli.get(session_id)
    assert (shown["rows"], shown["cols"]) == (30, 90)
    watching.type(key)
    assert watching.wait() == 0
    assert watching.restored
    assert set(json.loads((home / "tokens").read_text())) == {session_id, f"{session_id}/read"}
    typing.type("\x04")
    assert typing.wait() == 0
    assert json.loads((home / "tokens").read_text()) == {}


def test_seeing_alone_in_a_pipe(cli: Cli) -> None:
    """Standard input is not sent, and its end is not the end."""
    reads = "stty -echo -icanon min 0 time 10; echo one; head -c 5; echo two; exit 5"
    session_id = cli.new(reads)
    done = cli.ask("attach", "--read-only", session_id, stdin="typed\n")
    assert (done.returncode, done.stdout) == (5, "one\ntwo\n")


def test_a_token_that_may_only_read(cli: Cli, start: Start, home: Path) -> None:
    """It is used as with --read-only, and its user is told."""
    session_id = cli.new(ECHOES)
    assert cli.ask("attach", "--read-only", session_id, "--token", "x").returncode == 1
    watching = start("attach", "--read-only", session_id, cli=cli)
    watching.read_until("ready\r\n")
    watching.type("\x1d")
    assert watching.wait() == 0
    token = json.loads((home / "tokens").read_text())[f"{session_id}/read"]
    terminal = start("attach", session_id, "--token", token, cli=cli, rows=10, cols=20)
    terminal.read_until("the token may only read: no input is sent\r\n")
    terminal.read_until("ready\r\n")
    terminal.type("not this\r\x1d")
    assert terminal.wait() == 0
    assert cli.get(session_id)["rows"] == 24


@pytest.fixture
def smallest(daemon_of_smallest: subprocess.Popen[str]) -> Cli:
    """Return the clients of a daemon whose windows have the size of the smallest client."""
    assert daemon_of_smallest.stdout is not None
    address = daemon_of_smallest.stdout.readline().split("serves ")[1].split()[0]
    return Cli(address, KEY)


@pytest.fixture
def daemon_of_smallest() -> Iterator[subprocess.Popen[str]]:
    """Run it."""
    with serving("--port", "0", "--window-size", "smallest") as process:
        yield process


def test_a_client_that_comes_back_has_left_no_size(smallest: Cli, start: Start) -> None:
    """Though the daemon does not know yet that the first connection is dead."""
    session_id = smallest.new(ECHOES)
    proxy = Proxy(port_of(smallest))
    first = setting(SILENCE_TIMEOUT=3)
    terminal = start("attach", session_id, cli=through(proxy), rows=10, cols=20, first=first)
    terminal.read_until("ready\r\n")
    eventually(lambda: smallest.get(session_id)["rows"] == 10)
    stalled, proxy.open = proxy.open, threading.Event()
    stalled.clear()
    terminal.resize(30, 90)
    terminal.read_until(LOST)
    proxy.open.set()
    terminal.read_until(BACK)
    eventually(lambda: smallest.get(session_id)["rows"] == 30)
    terminal.type("\x1d")
    assert terminal.wait() == 0
    stalled.set()
    proxy.close()
