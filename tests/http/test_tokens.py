"""Tokens for one right each, on real servers: to read, to type, revoked, expired, and renewed."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.http.conftest import KEY, Server
from tests.http.test_websocket import READY, Seat, rest, until_seen
from tests.waiting import TIMEOUT, wait_until

ECHOES = "stty -echo; while read x; do echo heard $x; stty size; done"


@pytest.fixture
def seat(talker: Server, tmp_path: Path) -> Iterator[Seat]:
    """Return a client of each kind of server."""
    with talker.client() as client:
        yield Seat(talker, client, tmp_path)


def issue(seat: Seat, session: str, **body: object) -> httpx.Response:
    """Ask for a token."""
    return seat.client.post(f"{seat.server.url}/{session}/tokens", json=body)


def closed_with(socket: ClientConnection) -> tuple[int, str]:
    """Wait for the close, and return its code and reason."""
    return rest(socket)[2:]


def refused(seat: Seat, session: str, token: str) -> bool:
    """Return whether a token does not attach."""
    try:
        with seat.server.attached(session, token):
            return False
    except InvalidStatus as error:
        return error.response.status_code == 403


def test_a_token_that_reads_only(seat: Seat) -> None:
    """Its client gets all output; its keys and sizes are ignored, and the connection stays."""
    session, token = seat.create(ECHOES)
    answer = issue(seat, session, access="read")
    assert answer.status_code == 201
    told = answer.json()
    assert set(told) == {"token_id", "token", "access", "expires_at"}
    assert (told["access"], told["expires_at"]) == ("read", None)
    assert len(told["token"]) == 43
    with (
        seat.server.attached(session, told["token"]) as watching,
        seat.server.attached(session, token) as typing,
    ):
        assert watching.response is not None
        assert watching.response.headers["x-pty-access"] == "read"
        watching.send(READY)
        watching.send(b"\x01" + struct.pack(">HH", 20, 10))
        watching.send(b"\x00not this\n")
        watching.ping().wait(TIMEOUT)
        typing.send(b"\x00this\n")
        assert until_seen(watching, b"80\r\n") == b"heard this\r\n24 80\r\n"
        assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204
        assert closed_with(watching) == (1001, "session terminated")


def test_tokens_are_in_no_other_answer(seat: Seat) -> None:
    """Neither those of a session nor those of others are in a record or a list."""
    session, _ = seat.create(ECHOES)
    tokens = [issue(seat, session, access=access).json()["token"] for access in ("read", "write")]
    for answer in seat.client.get(seat.server.url), seat.client.get(f"{seat.server.url}/{session}"):
        assert not any(token in answer.text for token in tokens)
    other, _ = seat.create(ECHOES)
    assert all(refused(seat, other, token) for token in tokens)


def test_a_revoked_token(seat: Seat) -> None:
    """Its clients are detached, others are not; it attaches no more, and can't be revoked again."""
    session, token = seat.create(ECHOES)
    one, other = (issue(seat, session, access="write").json() for _ in range(2))
    revoke = f"{seat.server.url}/{session}/tokens"
    with (
        seat.server.attached(session, one["token"]) as first,
        seat.server.attached(session, other["token"]) as second,
    ):
        second.send(READY)
        first.send(b"\x01" + struct.pack(">HH", 90, 30))
        wait_until(lambda: seat.show(session)["rows"] == 30)
        second.send(b"\x01" + struct.pack(">HH", 100, 40))
        wait_until(lambda: seat.show(session)["rows"] == 40)
        first.send(b"\x00x\n")
        wait_until(lambda: seat.show(session)["rows"] == 30)
        assert seat.client.delete(f"{revoke}/{one['token_id']}").status_code == 204
        assert closed_with(first) == (1008, "the token was revoked")
        wait_until(lambda: seat.show(session)["rows"] == 40)  # It has given its size back.
        second.send(b"\x00y\n")
        until_seen(second, b"heard y")
    assert refused(seat, session, one["token"])
    again = seat.client.delete(f"{revoke}/{one['token_id']}")
    assert (again.status_code, again.json()["code"]) == (404, "TOKEN_NOT_FOUND")
    assert seat.client.delete(f"{revoke}/create").status_code == 204
    assert refused(seat, session, token)
    assert not refused(seat, session, other["token"])


