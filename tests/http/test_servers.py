"""The API on real servers: real sessions, started and killed by request."""

from __future__ import annotations

import concurrent.futures
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ptykill.cli.client.daemon_client import DaemonClient
from ptykill.http import session_record
from ptykill.testing import processes
from tests.http.conftest import KEY, Server
from tests.waiting import IDLE_LOOP, wait_until

DEAF = f"trap '' HUP INT TERM QUIT; : > ready; {IDLE_LOOP}"
LISTENING = f"trap ': > hung-up' HUP; : > ready; {IDLE_LOOP}"

Start = Callable[..., dict[str, Any]]


@pytest.fixture
def client(server: Server) -> Any:  # noqa: ANN401 - an iterator that pytest unwraps
    """Return a client of the server with the key."""
    with server.client() as client:
        yield client


@pytest.fixture
def start(server: Server, client: httpx.Client, tmp_path: Path) -> Start:
    """Return a function that starts a shell program over HTTP and waits until it is ready."""

    def start(program: str) -> dict[str, Any]:
        ready = tmp_path / "ready"
        body = {"command": "sh", "args": ["-c", program], "working_dir": str(tmp_path)}
        created = client.post(server.url, json=body)
        assert created.status_code == 201
        wait_until(ready.exists)
        ready.unlink()
        shown = client.get(f"{server.url}/{created.json()['session_id']}")
        assert shown.status_code == 200
        assert created.json()["token"] not in shown.text
        session: dict[str, Any] = shown.json()
        return session

    return start


