"""The clients that ``ptykill serve`` finds dead: real connections, with short time-outs."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.sync.client import connect

import ptykill
from ptykill.cli.serve.http_server import _WebSocket as _Socket
from ptykill.http import frames, limits
from ptykill.http.input_queue import InputQueue
from tests.daemon import serving_in_a_thread
from tests.waiting import TIMEOUT, wait_until

PATH = "/api/v1/pty"
UPGRADE = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: c2l4dGVlbiBieXRlcyAhIQ==",
]
SLOWLY = 48 << 10
"""Bytes in each fifth of a second. A PING is behind some 900 KiB: four seconds."""
SIOCOUTQNSD = 0x894B
"""Asks how many bytes the kernel has taken, and not sent (linux/sockios.h)."""
TOLD = b"\x88\x08\x03\xf5silent"
"""The server's close, with 1013 and the reason."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Serve as the daemon does, with seconds of silence in place of a minute."""
    monkeypatch.setattr(limits, "PING_SECONDS", 0.05)
    monkeypatch.setattr(limits, "SILENCE_SECONDS", 2.5)
    with ptykill.Host() as host, serving_in_a_thread(host, key=None) as served:
        name, _, port = served.partition(":")
        yield name, int(port)


def start(address: tuple[str, int], program: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Start a shell program; return the URL and the header with which to attach to it."""
    body = {"command": "sh", "args": ["-c", program], "working_dir": str(folder)}
    place = f"{address[0]}:{address[1]}{PATH}"
    told = httpx.post(f"http://{place}", json=body, trust_env=False, verify=False).json()
    return f"{place}/{told['session_id']}/ws", {"X-PTY-Token": told["token"]}


@contextmanager
def deaf(address: tuple[str, int], program: str, folder: Path) -> Iterator[socket.socket]:
    """Attach to a program, by a client that answers no PING and reads nothing by itself."""
    place, headers = start(address, program, folder)
    with socket.create_connection(address, TIMEOUT) as client:
        lines = [f"GET {place[place.index('/') :]} HTTP/1.1", f"Host: {address[0]}", *UPGRADE]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += client.recv(1)
        assert b" 101 " in answer
        client.sendall(b"\x82\x81\0\0\0\0" + frames.READY)
        yield client


def test_a_silent_client_gets_a_close(
    address: tuple[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that answers no PING gets a close with a reason, which is logged."""
    with deaf(address, "sleep 600", tmp_path) as client:
        told = b""
        while more := client.recv(65_536):
            told += more
    assert told.endswith(TOLD)
    wait_until(lambda: "reason='silent'" in caplog.text)
    assert "code=1013" in caplog.text


def test_a_silent_client_is_cut_off_while_its_typing_goes_on(
    address: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may take its time to read what was typed, and needs no connection for that."""
    over = threading.Event()

    async def finish(_: InputQueue) -> None:
        await trio.to_thread.run_sync(over.wait)

    monkeypatch.setattr(InputQueue, "finish", finish)
    with deaf(address, "sleep 600", tmp_path) as client:
        try:
            assert b"".join(iter(lambda: client.recv(65_536), b"")).endswith(TOLD)
        finally:
            over.set()


def test_a_slow_client_is_not_silent(
    address: tuple[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that reads on, but has not reached a PING behind the output, stays attached."""
    place, headers = start(address, "yes", tmp_path)
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    stream.connect(address)
    with connect(
        f"ws://{place}", sock=stream, additional_headers=headers, max_queue=1, close_timeout=0.1
    ) as client:
        client.send(frames.READY)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            taken = 0
            while taken < SLOWLY:  # Messages have less on a busy machine.
                taken += len(client.recv(TIMEOUT))
            time.sleep(0.2)
        assert "client.dropped" not in caplog.text


def test_a_server_that_was_stopped_finds_no_client_silent(
    address: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is stopped, it sends no PING and hears nobody."""
    stops = [0.0] * 5 + [limits.SILENCE_SECONDS + 0.5]
    send_ping = _Socket.send_keepalive_ping

    def send_late(connection: _Socket) -> None:
        if stops:
            time.sleep(stops.pop(0))
        send_ping(connection)

    monkeypatch.setattr(_Socket, "send_keepalive_ping", send_late)
    place, headers = start(address, "read x; echo heard; sleep 600", tmp_path)
    with connect(f"ws://{place}", additional_headers=headers) as client:
        client.send(frames.READY)
        wait_until(lambda: not stops)
        client.send(b"\x00\n")
        told = b""
        while b"heard" not in told:
            told += client.recv(TIMEOUT, decode=False)


def test_a_client_that_is_not_heard_is_not_silent(
    address: tuple[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While the program reads a long paste slowly, nothing is read that the client says."""
    size = 2 << 20
    slow = "stty raw -echo; : > ready; for i in $(seq 1000); do head -c 1024 > x; sleep 0.005; done"
    place, headers = start(address, f"{slow}; head -c {size - 1_024_000} > x; echo done", tmp_path)
    with connect(f"ws://{place}", additional_headers=headers) as client:
        client.send(frames.READY)
        wait_until((tmp_path / "ready").exists)
        began = time.monotonic()
        client.send(frames.input_frame(bytes(size - 1)))
        client.send(frames.input_frame(b"x"))  # It waits, and all that comes after it.
        assert client.recv(TIMEOUT) == b"\0done\n"
        assert time.monotonic() - began > 2 * limits.SILENCE_SECONDS  # As it was to be.
        assert "client.dropped" not in caplog.text


def test_a_client_that_does_not_read_is_sent_no_answer_to_its_pings(
    address: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would wait in memory, and it may send any number of them."""
    protocols: list[WebSocketsSansIOProtocol] = []
    received = 0
    known: Any = WebSocketsSansIOProtocol.data_received

    def data_received(self: WebSocketsSansIOProtocol, data: bytes) -> None:
        nonlocal received
        received += len(data)
        protocols.append(self)
        known(self, data)

    monkeypatch.setattr(WebSocketsSansIOProtocol, "data_received", data_received)
    with deaf(address, "yes", tmp_path) as client:
        transport = protocols[0].transport
        wait_until(lambda: not protocols[0].writable.is_set())
        pings = (b"\x89\xfd" + bytes(4 + 125)) * 20_000
        received = 0
        client.sendall(pings)
        wait_until(lambda: received == len(pings))
        assert transport.get_write_buffer_size() < 1 << 20


@pytest.mark.parametrize("program", ["sleep 600", "yes"])
def test_pings_come_one_at_a_time(
    address: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """However late the last PONG was; no PING is queued behind unread output."""
    sent: list[tuple[float, bool]] = []
    asked: list[float] = []
    known, told = WebSocketsSansIOProtocol.send_keepalive_ping, _Socket.send_keepalive_ping

    def send_keepalive_ping(self: WebSocketsSansIOProtocol) -> None:
        sent.append((self.loop.time(), self.writable.is_set()))
        known(self)

    def ask(self: _Socket) -> None:
        asked.append(self.loop.time())
        self.last_ping_rtt = 10.0
        told(self)

    monkeypatch.setattr(WebSocketsSansIOProtocol, "send_keepalive_ping", send_keepalive_ping)
    monkeypatch.setattr(_Socket, "send_keepalive_ping", ask)
    with deaf(address, program, tmp_path):
        wait_until(lambda: len(asked) > 20)
        asked, sent = asked[:20], sent[:20]
    assert min(after - before for before, after in pairwise(asked)) >= 0.9 * limits.PING_SECONDS
    assert all(writable for _, writable in sent)
    assert (len(sent) == len(asked)) == (program != "yes")


@pytest.mark.skipif(sys.platform != "linux", reason="others have no TCP_NOTSENT_LOWAT")
def test_little_is_before_a_ping(
    address: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes 64 KiB for a client that does not read, where it could take megabytes."""
    protocols: list[WebSocketsSansIOProtocol] = []
    known = WebSocketsSansIOProtocol.connection_made

    def connection_made(self: WebSocketsSansIOProtocol, transport: Any) -> None:  # noqa: ANN401
        protocols.append(self)
        known(self, transport)

    monkeypatch.setattr(WebSocketsSansIOProtocol, "connection_made", connection_made)
    with deaf(address, "yes", tmp_path):
        wait_until(lambda: not protocols[0].writable.is_set())
        stream = protocols[0].transport.get_extra_info("socket")
        (unsent,) = struct.unpack("i", fcntl.ioctl(stream.fileno(), SIOCOUTQNSD, bytes(4)))
        assert unsent < 1 << 18


def test_a_dead_client_is_detached(
    address: tuple[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that reads nothing is detached in time, though the server has unsent data."""
    program = "head -c 20000000 /dev/zero; : > done; sleep 600"
    with deaf(address, program, tmp_path):
        wait_until((tmp_path / "done").exists)
        assert caplog.text.count("reason='silent'") == 1
