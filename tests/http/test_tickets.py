"""Tickets, on real servers: for one attach, one session, one right, and half a minute."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import trio
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

import ptykill
from ptykill.errors import InvalidToken, TooManyTokens
from ptykill.http import tickets as module
from ptykill.http.grants import Access
from ptykill.http.messages import Login
from ptykill.http.tickets import TICKET_SECONDS, Tickets
from ptykill.testing import FakeTier
from tests.http.conftest import Server
from tests.http.test_websocket import READY, Seat, rest, until_seen
from tests.waiting import TIMEOUT

ECHOES = "stty -echo; while read x; do echo heard $x; stty size; done"


@pytest.fixture
def seat(talker: Server, tmp_path: Path) -> Iterator[Seat]:
    """Return a client of each kind of server."""
    with talker.client() as client:
        yield Seat(talker, client, tmp_path)


def issue(seat: Seat, session: str, access: object = "write") -> httpx.Response:
    """Ask for a ticket."""
    return seat.client.post(f"{seat.server.url}/{session}/tickets", json={"access": access})


def attach(seat: Seat, session: str, query: str) -> ClientConnection:
    """Attach without the key."""
    return connect(
        f"{seat.server.url.replace('http', 'ws', 1)}/{session}/ws?{query}",
        proxy=None,
        compression=None,
    )


def status(seat: Seat, session: str, query: str) -> int:
    """Return the status of an attach."""
    try:
        with closing(attach(seat, session, query)):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_a_ticket_is_for_one_attach(seat: Seat) -> None:
    """It needs neither the key nor a token; a second time it is worth nothing."""
    session, _ = seat.create(ECHOES)
    answer = issue(seat, session)
    assert answer.status_code == 201
    told = answer.json()
    assert (told["access"], told["expires_in"]) == ("write", TICKET_SECONDS)
    with attach(seat, session, f"ticket={told['ticket']}") as socket:
        socket.send(READY)
        socket.send(b"\x01" + struct.pack(">HH", 70, 20))
        socket.send(b"\x00this\n")
        assert b"heard this" in until_seen(socket, b"20 70\r\n")
    assert status(seat, session, f"ticket={told['ticket']}") == 403


def test_a_ticket_to_read(seat: Seat) -> None:
    """Its client gets all output, and its keys are ignored."""
    session, token = seat.create(ECHOES)
    ticket = issue(seat, session, "read").json()["ticket"]
    with (
        attach(seat, session, f"ticket={ticket}") as watching,
        seat.server.attached(session, token) as typing,
    ):
        watching.send(READY)
        watching.send(b"\x00not this\n")
        watching.ping().wait(TIMEOUT)
        typing.send(b"\x00this\n")
        assert b"not" not in until_seen(watching, b"heard this\r\n")


def test_wrong_tickets(seat: Seat) -> None:
    """Another session's, a wrong one, none, two, and a wrong right are refused."""
    session, _ = seat.create(ECHOES)
    other, token = seat.create(ECHOES)
    ticket = issue(seat, other).json()["ticket"]
    assert status(seat, session, f"ticket={ticket}") == 403
    assert status(seat, other, f"ticket={ticket}") == 403, "it is used up"
    assert status(seat, other, "ticket=") == 403
    assert status(seat, "0" * 32, "ticket=wrong") == 403, "it tells nothing of sessions"
    two = [issue(seat, other).json()["ticket"] for _ in range(2)]
    assert status(seat, other, f"ticket={two[0]}&ticket={two[1]}") == 403
    assert status(seat, other, f"ticket=wrong&token={token}") == 403
    assert issue(seat, session, "both").status_code == 400
    assert seat.client.post(f"{seat.server.url}/none/tickets", json={}).status_code == 400
    assert issue(seat, "none").status_code == 404
    keyless = httpx.post(
        f"{seat.server.url}/{session}/tickets",
        json={"access": "read"},
        trust_env=False,
        verify=False,
    )
    assert keyless.status_code == 401


def test_a_client_that_comes_back_replaces_itself(seat: Seat) -> None:
    """By another ticket, with the same name, it is the same client."""
    session, _ = seat.create(ECHOES)
    first, second = (issue(seat, session).json()["ticket"] for _ in range(2))
    with attach(seat, session, f"ticket={first}&client=me") as older:
        older.send(READY)
        with attach(seat, session, f"ticket={second}&client=me"):
            assert rest(older)[2:] == (1008, "replaced by a newer connection")


async def test_the_time_and_the_bound(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ticket is valid for its time; there is a most of unused ones, and expired ones go."""
    monkeypatch.setattr(module, "MOST_TICKETS", 2)
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        tickets = Tickets()
        first, second = (tickets.issue(session, Access.READ) for _ in range(2))
        with pytest.raises(TooManyTokens):
            tickets.issue(session, Access.READ)
        await trio.sleep(TICKET_SECONDS - 1)
        assert tickets.redeem(session.id, first).access is Access.READ
        await trio.sleep(2)
        with pytest.raises(InvalidToken):
            tickets.redeem(session.id, second)
        third = tickets.issue(session, Access.WRITE, Login("a", 5))
        await trio.sleep(6)
        with pytest.raises(InvalidToken):  # Its login has ended before it.
            tickets.redeem(session.id, third)
        fourth = tickets.issue(session, Access.WRITE, Login("b", 100))
        tickets.end_login("a")
        tickets.end_login("b")
        with pytest.raises(InvalidToken):
            tickets.redeem(session.id, fourth)