def test_a_token_that_expires(seat: Seat) -> None:
    """Its clients are detached then, and it attaches no more."""
    session, _ = seat.create(ECHOES)
    before = time.time()
    told = issue(seat, session, access="read", expires_in=2.5).json()
    assert told["expires_at"] == pytest.approx(1000 * (before + 2.5), abs=2000)
    with seat.server.attached(session, told["token"]) as socket:
        assert closed_with(socket) == (1008, "the token has expired")
    assert refused(seat, session, told["token"])


def test_wrong_requests_for_a_token(seat: Seat) -> None:
    """Each has its code; and a session has a bounded number of tokens."""
    session, _ = seat.create(ECHOES)
    wrong: list[dict[str, object]] = [
        {},
        {"access": "all"},
        {"access": None},
        {"access": ["read"]},
        {"access": "read", "expires_in": 0},
        {"access": "read", "expires_in": -1},
        {"access": "read", "expires_in": "1"},
        {"access": "read", "expires_in": 1e12},
        {"access": "read", "expires_in": True},
    ]
    for body in wrong:
        answer = issue(seat, session, **body)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST"), body
    url = f"{seat.server.url}/{session}/tokens"
    nan = seat.client.post(
        url,
        content=b'{"access": "read", "expires_in": 1e999}',
        headers={"content-type": "application/json"},
    )
    assert nan.status_code == 400
    assert issue(seat, "another", access="read").json()["code"] == "SESSION_NOT_FOUND"
    assert seat.client.get(url).status_code == 405
    assert seat.client.delete(f"{url}/x/y").status_code == 404
    assert (
        httpx.post(url, json={"access": "read"}, trust_env=False, verify=False).status_code == 401
    )
    issue(seat, session, access="read", expires_in=0.01)
    time.sleep(0.05)
    codes = [issue(seat, session, access="read").status_code for _ in range(257)]
    assert codes == [201] * 255 + [429] * 2


def test_a_client_that_comes_back_replaces_itself(seat: Seat) -> None:
    """Its older connection is closed; one of another name, or by another token, stays."""
    session, token = seat.create(ECHOES)
    place = f"{seat.server.url.replace('http', 'ws', 1)}/{session}/ws"
    with contextlib.ExitStack() as stack:

        def attach(client: str, by: str) -> ClientConnection:
            headers = {"Authorization": f"Bearer {KEY}", "X-PTY-Token": by}
            url = f"{place}?client={client}"
            return stack.enter_context(connect(url, additional_headers=headers, proxy=None))

        other = attach("other", token)
        reading = attach("me", issue(seat, session, access="read").json()["token"])
        older = attach("me", token)
        older.send(b"\x01" + struct.pack(">HH", 50, 20))
        wait_until(lambda: seat.show(session)["rows"] == 20)
        newer = attach("me", token)
        assert closed_with(older) == (1008, "replaced by a newer connection")
        newer.send(READY)
        newer.send(b"\x00x\n")
        until_seen(newer, b"heard x")
        for each in other, reading, newer:
            assert each.ping().wait(TIMEOUT)
        for wrong in ("", "a%20b", "x" * 65, "a&client=b"):
            with pytest.raises(InvalidStatus) as error:
                attach(wrong, token)
            assert error.value.response.status_code == 400


def test_a_session_that_others_have_started(seat: Seat) -> None:
    """A token that is issued for an ended session shows its output."""
    session, _ = seat.create("echo bye; exit 3")
    wait_until(lambda: not seat.show(session)["is_alive"])
    token = issue(seat, session, access="read").json()["token"]
    with seat.server.attached(session, token) as socket, contextlib.suppress(ConnectionClosed):
        socket.send(READY)
        assert rest(socket)[:2] == (b"bye\r\n", 3)
