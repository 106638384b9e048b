"""Every framework of the page about mounting, on real servers, keeps the promises."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from ptykill.testing import processes
from tests.mount.pairs import PAIRS, Pair
from tests.mount.running import GRACE, Client, Server, Session, serving
from tests.mount.seen import PAGE, Seen, rows
from tests.waiting import TIMEOUT, wait_until

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)


@every_pair
def test_sessions_end(pair: Pair, seen: Seen, tmp_path: Path, mark: str) -> None:
    """Sessions end by a DELETE, also if its client disconnects, and when the server stops."""
    with serving(pair, tmp_path, mark) as server:
        with Client(server) as client:
            assert client.ask("GET", "/") in {(200, b"the site"), (200, b'"the site"')}
            _killed(client)
            if pair.talks:
                _talked_to(client)
        _dropped(server, seen, pair)
        if not pair.waits_for_clients:
            _stopped(server, seen, pair)
    seen.note(pair, delete="204, all dead", attach="yes" if pair.talks else "no")
    assert processes.left(mark, TIMEOUT) == []


def _killed(client: Client) -> None:
    """Check that the answer is 204, and that all processes are dead by then."""
    session = client.start()
    with processes.observe_session(session.pid) as observer:
        assert len(observer) >= 2
        status, body = client.ask("DELETE", session.path)
        assert (observer.survivors(), processes.look_up(session.pid)) == ([], None)
    assert (status, body) == (204, b"")


def _talked_to(client: Client) -> None:
    """Check that input reaches the program, and output the client."""
    session = client.start()
    with session.attached() as socket:
        socket.send(b"\x02")
        socket.send(b"\x00hello\n")
        _hear(socket, b"hello")
        assert client.ask("DELETE", f"{session.path}?grace=0")[0] == 204
        ended = _hear(socket, None)
    assert ended.endswith(b"\x03" + struct.pack(">i", 137))


def _hear(socket: ClientConnection, wanted: bytes | None) -> bytes:
    """Receive until the data has come, or to the end."""
    heard = b""
    try:
        while wanted is None or wanted not in heard:
            frame = socket.recv(TIMEOUT)
            assert isinstance(frame, bytes)
            heard += frame
    except ConnectionClosed:
        assert wanted is None, heard
    return heard


def _dropped(server: Server, seen: Seen, pair: Pair) -> None:
    """Check that a client that disconnects during a DELETE does not stop the kill."""
    with Client(server) as client:
        session = client.start()
        with processes.observe_session(session.pid) as observer:
            began = time.monotonic()
            client.send("DELETE", session.path)
            wait_until((session.folder / "hung-up").exists)
            client.connection.close()
            wait_until(lambda: observer.survivors() == [])
            took = time.monotonic() - began
    assert took >= GRACE
    seen.note(pair, dropped=f"dead after {took:.1f} s")


def _stopped(server: Server, seen: Seen, pair: Pair) -> None:
    """Check that SIGTERM ends every session and the server, also with clients attached."""
    with Client(server) as idle, Client(server) as killing:
        session = idle.start()
        with session.attached() if pair.talks else nullcontext() as socket:
            if socket is not None:
                socket.send(b"\x02")
            _stop(server, session, killing, seen, pair)


def _stop(server: Server, session: Session, killing: Client, seen: Seen, pair: Pair) -> None:
    other = killing.start()
    with (
        processes.observe_session(session.pid) as first,
        processes.observe_session(other.pid) as second,
    ):
        killing.send("DELETE", other.path)
        wait_until((other.folder / "hung-up").exists)
        took = server.signal(signal.SIGTERM, lambda: first.survivors() == second.survivors() == [])
    status = server.process.returncode
    how = f"exits with {status}" if status >= 0 else f"dies of {signal.Signals(-status).name}"
    stopped = f"sessions dead after {took['done']:.1f} s, {how} after {took['exited']:.1f} s"
    seen.note(pair, stopped=stopped, answer=killing.answer())


@every_pair
def test_a_server_that_is_killed_leaves_nobody(
    pair: Pair, seen: Seen, tmp_path: Path, mark: str
) -> None:
    """After SIGKILL to all processes of the server, its sessions end within their grace."""
    with serving(pair, tmp_path, mark) as server, Client(server) as client:
        session = client.start()
        with processes.observe_session(session.pid) as observer:
            began = time.monotonic()
            os.killpg(server.process.pid, signal.SIGKILL)
            wait_until(lambda: observer.survivors() == [])
            took = time.monotonic() - began
    assert processes.left(mark, TIMEOUT) == []
    assert took < GRACE + 1 + 10  # The machine may be busy.
    seen.note(pair, killed=f"dead after {took:.1f} s")


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if "workers" in pair.server], ids=str)
def test_sessions_are_known_to_their_worker_alone(pair: Pair, tmp_path: Path, mark: str) -> None:
    """Of several workers, one has the session; the others answer 404."""
    with serving(pair, tmp_path, mark) as server, Client(server) as client:
        session = client.start()

        def strangers() -> bool:
            with Client(server) as stranger:
                return stranger.ask("GET", session.path)[0] == 404

        wait_until(strangers)
        assert client.ask("DELETE", f"{session.path}?grace=0")[0] == 204


def test_under_gevent_there_are_no_sessions(tmp_path: Path, mark: str) -> None:
    """The API answers with an error code, and the rest of the site is served."""
    serve = ("gunicorn", "-k", "gevent", "-b", "127.0.0.1:{port}", "flask_app:app")
    pair = Pair("Flask", "gunicorn, gevent", "flask_app", serve, talks=False)
    with serving(pair, tmp_path, mark) as server, Client(server) as client:
        assert client.ask("GET", "/") == (200, b"the site")
        status, body = client.ask("POST", "/api/v1/pty", {"command": "true"})
    assert (status, json.loads(body)["code"]) == (500, "INTERPRETER_PATCHED")


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.worker], ids=str)
def test_a_main_process_that_is_killed(
    pair: Pair, seen: Seen, tmp_path: Path, mark: str, request: pytest.FixtureRequest
) -> None:
    """The sessions after the death of the main process, which depends on the server: recorded."""
    if not request.config.getoption("--write-table", default=False):
        pytest.skip("only recorded for the table")
    with serving(pair, tmp_path, mark) as server:
        with Client(server) as client:
            session = client.start()
        with processes.observe_session(session.pid) as observer:
            server.process.kill()
            began = time.monotonic()
            while observer.survivors() and time.monotonic() < began + 5:
                time.sleep(0.05)
            took = time.monotonic() - began
            told = "alive with its worker" if observer.survivors() else f"dead after {took:.1f} s"
    seen.note(pair, main=told)
    assert processes.left(mark, TIMEOUT) == []


def test_the_table_has_the_pairs_that_are_tested() -> None:
    """The page lists exactly the tested pairs."""
    assert rows() == [(pair.framework, pair.server) for pair in PAIRS]


def test_every_app_of_the_page_is_run() -> None:
    """The page shows exactly the apps that the servers run."""
    shown = re.findall(
        r"^```\{literalinclude\} mounting/(\w+)\.py$", PAGE.read_text(), re.MULTILINE
    )
    files = [path.stem for path in (PAGE.parent / "mounting").glob("*.py")]
    assert sorted(shown) == sorted(files) == sorted({pair.app for pair in PAIRS})
