"""Every framework of the page about mounting, on real servers: what was promised is kept there."""

from __future__ import annotations

import os
import re
import signal
import struct
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from ptykill.testing import process_table as processes
from tests.mount.pairs import PAIRS, Pair
from tests.mount.running import GRACE, PATIENCE, Client, Server, Session, serving, wait_until
from tests.mount.seen import PAGE, Seen, rows

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)


@every_pair
def test_sessions_end(pair: Pair, seen: Seen, tmp_path: Path, mark: str) -> None:
    """They end when a client says so, when it goes away meanwhile, and when the server stops."""
    with serving(pair, tmp_path, mark) as server:
        with Client(server) as client:
            assert client.ask("GET", "/") in {(200, b"the site"), (200, b'"the site"')}
            _killed(client)
            if pair.talks:
                _talked_to(client)
        _dropped(server, seen, pair)
        _stopped(server, seen, pair)
    seen.note(pair, delete="204, all dead", attach="yes" if pair.talks else "no")
    assert processes.left(mark, PATIENCE) == []


def _killed(client: Client) -> None:
    """Check that 204 is told when, and only when, everybody is dead."""
    session = client.start()
    with processes.Census(session.pid) as census:
        assert len(census) >= 3
        status, body = client.ask("DELETE", session.path)
        assert (census.living(), processes.look_up(session.pid)) == ([], None)
    assert (status, body) == (204, b"")


def _talked_to(client: Client) -> None:
    """Check that what is typed gets there, and what is written comes back."""
    session = client.start()
    with session.attached() as socket:
        socket.send(b"\x02")
        socket.send(b"\x00hello\n")
        _hear(socket, b"hello")
        assert client.ask("DELETE", f"{session.path}?grace=0")[0] == 204
        ended = _hear(socket, None)
    assert ended.endswith(b"\x03" + struct.pack(">i", 137))


def _hear(socket: ClientConnection, wanted: bytes | None) -> bytes:
    """Receive until something has been heard, or to the end."""
    heard = b""
    try:
        while wanted is None or wanted not in heard:
            frame = socket.recv(PATIENCE)
            assert isinstance(frame, bytes)
            heard += frame
    except ConnectionClosed:
        assert wanted is None, heard
    return heard


def _dropped(server: Server, seen: Seen, pair: Pair) -> None:
    """Check that a client which goes away in the middle of a DELETE changes nothing."""
    with Client(server) as client:
        session = client.start()
        with processes.Census(session.pid) as census:
            client.send("DELETE", session.path)
            began = time.monotonic()
            wait_until((session.folder / "hung-up").exists)
            client.connection.close()
            wait_until(lambda: census.living() == [])
            took = time.monotonic() - began
    assert took >= GRACE
    seen.note(pair, dropped=f"dead after {took:.1f} s")


def _stopped(server: Server, seen: Seen, pair: Pair) -> None:
    """Check that SIGTERM ends every session, and the server, with clients still connected."""
    with Client(server) as one, Client(server) as another:
        sessions = [one.start(), another.start()]
        if pair.talks:
            with sessions[0].attached() as socket:
                socket.send(b"\x02")
                _stop(server, sessions, seen, pair)
        else:
            _stop(server, sessions, seen, pair)


def _stop(server: Server, sessions: list[Session], seen: Seen, pair: Pair) -> None:
    with processes.Census(sessions[0].pid) as first, processes.Census(sessions[1].pid) as second:
        took = server.signal(signal.SIGTERM)
        living = [*first.living(), *second.living()]
        late = wait_until(lambda: first.living() == second.living() == [])
    how = f"exits after {took:.1f} s ({server.process.returncode})"
    dead = f"all dead {late:.1f} s later" if living else "all dead before"
    seen.note(pair, stopped=f"{how}, {dead}")


@every_pair
def test_a_server_that_is_killed_leaves_nobody(
    pair: Pair, seen: Seen, tmp_path: Path, mark: str
) -> None:
    """SIGKILL to all processes of the server: its sessions are over when their grace is."""
    with serving(pair, tmp_path, mark) as server, Client(server) as client:
        session = client.start()
        with processes.Census(session.pid) as census:
            began = time.monotonic()
            os.killpg(server.process.pid, signal.SIGKILL)
            wait_until(lambda: census.living() == [])
            took = time.monotonic() - began
    assert processes.left(mark, PATIENCE) == []
    assert took < GRACE + 1 + 10  # On a machine that has better things to do.
    seen.note(pair, killed=f"dead after {took:.1f} s")


def test_the_table_has_the_pairs_that_are_tested() -> None:
    """The page lists these, and no others."""
    assert rows() == [(pair.framework, pair.server) for pair in PAIRS]


def test_every_app_of_the_page_is_run() -> None:
    """The page shows the files that the servers above run, each of them, and no others."""
    shown = re.findall(
        r"^```\{literalinclude\} mounting/(\w+)\.py$", PAGE.read_text(), re.MULTILINE
    )
    files = [path.stem for path in (PAGE.parent / "mounting").glob("*.py")]
    assert sorted(shown) == sorted(files) == sorted({pair.app for pair in PAIRS})
