"""The daemon's limits for clients: connections, descriptors, memory, and time."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

import ptykill
from ptykill.cli.serve import http_server
from ptykill.cli.serve.connections import ConnectionLimiter
from ptykill.http import frames, limits
from ptykill.testing import FakeTier
from tests.daemon import serving, serving_in_a_thread
from tests.waiting import IDLE_LOOP, TIMEOUT, wait_until

KEY = "key-for-limits"
PATH = "/api/v1/pty"
BEARER = f"Authorization: Bearer {KEY}\r\n"
served = partial(serving_in_a_thread, key=KEY)


def few(descriptors: int) -> list[str]:
    """Return the beginning of a command that may have so many descriptors."""
    return ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"]


def client(address: str) -> httpx.Client:
    """Return a client with the key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.Client(
        base_url=f"http://{address}",
        headers=headers,
        timeout=TIMEOUT,
        trust_env=False,
        verify=False,
    )


def connect(address: str) -> socket.socket:
    """Connect to a daemon."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), TIMEOUT)


def upgrade_of(session: dict[str, Any], query: str = "") -> str:
    """Return a request to attach to a session."""
    return (
        f"GET {PATH}/{session['session_id']}/ws{query} HTTP/1.1\r\nHost: localhost\r\n{BEARER}"
        f"X-PTY-Token: {session['token']}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyAhIQ==\r\n\r\n"
    )


def attach(address: str, session: dict[str, Any], query: str = "") -> socket.socket:
    """Attach by a bare socket, and send ready."""
    stream = connect(address)
    stream.sendall(upgrade_of(session, query).encode())
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        said += stream.recv(1)
    assert b" 101 " in said
    stream.sendall(b"\x82\x81\0\0\0\0" + frames.READY)
    return stream


def start(api: httpx.Client, *command: str) -> dict[str, Any]:
    """Create a session."""
    body = {"command": command[0], "args": command[1:]}
    told: dict[str, Any] = api.post(PATH, json=body).raise_for_status().json()
    return told


def test_idle_connections_keep_no_client_out() -> None:
    """With more of them than there are descriptors, health and DELETE are answered at once."""
    with ExitStack() as stack:
        address = stack.enter_context(serving(key=KEY, prefix=few(128)))
        with client(address) as api:
            session = start(api, "sleep", "600")["session_id"]
        for number in range(200):
            stream = stack.enter_context(connect(address))
            if number % 2:
                stream.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        with client(address) as api:
            assert api.get("/healthz").status_code == 200
            assert api.delete(f"{PATH}/{session}").status_code == 204


def test_sessions_that_have_all_descriptors_can_be_ended() -> None:
    """The same if sessions have most descriptors, and idle connections the others."""
    with ExitStack() as stack:
        address = stack.enter_context(serving(key=KEY, prefix=few(72)))
        sessions = []
        with client(address) as api:
            while (
                created := api.post(PATH, json={"command": "sleep", "args": ["600"]})
            ).is_success:
                sessions.append(created.json()["session_id"])
            assert created.json()["code"] == "SPAWN_FAILED"
        for _ in range(12):
            stack.enter_context(connect(address))
        with client(address) as api:
            assert api.get("/healthz").status_code == 200
        for session in sessions[:2]:
            with client(address) as api:  # A connection for each.
                assert api.delete(f"{PATH}/{session}").status_code == 204


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Run a daemon with a short grace."""
    with serving("--plan", "HUP@session 300ms, KILL 15s", key=KEY) as address:
        yield address


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Host: localhost\r\nAuthorization: Bearer x\r\nContent-Length: 100000000\r\n", 401),
        ("Host: localhost\r\nAuthorization: Bearer x\r\nTransfer-Encoding: chunked\r\n", 401),
        (f"Host: evil.example\r\n{BEARER}Content-Length: 5\r\n", 403),
        (f"Host: localhost\r\n{BEARER}Content-Length: 5\r\nContent-Type: text/plain\r\n", 415),
        (f"Host: localhost\r\n{BEARER}Content-Length: 1048577\r\n", 400),
        (f"Host: localhost\r\n{BEARER}Content-Length: 1{'0' * 40}\r\n", 400),
    ],
)
def test_what_is_refused_is_refused_before_the_body(address: str, head: str, status: int) -> None:
    """The answer does not wait for the first byte of the body."""
    with connect(address) as stream:
        stream.sendall(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode())
        assert stream.recv(1 << 16).startswith(f"HTTP/1.1 {status}".encode())