def test_204_means_dead(server: Server, client: httpx.Client, start: Start) -> None:
    """A session deaf to all but SIGKILL has no process left when the 204 comes."""
    session = start(DEAF)
    with processes.observe_session(session["pid"]) as observer:
        assert len(observer) >= 1
        answer = client.delete(f"{server.url}/{session['session_id']}")
        living, leader = observer.survivors(), processes.look_up(session["pid"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert (living, leader) == ([], None)
    assert answer.headers["server-timing"].startswith("hup;dur=")
    after = client.get(f"{server.url}/{session['session_id']}").json()
    assert (after["is_alive"], after["exit_code"]) == (False, 137)
    assert session["created_at"] <= after["ended_at"] <= 1000 * time.time()
    assert session["ended_at"] is session["exit_code"] is None
    assert session["is_alive"] is True


def test_kills_at_once_share_one_teardown(server: Server, start: Start) -> None:
    """Twenty DELETEs of one session are all 204, from the same verdict."""
    session = start(DEAF)

    def kill(_: int) -> tuple[int, str, str | None]:
        with server.client() as client:
            answer = client.delete(f"{server.url}/{session['session_id']}")
            return answer.status_code, answer.text, answer.headers.get("server-timing")

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(kill, range(20)))
    ((status, text, timing),) = answers
    assert (status, text) == (204, "")
    assert timing
    assert processes.look_up(session["pid"]) is None


def test_kill_can_be_repeated(server: Server, client: httpx.Client, start: Start) -> None:
    """Each DELETE of an ended session is 204, while its record is kept."""
    session = start(f"trap 'exit 3' HUP; : > ready; {IDLE_LOOP}")
    for _ in range(3):
        assert client.delete(f"{server.url}/{session['session_id']}").status_code == 204
    after = client.get(f"{server.url}/{session['session_id']}").json()
    assert after["exit_code"] == 3
    assert client.get(server.url).json()["sessions"] == [after]


@pytest.mark.parametrize("session_id", ["x", "0" * 32, "%2e%2e", "%00", "%ff", "a" * 4000])
def test_unknown_sessions_are_not_found(
    server: Server, client: httpx.Client, session_id: str
) -> None:
    """An id that no session has had is 404, for each operation."""
    for ask in client.get, client.delete:
        answer = ask(f"{server.url}/{session_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "SESSION_NOT_FOUND")


def test_a_refused_delete_sends_no_signal(
    server: Server, client: httpx.Client, start: Start, tmp_path: Path
) -> None:
    """A bad grace is 400 and a bad key 401, and the session gets no signal."""
    session = start(LISTENING)
    url = f"{server.url}/{session['session_id']}"
    for grace in "-1", "nan", "inf", "1e99", "soon", "", "61":
        answer = client.delete(url, params={"grace": grace})
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_GRACE")
    for value in None, "", "Bearer", f"Bearer {KEY[:-1]}", f"Bearer {KEY}x", f"Basic {KEY}", KEY:
        headers = {} if value is None else {"Authorization": value}
        answer = httpx.delete(url, headers=headers, trust_env=False, verify=False)
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "Bearer"
    time.sleep(0.2)  # Longer than the program takes to tell of a hangup.
    # The program goes on meanwhile, and uses processor time.
    assert client.get(url).json() | {"usage": None} == session | {"usage": None}
    assert not (tmp_path / "hung-up").exists()
    assert client.delete(url, params={"grace": "0"}).status_code == 204


def test_a_client_that_disconnects_does_not_stop_a_kill(
    server: Server, client: httpx.Client, start: Start
) -> None:
    """The session of a DELETE whose client has disconnected is dead within its plan."""
    session = start(DEAF)
    url = f"{server.url}/{session['session_id']}"
    request = f"DELETE {url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request.replace(f"http://127.0.0.1:{server.port}", "").encode())
    wait_until(lambda: not client.get(url).json()["is_alive"])
    assert time.monotonic() - began >= 0.5
    assert processes.look_up(session["pid"]) is None
    assert client.delete(url).status_code == 204


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"command": "there-is-no-such-command"}', "COMMAND_NOT_FOUND"),
        ('{"command": "/"}', "COMMAND_NOT_EXECUTABLE"),
        ('{"command": "sh", "working_dir": "/there/is/no/such/folder"}', "WORKING_DIR_NOT_FOUND"),
        ('{"command": ""}', "INVALID_REQUEST"),
        ('{"command": "a\\u0000b"}', "INVALID_REQUEST"),
        ('{"command": "sh", "args": ["\\ud800"]}', "INVALID_REQUEST"),
        ('{"command": "sh", "env": {"A=": ""}}', "INVALID_REQUEST"),
        ('{"command"', "INVALID_REQUEST"),
        (f'{{"command": "{"x" * (2 << 20)}"}}', "INVALID_REQUEST"),
    ],
    ids=range(9),
)
def test_a_failed_create_has_its_code(
    server: Server, client: httpx.Client, body: str, code: str
) -> None:
    """A create that fails is 400 with a code for the reason, and leaves no session."""
    kind = {"content-type": "application/json"}
    answer = client.post(server.url, content=body, headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert client.get(server.url).json()["sessions"] == []


def test_live_sessions_are_limited(server: Server, client: httpx.Client, start: Start) -> None:
    """One session too many is 429; when one has ended, a create works again."""
    sessions = [start(LISTENING) for _ in range(3)]
    body = {"command": shutil.which("sleep"), "args": ["60"]}
    answer = client.post(server.url, json=body)
    assert (answer.status_code, answer.json()["code"]) == (429, "TOO_MANY_SESSIONS")
    url = f"{server.url}/{sessions[1]['session_id']}"
    assert client.delete(url, params={"grace": "0"}).status_code == 204
    assert client.post(server.url, json=body).status_code == 201


def test_the_environment_is_added_to_ours(
    server: Server, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session has our variables, those of the create, a terminal type, and the size."""
    monkeypatch.delenv("TERM", raising=False)
    monkeypatch.setenv("OURS", "ours")
    monkeypatch.setenv("BOTH", "ours")
    program = 'echo "$OURS $BOTH $THEIRS $TERM" $(stty size) > said.part; mv said.part said'
    body = {
        "command": "sh",
        "args": ["-c", program],
        "env": {"BOTH": "theirs", "THEIRS": "theirs"},
        "working_dir": str(tmp_path),
        "rows": 9999,
        "cols": 40,
    }
    assert client.post(server.url, json=body).status_code == 201
    wait_until((tmp_path / "said").exists)
    assert (tmp_path / "said").read_text().split() == [
        "ours", "theirs", "theirs", "xterm-256color", "500", "40",
    ]  # fmt: skip


def test_unknown_paths_and_methods_are_refused(server: Server, client: httpx.Client) -> None:
    """An unknown path is 404, a method that a path does not have 405 with ``Allow``."""
    assert client.get(f"{server.url}/").json()["code"] == "NOT_FOUND"
    assert client.get(server.url.replace("v1", "v2")).status_code == 404
    answer = client.put(server.url)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, DELETE")


@pytest.mark.parametrize("sessions", [4, 5])
async def test_a_list_of_several_pages_is_read_to_its_end(
    talker: Server, sessions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client reads page after page, and gets every session once, the oldest first."""
    # The daemon's: it serves from this process.
    monkeypatch.setattr(session_record, "MOST_LISTED", 2)
    async with DaemonClient(f"http://127.0.0.1:{talker.port}", KEY) as daemon:
        started = [(await daemon.create(["true"])).session_id for _ in range(sessions)]
        assert [each.session_id for each in await daemon.list()] == started
