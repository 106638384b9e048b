"""Invalid requests and frames: the daemon goes on, within its limits."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.daemon import serving
from tests.waiting import TIMEOUT

KEY = "key-for-the-hostile"
PATH = "/api/v1/pty"
HEAD = b"Host: localhost\r\n"
BEARER = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: c2l4dGVlbiBieXRlcyAhIQ==\r\n"
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def get(path: str, *lines: bytes, rest: bytes = b"", method: bytes = b"GET") -> bytes:
    """Return a request of HTTP/1.1."""
    return method + f" {PATH}{path} HTTP/1.1\r\n".encode() + HEAD + b"".join(lines) + b"\r\n" + rest


def upgrade(*lines: bytes, rest: bytes = b"", method: bytes = b"GET") -> bytes:
    """Return a request for a WebSocket."""
    return get("/x/ws", UPGRADE, *lines, rest=rest, method=method)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


SETTINGS = frame(4, 0, 0)
REQUESTS = {
    # The headers of an upgrade.
    "subprotocol": upgrade(b"Sec-WebSocket-Protocol: \xff\r\n"),
    "extension": upgrade(b"Sec-WebSocket-Extensions: \xff\r\n"),
    "empty subprotocol": upgrade(b"Sec-WebSocket-Protocol: ,,\r\n"),
    "two subprotocols": upgrade(b"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: \xe9\r\n"),
    "bad extension": upgrade(b"Sec-WebSocket-Extensions: permessage-deflate; x=;;\r\n"),
    "other header": upgrade(b"X-Other: \x80\xff\r\n"),
    "token": upgrade(b"X-PTY-Token: \xff\r\n"),
    "key": upgrade(b"Authorization: Bearer \xff\r\n"),
    "origin": upgrade(b"Origin: http://\xff\r\n"),
    "host": upgrade(b"Host: \xff\r\n"),
    "no key": get("/x/ws", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "short key": get(
        "/x/ws",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Protocol: \xff\r\n",
    ),
    "key of non-ASCII": upgrade(b"Sec-WebSocket-Key: \xff\r\n"),
    "version": get("/x/ws", UPGRADE.replace(b"13", b"\xb2")),
    "other version": get("/x/ws", UPGRADE.replace(b"13", b"8")),
    "upgrade of non-ASCII": get("/x/ws", b"Connection: Upgrade\r\nUpgrade: \xff\r\n"),
    "connection of non-ASCII": get("/x/ws", b"Connection: \xff, Upgrade\r\nUpgrade: websocket\r\n"),
    # What an upgrade is not.
    "upgrade with a body": upgrade(b"Content-Length: 5\r\n", rest=b"hello"),
    "upgrade with half a body": upgrade(b"Content-Length: 500\r\n", rest=b"hello"),
    "upgrade with a body to come": upgrade(b"Content-Length: 5\r\n"),
    "upgrade with chunks to come": upgrade(b"Transfer-Encoding: chunked\r\n"),
    "upgrade with an empty body": upgrade(b"Content-Length: 0\r\n"),
    "upgrade in chunks": upgrade(
        b"Transfer-Encoding: chunked\r\n", rest=b"5\r\nhello\r\n0\r\n\r\n"
    ),
    "upgrade by POST": upgrade(method=b"POST"),
    "upgrade by HEAD": upgrade(method=b"HEAD"),
    "upgrade by CONNECT": upgrade(method=b"CONNECT"),
    "upgrade by HTTP/1.0": upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "upgrade of the list": get("", UPGRADE),
    "upgrade of the health": UPGRADE.join([b"GET /healthz HTTP/1.1\r\n" + HEAD, b"\r\n"]),
    "long upgrade": upgrade(b"X-Long: " + b"x" * 9000 + b"\r\n"),
    "many headers": upgrade(*[b"X-%d: x\r\n" % number for number in range(200)]),
    # Before the answer.
    "frame before the accept": upgrade(rest=b"\x82\x81\0\0\0\0\x02"),
    "close before the accept": upgrade(rest=b"\x88\x80\0\0\0\0"),
    "ping before the accept": upgrade(rest=b"\x89\x80\0\0\0\0"),
    "garbage before the accept": upgrade(rest=b"\xff" * 100),
    "request after the upgrade": upgrade(rest=get("")),
    # HTTP/1.
    "garbage": b"\xff\x00\x01\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "empty lines": b"\r\n" * 100,
    "target of non-ASCII": b"GET /\xff HTTP/1.1\r\n" + HEAD + b"\r\n",
    "target with no slash": b"GET x HTTP/1.1\r\n" + HEAD + b"\r\n",
    "absolute target": b"GET http://[ HTTP/1.1\r\n" + HEAD + b"\r\n",
    "percent": get("/%ff%00%"),
    "query of non-ASCII": get("?grace=\u00e9"),
    "header of non-ASCII": get("", b"X: \xff\r\n"),
    "name of non-ASCII": get("", b"\xff: x\r\n"),
    "NUL in a header": get("", b"X: \0\r\n"),
    "two hosts": get("", HEAD),
    "two lengths": get("", b"Content-Length: 1\r\nContent-Length: 2\r\n", method=b"POST"),
    "length and chunks": get(
        "", b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", method=b"POST"
    ),
    "negative length": get("", b"Content-Length: -1\r\n", method=b"POST"),
    "length of many digits": get("", b"Content-Length: " + b"9" * 5000 + b"\r\n", method=b"POST"),
    "bad chunk": get("", BEARER, b"Transfer-Encoding: chunked\r\n", rest=b"z\r\n", method=b"POST"),
    "gzip": get("", BEARER, b"Transfer-Encoding: gzip\r\n", method=b"POST"),
    "expect": get("", b"Expect: 100-continue\r\nContent-Length: 9\r\n", method=b"POST"),
    "other expect": get("", BEARER, b"Expect: \xff\r\n", method=b"POST"),
    "CONNECT": b"CONNECT localhost:80 HTTP/1.1\r\n" + HEAD + b"\r\n",
    "OPTIONS": b"OPTIONS * HTTP/1.1\r\n" + HEAD + b"\r\n",
    "TRACE": get("", method=b"TRACE"),
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/3.7": b"GET / HTTP/3.7\r\n" + HEAD + b"\r\n",
    "long header": get("", b"X: " + b"x" * (1 << 20) + b"\r\n"),
    "pipelined": get("") * 100,
    "half a header": b"GET / HTTP/1.1\r\nHost",
    # HTTP/2, which is not spoken.
    "h2c": get(
        "", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    ),
    "h2c, bad settings": get(
        "", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \xff!\r\n"
    ),
    "h2c, no settings": get("", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    "h2c with a body": get(
        "",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        b"Content-Length: 5\r\n",
        rest=b"hello",
        method=b"POST",
    ),
    "HTTP/2": PREFACE + SETTINGS,
    "HTTP/2, no pseudo-headers": PREFACE + SETTINGS + frame(1, 5, 1, b"\x40\x01a\x01b"),
    "HTTP/2, CONNECT": PREFACE + SETTINGS + frame(1, 5, 1, b"\x02\x07CONNECT\x01\x01x"),
    "HTTP/2, DATA": PREFACE + SETTINGS + frame(0, 1, 1, b"x"),
    "HTTP/2, priorities": PREFACE
    + SETTINGS
    + b"".join(frame(2, 0, 2 * each + 1, b"\0\0\0\0\x10") for each in range(3000)),
    "HTTP/2, settings": PREFACE + frame(4, 0, 0, b"\0\x04\xff\xff\xff\xff"),
    "HTTP/2, window": PREFACE + SETTINGS + frame(8, 0, 0, b"\0\0\0\0"),
}  # fmt: skip
OTHERS = {
    401: {
        "extension", "bad extension", "other header", "token", "key", "upgrade of non-ASCII",
        "upgrade with an empty body", "percent", "header of non-ASCII", "length and chunks",
        "expect", "TRACE", "pipelined", "h2c", "h2c, bad settings", "h2c, no settings",
        "h2c with a body",
    },
    403: {"origin"},
    404: {
        "upgrade of the list", "upgrade of the health", "target with no slash", "absolute target",
        "CONNECT", "OPTIONS", "HTTP/3.7", "HTTP/2", "HTTP/2, no pseudo-headers",
        "HTTP/2, CONNECT", "HTTP/2, DATA", "HTTP/2, priorities", "HTTP/2, settings",
        "HTTP/2, window",
    },
}  # fmt: skip
"""Requests that are understood, and refused for what they ask; the others are answered with 400."""
CUT_OFF = {"HTTP/0.9", "half a header", "long header", "HTTP/2, priorities"}
"""Those to which no answer need come: half of one, or so much that the close is a reset."""


@contextmanager
def _living(*options: str) -> Iterator[tuple[str, int, str]]:
    """Run a daemon with a session, which has to be alive at the end; yield its port."""
    with serving(*options, key=KEY) as address, _client(f"http://{address}") as client:
        told = client.post(PATH, json={"command": "sleep", "args": ["600"]}).json()
        yield address, int(address.rpartition(":")[2]), told["session_id"]
        shown: dict[str, Any] = client.get(f"{PATH}/{told['session_id']}").json()
        assert shown["is_alive"]
        assert client.delete(f"{PATH}/{told['session_id']}").status_code == 204


def _client(base: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.Client(
        base_url=base, headers=headers, timeout=TIMEOUT, trust_env=False, verify=False
    )


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Run one daemon for all requests."""
    with _living() as (_, port, _session):
        yield port


@pytest.mark.parametrize("name", REQUESTS)
def test_no_request_ends_the_daemon(port: int, name: str) -> None:
    """Each is answered with the status that is due, in JSON, and the daemon goes on."""
    request_ = REQUESTS[name]
    said = b""
    with (
        suppress(OSError),  # The daemon has closed the connection.
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection,
    ):
        connection.sendall(request_)
        if b"\r\n\r\n" not in request_:
            connection.shutdown(socket.SHUT_WR)  # It would wait for more.
        while b"\r\n\r\n" not in said and (data := connection.recv(1 << 16)):
            said += data
            if said.startswith(b"HTTP/1.1 100"):
                said = b""
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(1 << 16):
            said += data
    due = next((status for status, names in OTHERS.items() if name in names), 400)
    if said or name not in CUT_OFF:
        assert said.startswith(f"HTTP/1.1 {due} ".encode())
        head, _, body = said.partition(b"\r\n\r\n")
        assert b"\r\ncontent-type: application/json" in head.lower()
        assert b'"code":"' in body
    answer = httpx.get(
        f"http://127.0.0.1:{port}/healthz", trust_env=False, verify=False, timeout=TIMEOUT
    )
    assert answer.status_code == 200