def test_long_messages_are_refused_at_their_first_bytes(address: str) -> None:
    """A frame that announces too many bytes gets a close with 1009, and its session lives."""
    with client(address) as api:
        session = start(api, "cat")
        for opcode in 0x82, 0x81:
            with attach(address, session) as stream:
                stream.sendall(struct.pack(">BBQ", opcode, 0xFF, limits.MESSAGE + 1) + bytes(4))
                assert struct.pack(">H", 1009) in _read_all(stream)
        assert api.get(f"{PATH}/{session['session_id']}").json()["is_alive"]
        assert api.delete(f"{PATH}/{session['session_id']}?grace=0").status_code == 204


def test_the_pieces_of_a_message_are_counted_together(address: str) -> None:
    """Each is short enough; the one that would make the whole too long is refused."""
    with client(address) as api:
        session = start(api, "cat")
        with attach(address, session) as stream:
            piece = struct.pack(">BQ", 0xFF, 1 << 20) + bytes(4) + bytes(1 << 20)
            stream.sendall(b"\x02" + piece + (b"\x00" + piece) * (limits.MESSAGE // (1 << 20) - 1))
            stream.sendall(b"\x89\x80\0\0\0\0")
            told = b""
            while b"\x8a\0" not in told:  # All that has come so far was taken.
                told += stream.recv(1 << 16)
            stream.sendall(b"\x00\x81\0\0\0\0")  # One byte, which it says and does not send.
            assert struct.pack(">H", 1009) in _read_all(stream)
        assert api.get(f"{PATH}/{session['session_id']}").json()["is_alive"]
        assert api.delete(f"{PATH}/{session['session_id']}?grace=0").status_code == 204


def _read_all(stream: socket.socket) -> bytes:
    return b"".join(iter(lambda: stream.recv(1 << 16), b""))


def test_headers_have_a_length(address: str) -> None:
    """Nearly 16 KiB of them are taken; a little more is refused while it arrives."""
    head = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n{BEARER}Connection: close\r\nX: "
    with connect(address) as stream:
        stream.sendall(head.encode() + b"x" * (limits.HEADER - len(head) - 4) + b"\r\n\r\n")
        assert _read_all(stream).startswith(b"HTTP/1.1 200")
    with connect(address) as stream:
        stream.sendall(head.encode() + b"x" * (limits.HEADER - len(head) + 1))
        assert _read_all(stream).startswith(b"HTTP/1.1 400")


def test_a_half_closed_connection_is_answered(address: str) -> None:
    """A client may shut down its sending side after GETs and DELETEs, as `nc -N` does."""

    def answered(*requests: tuple[str, str]) -> bytes:
        text = "".join(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\n"
            for method, path in requests
        )
        with connect(address) as stream:
            stream.sendall(text.encode())
            stream.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: stream.recv(1 << 16), b""))

    with client(address) as api:
        session = f"{PATH}/{start(api, 'sleep', '600')['session_id']}"
        assert b" 200 OK" in answered(("GET", session))
        assert answered(("GET", session), ("GET", PATH)).count(b" 200 OK") == 2
        assert b" 204 No Content" in answered(("DELETE", session))
        assert not api.get(session).json()["is_alive"]


def test_a_create_on_a_half_closed_connection_leaves_no_session(address: str) -> None:
    """The FIN may come from a client that has closed, and would never get its session's id."""
    body = b'{"command": "sleep", "args": ["600"]}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{BEARER}"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    answers = []
    for _ in range(5):  # A create may be answered before its FIN is seen.
        with connect(address) as stream:
            stream.sendall(head.encode() + body)
            stream.shutdown(socket.SHUT_WR)
            answers.append(b"".join(iter(lambda: stream.recv(1 << 16), b"")))
    assert b"" in answers
    created = sum(b" 201 " in answer for answer in answers)
    with client(address) as api:

        def alive() -> list[str]:
            sessions = api.get(PATH).json()["sessions"]
            return [each["session_id"] for each in sessions if each["is_alive"]]

        wait_until(lambda: len(alive()) == created)
        for session in alive():
            api.delete(f"{PATH}/{session}?grace=0")


@pytest.mark.parametrize("signals", [1, 2])
def test_a_client_that_does_not_read_does_not_delay_the_end(signals: int) -> None:
    """The daemon exits within its plan and some seconds, though its clients read nothing."""
    with ExitStack() as stack:
        with serving("--plan", "HUP@session 300ms, KILL 15s", key=KEY) as address:
            with client(address) as api:
                session = start(api, "yes")
                stack.enter_context(attach(address, session))
                quiet = start(api, "sleep", "600")
                stack.enter_context(attach(address, quiet))
                big = stack.enter_context(connect(address))
                big.sendall(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n".encode())
            if signals == 2:
                time.sleep(0.3)  # The program writes no more: the terminal is full.
            began = time.monotonic()
        assert time.monotonic() - began < 0.3 + 10


def test_tokens_are_in_no_log() -> None:
    """Neither tokens of attached or refused clients, nor the key, are logged."""
    with tempfile.TemporaryFile("w+") as log:
        with serving(key=KEY, log=log) as address, client(address) as api:
            session = start(api, "sleep", "600")
            with attach(address, session, f"?token={session['token']}"):
                pass
            for path in "x/ws", session["session_id"], "%", f"{session['session_id']}/ws/":
                api.get(f"{PATH}/{path}", params={"token": session["token"]})
            with connect(address) as stream:
                told = f"?token={session['token']} HTTP/1.1\r\nHost: \xff\r\n\xff\r\n\r\n"
                stream.sendall(f"GET {PATH}/x/ws{told}".encode("latin-1"))
                while stream.recv(1 << 16):
                    pass
        log.seek(0)
        text = log.read()
    assert session["session_id"] in text
    assert session["token"] not in text
    assert KEY not in text


def test_tokens_are_in_no_log_of_any_level(caplog: pytest.LogCaptureFixture) -> None:
    """The libraries below write URLs to their logs, which the daemon has switched off."""
    caplog.set_level(logging.DEBUG)
    with ptykill.Host() as host, served(host) as address, client(address) as api:
        session = start(api, "sleep", "600")
        with attach(address, session, f"?token={session['token']}"):
            pass
        with connect(address) as stream:
            stream.sendall(
                f"GET {PATH}/x/ws?token={session['token']} HTTP/1.1\r\nHost: x\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
            )
            assert _read_all(stream).startswith(b"HTTP/1.1 400")
        assert api.get(PATH, params={"token": session["token"]}).status_code == 200
    assert session["session_id"] in caplog.text
    ours = [each for each in caplog.records if not each.name.startswith(("httpx", "httpcore"))]
    assert not any(session["token"] in each.getMessage() for each in ours)


# --- in this process, with other limits -----------------------------------------------------------


def test_silence_is_the_end_of_a_websocket(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that answers no PING is dropped; one that sends only PONGs is not."""
    monkeypatch.setattr(limits, "PING_SECONDS", 0.05)
    monkeypatch.setattr(limits, "SILENCE_SECONDS", 0.5)
    with ptykill.Host() as host, served(host) as address, client(address) as api:
        session = start(api, "sleep", "600")
        with attach(address, session) as silent, attach(address, session) as answering:
            silent.settimeout(TIMEOUT)
            gone = threading.Thread(target=lambda: list(iter(lambda: _received(silent), b"")))
            gone.start()
            until = time.monotonic() + TIMEOUT
            while gone.is_alive():
                assert time.monotonic() < until
                assert answering.recv(2) == b"\x89\x04"  # A PING.
                answering.sendall(b"\x8a\x84\0\0\0\0" + answering.recv(4))
            answering.sendall(b"\x88\x80\0\0\0\0")
            while answering.recv(1 << 16):
                pass


def _received(stream: socket.socket) -> bytes:
    try:
        return stream.recv(1 << 16)
    except ConnectionError:
        return b""


def test_a_flood_does_not_occupy_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other connections are served after a small part of it, whatever it consists of."""
    sizes: list[int] = []

    def note(protocol: type[H11Protocol | WebSocketsSansIOProtocol]) -> None:
        known: Any = protocol.data_received

        def data_received(self: object, data: bytes) -> None:
            sizes.append(len(data))
            known(self, data)

        monkeypatch.setattr(protocol, "data_received", data_received)

    note(H11Protocol)
    note(WebSocketsSansIOProtocol)
    chunks = b"1\r\nx\r\n" * 40_000
    pongs = b"\x8a\x80\0\0\0\0" * 40_000
    with ptykill.Host() as host, served(host) as address, client(address) as api:
        with connect(address) as stream:
            stream.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{BEARER}".encode())
            stream.sendall(b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
            assert stream.recv(1 << 16).startswith(b"HTTP/1.1 400")  # Not JSON.
        with attach(address, start(api, "sleep", "600")) as stream:
            stream.sendall(pongs + b"\x88\x80\0\0\0\0")
            while stream.recv(1 << 16):
                pass
    assert sum(sizes) > len(chunks) + len(pongs)
    assert max(sizes) <= 16_384


@pytest.mark.parametrize("protocol", [H11Protocol, WebSocketsSansIOProtocol])
def test_a_mistake_of_a_protocol_ends_one_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: type
) -> None:
    """The log has one line, and no traceback, with which any client could fill it."""
    known: Any = protocol.data_received  # type: ignore[attr-defined] # both have it

    def data_received(self: object, data: bytes) -> None:
        if b"x-mistake" in data.lower():
            raise ZeroDivisionError
        known(self, data)

    monkeypatch.setattr(protocol, "data_received", data_received)
    with ptykill.Host() as host, served(host) as address, client(address) as api:
        request = upgrade_of(start(api, "sleep", "600")).replace("\r\n", "\r\nX-Mistake: x\r\n", 1)
        with connect(address) as stream, suppress(ConnectionResetError):
            stream.sendall(request.encode())
            assert stream.recv(1) == b""
        assert api.get(PATH).status_code == 200
    (told,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert told.getMessage() == "event='serve.bad_request' error='ZeroDivisionError'"


def test_a_message_in_many_pieces_is_kept_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fragments may be empty, so their number has no bound; a PING may come between them."""
    protocols: list[WebSocketsSansIOProtocol] = []
    known = WebSocketsSansIOProtocol.connection_made

    def connection_made(self: WebSocketsSansIOProtocol, transport: Any) -> None:  # noqa: ANN401
        protocols.append(self)
        known(self, transport)

    monkeypatch.setattr(WebSocketsSansIOProtocol, "connection_made", connection_made)
    with ptykill.Host() as host, served(host) as address, client(address) as api:
        session = start(api, "sh", "-c", 'stty -echo; read x; read y; echo "[$x$y]"')
        with attach(address, session) as stream:
            stream.sendall(b"\x02\x81\0\0\0\0" + frames.input_frame(b""))
            stream.sendall(b"".join(b"\0\x81\0\0\0\0%c" % each for each in b"one\n"))
            stream.sendall(b"\0\x80\0\0\0\0" * 5000 + b"\x89\x80\0\0\0\0")
            told = b""
            while b"\x8a\0" not in told:  # Its PONG.
                told += stream.recv(1 << 16)
            assert len(protocols[0].frames) <= 1
            stream.sendall(b"\0\x84\0\0\0\0two\n" + b"\x80\x80\0\0\0\0")
            while more := stream.recv(1 << 16):
                told += more
        assert b"[onetwo]" in told


def test_half_a_request_has_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which no request begins is closed; one that waits for an answer is not."""
    monkeypatch.setattr(limits, "HEADER_SECONDS", 0.2)
    plan = ptykill.Plan.parse("HUP@session 2500ms, KILL 15s")
    with ptykill.Host(plan=plan) as host, served(host) as address, client(address) as api:
        session = start(api, "sh", "-c", f"trap '' HUP; {IDLE_LOOP}")
        with connect(address) as half, connect(address) as silent:
            half.sendall(b"GET / HTTP/1.1\r\nHost")
            assert api.delete(f"{PATH}/{session['session_id']}").status_code == 204
            assert half.recv(1) == silent.recv(1) == b""


def test_an_answered_connection_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that asks no more is closed."""
    monkeypatch.setattr(limits, "HEADER_SECONDS", 1e6)
    monkeypatch.setattr(limits, "KEEP_ALIVE_SECONDS", 1)
    with ptykill.Host() as host, served(host) as address, connect(address) as stream:
        stream.settimeout(TIMEOUT)
        stream.sendall(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n{BEARER}\r\n".encode())
        began = time.monotonic()
        assert _read_all(stream).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - began < 4  # Before uvicorn's own.


@pytest.mark.parametrize("trickles", [False, True])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_body_has_a_time_out(
    monkeypatch: pytest.MonkeyPatch, loop: str, *, trickles: bool
) -> None:
    """One that stops in the middle is answered with 408, and so is one that never ends."""
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.1)
    scope = {"type": "http", "method": "POST", "path": PATH, "headers": []}
    sent: list[Any] = []
    received = 0
    sleep: Any = trio.sleep if loop == "trio" else asyncio.sleep

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        await sleep(0.01 if trickles or received == 1 else math.inf if loop == "trio" else 1e6)
        return {"type": "http.request", "body": b"{", "more_body": True}

    async def send(message: Any) -> None:  # noqa: ANN401 - whatever ASGI has
        sent.append(message)

    async def in_asyncio() -> None:
        with ptykill.Host() as host:
            app: Any = ptykill.asgi_app(host, key=None, spawning=True)
            async with asyncio.timeout(TIMEOUT):
                await app(scope, receive, send)

    async def in_trio() -> None:
        async with ptykill.open_supervisor() as supervisor:
            app: Any = ptykill.asgi_app(supervisor, key=None, spawning=True)
            with trio.fail_after(TIMEOUT):
                await app(scope, receive, send)

    if loop == "trio":
        trio.run(in_trio)
    else:
        asyncio.run(in_asyncio())
    assert sent[0]["status"] == 408


async def test_all_bodies_that_arrive_share_their_room(autojump_clock: MockClock) -> None:
    """While sixteen bodies of the limit are received, one byte more is answered 503."""
    statuses: list[int] = []
    path = {"type": "http", "method": "POST", "path": PATH, "headers": []}

    async def post(app: Any, *bodies: bytes, left: trio.Event | None = None) -> None:  # noqa: ANN401
        messages = [{"type": "http.request", "body": each, "more_body": True} for each in bodies]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            if left is not None:
                await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:  # noqa: ANN401
            statuses.extend([message["status"]] if "status" in message else [])

        await app(path, receive, send)

    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        app = ptykill.asgi_app(supervisor, key=None, spawning=True)
        left = trio.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(limits.ALL_BODIES // limits.BODY):
                nursery.start_soon(partial(post, app, b"x" * limits.BODY, left=left))
            await wait_all_tasks_blocked()
            await post(app, b"x")
            assert statuses == [503]
            left.set()
        await post(app, b"x")
        assert statuses == [503]


def test_the_numbers_are_those_of_the_page() -> None:
    """docs/http.md has each of the limits."""
    page = Path(__file__).parents[2].joinpath("docs", "http.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    told = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in rows}
    told = {name.partition(":")[0]: size for name, size in told.items()}
    assert told["a body"] == f"{limits.BODY >> 20} MiB; {limits.BODY_SECONDS:g} s"
    assert told["all bodies that are being received"] == f"{limits.ALL_BODIES >> 20} MiB"
    assert told["the request line and headers"].startswith(
        f"{limits.HEADER >> 10} KiB; {limits.HEADER_SECONDS:g} s"
    )
    assert told["silence after an answer"] == f"{limits.KEEP_ALIVE_SECONDS} s"
    assert told["a message of a WebSocket"] == f"{limits.MESSAGE >> 20} MiB"
    assert told["silence of a WebSocket"] == f"{limits.SILENCE_SECONDS:g} s"
    assert f"at most {limits.CONNECTIONS}" in told["connections"]
    # A public client gives up after ten seconds without a PING, and one may be lost.
    assert 2 * limits.PING_SECONDS < 10
    # A refusal is sent, and a close is over, before the other side gives up.
    assert limits.REFUSED_BODY_SECONDS < 5
    assert limits.CLOSING_SECONDS < 15
    assert limits.REFUSED_BODY < limits.ALL_BODIES


@pytest.mark.parametrize(
    ("descriptors", "most"), [(16, 8), (80, 8), (200, 68), (1024, 480), (100_000, 1024)]
)
def test_connections_follow_the_limit_of_descriptors(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, most: int
) -> None:
    """Half of the descriptors minus 32; a quarter of those may not be WebSockets."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert limits.connections() == most
    assert limits.websockets(most) == most - most // 4
    unlimited = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (unlimited, unlimited))
    assert limits.connections() == 1024


@pytest.fixture
def limiters(monkeypatch: pytest.MonkeyPatch) -> list[ConnectionLimiter]:
    """Return a list of the limiters that servers make from now on."""
    made: list[ConnectionLimiter] = []

    class Noted(ConnectionLimiter):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(http_server, "ConnectionLimiter", Noted)
    return made


def test_too_many_requests_under_way(
    monkeypatch: pytest.MonkeyPatch, limiters: list[ConnectionLimiter]
) -> None:
    """A connection above the limit is closed at once; when one closes, the next is accepted."""
    monkeypatch.setattr(limits, "connections", lambda: 2)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{BEARER}Content-Length: 5\r\n"
    head += "Expect: 100-continue\r\n\r\n"
    with ptykill.Host() as host, served(host) as address:
        with connect(address) as first, connect(address) as second:
            for stream in first, second:
                stream.sendall(head.encode())
                assert stream.recv(1 << 16).startswith(b"HTTP/1.1 100")  # It is under way.
            with connect(address) as third:
                assert third.recv(1) == b""
        wait_until(lambda: not limiters[0]._entries)
        with client(address) as api:
            assert api.get(PATH).status_code == 200


def test_too_many_websockets(
    monkeypatch: pytest.MonkeyPatch, limiters: list[ConnectionLimiter]
) -> None:
    """They are told so, and leave a connection for requests."""
    monkeypatch.setattr(limits, "connections", lambda: 4)
    with ptykill.Host() as host, served(host) as address, ExitStack() as stack:
        with client(address) as api:
            session = start(api, "sleep", "600")
        wait_until(lambda: not limiters[0]._entries)
        for _ in range(3):
            stack.enter_context(attach(address, session))
        with connect(address) as stream:
            stream.sendall(upgrade_of(session).encode())
            told = _read_all(stream)
            assert told.startswith(b"HTTP/1.1 503")
            assert b'"code":"TOO_MANY_CONNECTIONS"' in told
        with client(address) as api:
            assert api.delete(f"{PATH}/{session['session_id']}?grace=0").status_code == 204
        stack.close()
        wait_until(lambda: not limiters[0]._entries)


def test_without_descriptors_a_reserve_answers(limiters: list[ConnectionLimiter]) -> None:
    """With none left, and no idle connection to be closed, requests are answered all the same."""
    with ptykill.Host() as host, served(host) as address, ExitStack() as stack:
        with client(address) as api:
            session = start(api, "sleep", "600")["session_id"]
        wait_until(lambda: not limiters[0]._entries)  # Its connection is closed.
        streams = [stack.enter_context(socket.socket()) for _ in range(2)]
        with _no_descriptors():
            for stream, request, status in zip(
                streams,
                (f"GET {PATH}", f"DELETE {PATH}/{session}?grace=0"),
                (b"200", b"204"),
                strict=True,
            ):
                stream.settimeout(TIMEOUT)
                name, _, port = address.rpartition(":")
                stream.connect((name, int(port)))
                head = f"{request} HTTP/1.1\r\nHost: x\r\n{BEARER}Connection: close\r\n\r\n"
                stream.sendall(head.encode())
                assert _read_all(stream).startswith(b"HTTP/1.1 " + status)


@contextmanager
def _no_descriptors() -> Iterator[None]:
    """Leave this process no descriptor that it could open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_open_descriptors() + 100, hard))
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- the limiter ----------------------------------------------------------------------------------


class _Client:
    """A fake connection, which is idle since the given time."""

    def __init__(self, idle_since: float | None, peer: str = "127.0.0.1") -> None:
        self.idle_since = idle_since
        self.closed = False
        self.peer = peer
        self.aborted = 0
        self.transport: Any = self  # It is its own.

    def is_closing(self) -> bool:
        """Return whether it is closed, or about to be."""
        return self.closed

    def abort(self) -> None:
        """Close it."""
        self.closed = True
        self.aborted += 1

    def get_extra_info(self, _: str) -> tuple[str, int]:
        """Return the address of the client."""
        return self.peer, 1


@pytest.fixture
def limiter() -> Iterator[ConnectionLimiter]:
    """Return a limiter for four."""
    limiter = ConnectionLimiter(4)
    yield limiter
    limiter.close()


def test_the_longest_idle_connection_is_closed_for_a_new_one(limiter: ConnectionLimiter) -> None:
    """One with a request under way is never closed; without an idle one, none is admitted."""
    connections = [_Client(3.0), _Client(1.0), _Client(None), _Client(2.0)]
    assert all(map(limiter.admit, connections))
    newcomer = _Client(None)
    assert limiter.admit(newcomer)
    assert [connection.closed for connection in connections] == [False, True, False, False]
    limiter.remove(connections[1])
    assert limiter.admit(_Client(None))
    assert limiter.admit(_Client(None))
    assert not limiter.admit(_Client(5.0))
    assert not newcomer.closed


@pytest.mark.parametrize("peer", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"])
def test_one_address_has_at_most_half(limiter: ConnectionLimiter, peer: str) -> None:
    """Its own connections are closed for it; those of this machine have no such limit."""
    mine = [_Client(1.0, peer), _Client(None, peer)]
    assert all(map(limiter.admit, mine))
    assert limiter.admit(_Client(None, peer))
    assert [connection.closed for connection in mine] == [True, False]
    assert not limiter.admit(_Client(None, peer))
    assert limiter.admit(_Client(None, "198.51.100.1"))


def test_some_connections_are_reserved_for_requests(limiter: ConnectionLimiter) -> None:
    """WebSockets last long, so they can't take all connections."""
    connections = [_Client(None) for _ in range(4)]
    assert all(map(limiter.admit, connections))
    assert [limiter.upgrade(connection) for connection in connections] == [True, True, True, False]


def test_a_close_has_a_time_out(limiter: ConnectionLimiter) -> None:
    """A connection whose client does not read the last bytes is aborted."""
    connection = _Client(None)
    assert limiter.admit(connection)
    connection.closed = True
    for now, aborted in (1.0, 0), (5.0, 0), (20.0, 1):
        limiter.sweep(now)
        assert connection.aborted == aborted


def test_a_reserved_descriptor_admits_a_connection(limiter: ConnectionLimiter) -> None:
    """If no connection is idle, a reserved descriptor is closed until the loop accepts again."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        error = OSError(errno.EMFILE, "")
        context = {"exception": error, "socket": None}
        full = _open_descriptors()
        busy = _Client(None)
        assert limiter.admit(busy)
        limiter.handle_loop_error(loop, context)
        assert _open_descriptors() == full - 1
        assert not limiter.upgrade(busy)  # A WebSocket would keep it.
        limiter.sweep(loop.time())
        assert _open_descriptors() == full - 1  # Not before the loop has accepted.
        limiter.sweep(loop.time() + 5)
        assert _open_descriptors() == full
        assert limiter.upgrade(busy)
        idle = _Client(1.0)
        assert limiter.admit(idle)
        limiter.handle_loop_error(loop, context)
        assert idle.closed
        assert _open_descriptors() == full  # Its descriptor is enough.

    before = _open_descriptors()
    held = ConnectionLimiter(4)
    assert _open_descriptors() == before + 4
    held.close()
    assert _open_descriptors() == before
    asyncio.run(main())


def _open_descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def test_bodies_share_their_bytes() -> None:
    """All bodies share one budget until they are answered; a refused one takes nothing."""
    bodies = limits.BodyBudget(10)
    with bodies.room() as first:
        first.take(4)
        first.take(4)
        with bodies.room() as second:
            second.take(2)
            with pytest.raises(limits.TooManyBodies):
                second.take(1)
        with bodies.room() as third:
            third.take(2)
    with bodies.room() as all_of_it:
        all_of_it.take(10)


def test_a_daemon_exits_if_its_sessions_thread_crashes() -> None:
    """It would refuse every request; its exit status lets systemd start it again."""
    program = """
import ptykill.cli.serve.daemon as server
class Host(server.Host):
    async def __aenter__(self):
        host = await super().__aenter__()
        def crash():
            raise ZeroDivisionError
        self._thread.token.run_sync_soon(crash)
        return host
server.Host = Host
server.serve(server.Settings(port=0, key="k"))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=TIMEOUT, check=False
    )
    assert ended.returncode == 1
    assert b"the sessions' thread has crashed" in ended.stderr
