"""Attaching over a WebSocket, on real servers: input, output and closes."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets import Close
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from ptykill.testing import processes
from tests.http.conftest import KEY, Server
from tests.waiting import IDLE_LOOP, wait_until

_TIMEOUT = 100.0
"""Time-out on a busy machine for an event that is due at once, in seconds."""
READY = b"\x02"
LARGEST = 32_768
RAW = "stty raw -echo; : > ready"
"""Terminal modes in which every byte of input reaches the program, or waits for it."""
_PLAIN = "stty -opost -echo; : > ready"
"""Terminal modes in which output is as it was written, and input is not echoed."""


class Seat:
    """A client of one server: creates sessions, and attaches to them."""

    def __init__(self, server: Server, client: httpx.Client, folder: Path) -> None:
        self.server = server
        self.client = client
        self.folder = folder

    def create(self, program: str, **more: object) -> tuple[str, str]:
        """Start a shell program; return the session's id and its token."""
        body = {"command": "sh", "args": ["-c", program], "working_dir": str(self.folder), **more}
        created = self.client.post(self.server.url, json=body)
        assert created.status_code == 201, created.text
        return created.json()["session_id"], created.json()["token"]

    def wait_for(self, name: str) -> None:
        """Wait until the program has made a file."""
        wait_until((self.folder / name).exists)

    def show(self, session_id: str) -> dict[str, Any]:
        """Return the record of a session."""
        shown: dict[str, Any] = self.client.get(f"{self.server.url}/{session_id}").json()
        return shown


@pytest.fixture
def seat(talker: Server, tmp_path: Path) -> Iterator[Seat]:
    """Return a client of each kind of server."""
    with talker.client() as client:
        yield Seat(talker, client, tmp_path)


def rest(socket: ClientConnection) -> tuple[bytes, int | None, int, str]:
    """Receive to the end; return the output, the exit code, and how it was closed."""
    output, code = bytearray(), None
    while True:
        try:
            frame = socket.recv(_TIMEOUT)
        except ConnectionClosed as closed:
            how = closed.rcvd or Close(1006, "")
            return bytes(output), code, how.code, how.reason
        assert isinstance(frame, bytes)
        assert len(frame) <= LARGEST
        if frame[0] == 0:
            assert code is None
            output += frame[1:]
        else:
            assert frame[0] == 3
            (code,) = struct.unpack(">i", frame[1:])


def until_seen(socket: ClientConnection, text: bytes) -> bytes:
    """Receive output until some text is in it."""
    output = bytearray()
    while text not in output[-len(text) - LARGEST :]:
        frame = socket.recv(_TIMEOUT)
        assert isinstance(frame, bytes)
        output += frame[1:]
    return bytes(output)


def test_a_conversation(seat: Seat) -> None:
    """Input and sizes reach the program, output comes back, and the exit code comes last."""
    session, token = seat.create("echo hello; read x; echo got $x; stty size; exit 7")
    with seat.server.attached(session, token) as socket:
        socket.send(b"\x01" + struct.pack(">HH", 120, 40))
        socket.send(READY)
        until_seen(socket, b"hello")
        socket.send(b"\x00abc\n")
        output, code, how, why = rest(socket)
    assert output.endswith(b"got abc\r\n40 120\r\n")
    assert (code, how, why) == (7, 1000, "exit:7")
    shown = seat.show(session)
    assert (shown["exit_code"], shown["rows"], shown["cols"]) == (7, 40, 120)


def test_a_resize_by_request(seat: Seat) -> None:
    """The window has the size of the request, clamped."""
    session, token = seat.create("read x; stty size")
    url = f"{seat.server.url}/{session}/resize"
    assert seat.client.post(url, json={"rows": 33, "cols": 99_999}).status_code == 204
    assert seat.client.post(url, json={"rows": "33", "cols": 1}).status_code == 400
    wrong = seat.client.post(url, content=b"{}", headers={"content-type": "text/csv"})
    assert (wrong.status_code, wrong.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        socket.send(b"\x00\n")
        assert b"33 1000" in rest(socket)[0]
    missing = seat.client.post(f"{seat.server.url}/another/resize", json={"rows": 1, "cols": 1})
    assert missing.status_code == 404


def test_nothing_comes_before_ready(seat: Seat) -> None:
    """No output is sent before the client has sent ready."""
    session, token = seat.create(": > written; echo early; sleep 60")
    with seat.server.attached(session, token) as socket:
        while not (seat.folder / "written").exists():
            time.sleep(0.01)
        with pytest.raises(TimeoutError):
            socket.recv(0.3)
        socket.send(READY)
        until_seen(socket, b"early")
        seat.client.delete(f"{seat.server.url}/{session}")


def test_a_kill_reaches_attached_clients(seat: Seat) -> None:
    """A client that is attached when the session is killed gets the exit code and a close."""
    session, token = seat.create("trap '' HUP; echo deaf; sleep 60 & wait; wait")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        until_seen(socket, b"deaf")
        pid = seat.show(session)["pid"]
        with processes.observe_session(pid) as observer:
            assert seat.client.delete(f"{seat.server.url}/{session}?grace=0.2").status_code == 204
            assert observer.survivors() == []
        assert rest(socket)[1:] == (137, 1001, "session terminated")


def test_attaching_after_the_end(seat: Seat) -> None:
    """Each new client gets the last output and the exit code."""
    session, token = seat.create("echo bye; exit 3")
    while seat.show(session)["is_alive"]:
        time.sleep(0.01)
    for _ in range(2):
        with seat.server.attached(session, token) as socket:
            socket.send(b"\x01" + struct.pack(">HH", 120, 40))  # Nothing has this size any more.
            socket.send(READY)
            assert rest(socket) == (b"bye\r\n", 3, 1000, "exit:3")


def test_attaching_again(seat: Seat) -> None:
    """A client that reconnects gets the newest output first; the session has gone on."""
    session, token = seat.create("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two; cat")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        until_seen(socket, b"one")
    (seat.folder / "go").touch()
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        assert until_seen(socket, b"two") == b"one\r\ntwo\r\n"
        socket.send(b"\x00\x04")
        assert rest(socket)[1:] == (0, 1000, "exit:0")


def test_several_at_once(seat: Seat) -> None:
    """All clients get all output; one that disconnects without a close does not affect others."""
    session, token = seat.create("read x; echo hello all; read x; exit 5")
    with (
        seat.server.attached(session, token) as first,
        seat.server.attached(session, token) as second,
        seat.server.attached(session, token) as third,
    ):
        for socket in first, second, third:
            socket.send(READY)
        first.send(b"\x00\n")
        for socket in first, second, third:
            until_seen(socket, b"hello all")
        third.socket.close()
        second.send(b"\x00\n")
        assert rest(first)[1:] == rest(second)[1:] == (5, 1000, "exit:5")


def test_much_output_is_complete_and_in_order(seat: Seat) -> None:
    """Fifty megabytes come complete and in order, at the client's own pace."""
    lines = 50_000_000 // 100
    # It begins when it is told to: what is written before the client is there may be dropped.
    program = f"stty -opost; read go; seq -f %099.0f {lines}"
    session, token = seat.create(program)
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        socket.send(b"\x00\n")
        output, code, _, _ = rest(socket)
    assert code == 0
    output = output.lstrip()  # The echo of what was typed.
    assert len(output) == 100 * lines
    numbers = [int(output[at : at + 99]) for at in range(0, len(output), 100 * 997)]
    assert numbers == list(range(1, lines + 1, 997))


def test_much_input_waits_for_the_program(seat: Seat) -> None:
    """Input of any size reaches the program complete and unchanged."""
    data = os.urandom(1_000_000)
    program = f"stty raw -echo; : > ready; head -c {len(data)} > copy; sleep 0.1; echo done"
    session, token = seat.create(program)
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        while not (seat.folder / "ready").exists():
            time.sleep(0.01)
        socket.send(b"\x00" + data)
        until_seen(socket, b"done")
    assert (seat.folder / "copy").read_bytes() == data


def test_a_program_that_does_not_read_delays_no_kill(
    seat: Seat, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that fills the queue is dropped with a reason; kills are quick meanwhile."""
    session, token = seat.create(f"{RAW}; sleep 60")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        seat.wait_for("ready")
        stuck = threading.Thread(target=_send_much, args=(socket,), daemon=True)
        stuck.start()
        other, _ = seat.create("sleep 60")
        assert seat.client.delete(f"{seat.server.url}/{other}").status_code == 204
        why = "the program does not read what is typed"
        assert rest(socket)[2:] == (1013, why)
        assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204
    stuck.join(_TIMEOUT)
    assert not stuck.is_alive()
    assert_told(caplog, why)


def test_queued_input_delays_no_resize_and_no_close(seat: Seat) -> None:
    """With half a megabyte of unread input before them, both take effect at once."""
    session, token = seat.create(f"{RAW}; sleep 60")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        seat.wait_for("ready")
        socket.send(b"\x00" + b"x" * 500_000)
        socket.send(b"\x01" + struct.pack(">HH", 120, 40))
        wait_until(lambda: seat.show(session)["rows"] == 40)
        assert socket.ping().wait(_TIMEOUT)  # Its PONG.
        began = time.monotonic()
        socket.close()
        assert time.monotonic() - began < 5
    assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204


def test_input_before_a_close_is_written(seat: Seat) -> None:
    """The input of a client that then closes is written, if the program reads it."""
    data = os.urandom(500_000)
    session, token = seat.create(f"{RAW}; head -c {len(data)} > copy; : > done; sleep 60")
    with seat.server.attached(session, token) as socket:
        seat.wait_for("ready")
        socket.send(b"\x00" + data)
    seat.wait_for("done")
    assert (seat.folder / "copy").read_bytes() == data
    assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204


def test_more_input_than_may_wait_is_read_at_the_programs_pace(seat: Seat) -> None:
    """A client that sends five megabytes to a program that reads them is not dropped."""
    data = os.urandom(5_000_000)
    session, token = seat.create(f"{RAW}; head -c {len(data)} > copy; echo done; sleep 60")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        seat.wait_for("ready")
        for start in range(0, len(data), 100_000):
            socket.send(b"\x00" + data[start : start + 100_000])
        until_seen(socket, b"done")
    assert (seat.folder / "copy").read_bytes() == data
    assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204


def test_the_only_client_may_pause(seat: Seat, caplog: pytest.LogCaptureFixture) -> None:
    """It stops the program's writes, and gets all output and the exit code when it reads again."""
    lines = 100_000
    program = f"{_PLAIN}; read x; seq -f %099.0f {lines}; : > done; exit 4"
    session, token = seat.create(program)
    seat.wait_for("ready")
    with _bare(seat.server, session, token, small=True) as client:
        client.sendall(_masked(0x82, READY) + _masked(0x82, b"\x00\n"))
        assert not _appears(seat.folder / "done", 2.5)
        output, code, how = _read_to_the_end(client)
    assert (len(output), code) == (100 * lines, 4)
    assert how == struct.pack(">H", 1000) + b"exit:4"
    assert dropped(caplog) == []


def test_a_slow_client_among_others_is_dropped(
    seat: Seat, caplog: pytest.LogCaptureFixture
) -> None:
    """The fast one waits for a second; the slow one gets the close when it reads."""
    lines = 200_000
    session, token = seat.create(f"{_PLAIN}; read x; seq -f %099.0f {lines}; read x; exit 4")
    seat.wait_for("ready")
    with (
        _bare(seat.server, session, token, small=True) as slow,
        seat.server.attached(session, token) as fast,
    ):
        slow.sendall(_masked(0x82, READY))
        fast.send(READY)
        fast.send(b"\x00\n")
        until_seen(fast, b"%099d" % lines)
        wait_until(lambda: dropped(caplog) != [])
        assert_told(caplog, "too slow")
        output, code, how = _read_to_the_end(slow)
        assert (code, how) == (None, struct.pack(">H", 1013) + b"too slow")
        assert output.startswith(b"%099d" % 1)
        fast.send(b"\x00\n")
        assert rest(fast)[1:] == (4, 1000, "exit:4")
    with seat.server.attached(session, token) as again:
        again.send(READY)
        newest, code, _, _ = rest(again)
    assert code == 4
    assert len(newest) == 1 << 20
    assert b"%099d" % (lines - 1) in newest


def test_a_client_that_is_never_ready_is_dropped(
    seat: Seat, caplog: pytest.LogCaptureFixture
) -> None:
    """It is dropped once it has stopped the program's writes."""
    session, token = seat.create("exec yes")
    with seat.server.attached(session, token) as socket:
        assert rest(socket)[2:] == (1013, "never ready")
    assert_told(caplog, "never ready")
    assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204


def test_a_close_while_a_client_is_sending(seat: Seat) -> None:
    """All its data is received, and the connection is closed once it has answered."""
    session, token = seat.create(f"{RAW}; sleep 60")
    with _bare(seat.server, session, token) as client:
        client.sendall(_masked(0x82, READY))
        seat.wait_for("ready")
        keys = memoryview(_masked(0x82, b"\x00x") * 20_000)
        client.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while keys:
                keys = keys[client.send(keys) :]
        assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204
        client.settimeout(_TIMEOUT)
        client.sendall(keys)
        client.sendall(_masked(0x88, b"\x03\xe9"))
        told = b""
        while more := client.recv(65_536):
            told += more
    goodbye = struct.pack(">H", 1001) + b"session terminated"
    assert told.endswith(b"\x82\x05\x03\0\0\0\x81" + bytes([0x88, len(goodbye)]) + goodbye)


def dropped(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the events of dropped clients."""
    return [each for each in caplog.records if "client.dropped" in each.getMessage()]


def assert_told(caplog: pytest.LogCaptureFixture, why: str) -> None:
    """Check that the log has one event for a dropped client, with the code of its close."""
    (record,) = dropped(caplog)
    assert f"code=1013 reason={why!r}" in record.getMessage()


def _appears(path: Path, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not path.exists():
        time.sleep(0.01)
    return path.exists()


def _read_to_the_end(client: socket.socket) -> tuple[bytes, int | None, bytes]:
    """Read until the server closes; return the output, the exit code, and the close frame."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    client.settimeout(_TIMEOUT)
    output, code = bytearray(), None
    with client.makefile("rb") as stream:
        while True:
            opcode, size = stream.read(2)
            if size > 125:
                size = int.from_bytes(stream.read({126: 2, 127: 8}[size]))
            payload = stream.read(size)
            if opcode & 15 == 8:
                return bytes(output), code, payload
            if opcode & 15 == 2 and payload[0] == 0:
                output += payload[1:]
            elif opcode & 15 == 2:
                (code,) = struct.unpack(">i", payload[1:])


def _bare(server: Server, session: str, token: str, *, small: bool = False) -> socket.socket:
    """Attach without a library, which would not send invalid data, and would read meanwhile."""
    client = socket.socket()
    if small:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.settimeout(_TIMEOUT)
    client.connect(("127.0.0.1", server.port))
    path = httpx.URL(f"{server.url}/{session}/ws").path
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Authorization: Bearer {KEY}\r\nX-PTY-Token: {token}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyAhIQ==\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += client.recv(1)
    assert b" 101 " in answer
    return client


def _masked(opcode: int, data: bytes) -> bytes:
    return bytes([opcode, 0x80 | len(data), 0, 0, 0, 0]) + data


def _send_much(socket: ClientConnection) -> None:
    try:
        for _ in range(200):
            socket.send(b"\x00" + b"x" * 100_000)
    except ConnectionClosed:
        pass


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("text", 1003),
        (b"", 1008),
        (b"\x09unknown", 1008),
        (b"\x03\0\0\0\0", 1008),
        (b"\x01\0", 1008),
        (b"\x02more", 1008),
    ],
)
def test_bad_frames_close_only_their_connection(seat: Seat, frame: bytes | str, code: int) -> None:
    """The client that sends them gets a close; the session and others are not affected."""
    session, token = seat.create("read x; exit 4")
    with seat.server.attached(session, token) as good:
        good.send(READY)
        with seat.server.attached(session, token) as bad:
            bad.send(frame)
            assert rest(bad)[2] == code
        good.send(b"\x00\n")
        assert rest(good)[1] == 4


def test_noise_closes_only_its_connection(seat: Seat, caplog: pytest.LogCaptureFixture) -> None:
    """Random messages, random bytes in place of frames, a frame cut off, and one of 20 MB."""
    noise = random.Random(0)
    session, token = seat.create(f"stty raw -echo; {IDLE_LOOP}")
    other, other_token = seat.create("read line; exit 4")
    with seat.server.attached(other, other_token) as good:
        good.send(READY)
        for _ in range(20):
            with seat.server.attached(session, token) as bad, contextlib.suppress(ConnectionClosed):
                for _ in range(10):
                    bad.send(noise.randbytes(noise.randrange(10)))
        huge = b"\x82\xff" + struct.pack(">Q", 20_000_001) + bytes(4 + 20_000_001)
        for data in (noise.randbytes(100_000), b"\x82\x85\0\0\0\0\x00a", huge):
            with _bare(seat.server, session, token) as bad, contextlib.suppress(OSError):
                bad.sendall(data)
        good.send(b"\x00\n")
        assert rest(good)[1:] == (4, 1000, "exit:4")
    assert seat.show(session)["is_alive"]
    assert seat.client.delete(f"{seat.server.url}/{session}?grace=0").status_code == 204
    assert [each for each in caplog.records if each.name.startswith("ptykill")] == []


def test_a_bad_frame_amid_much_output(seat: Seat, caplog: pytest.LogCaptureFixture) -> None:
    """No frame is sent after the close: the server would raise an error."""
    session, token = seat.create("read line; yes")
    for _ in range(10):
        with seat.server.attached(session, token) as socket:
            socket.send(READY)
            socket.send(b"\x00\n")
            for _ in range(20):
                socket.recv(_TIMEOUT)
            socket.send(b"\x07")
            assert rest(socket)[2:] == (1008, "an unknown opcode")
    assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


def test_a_size_of_nothing_is_ignored(seat: Seat) -> None:
    """A client without a window sends 0 x 0, which is valid; and one of the two may be known."""
    session, token = seat.create("read x; stty size")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        socket.send(b"\x01\0\0\0\0")
        socket.send(b"\x01" + struct.pack(">HH", 0, 40))
        socket.send(b"\x00\n")
        assert b"40 80" in rest(socket)[0]


@pytest.mark.parametrize(
    ("key", "token", "status", "code"),
    [
        ("wrong", "right", 401, "UNAUTHORIZED"),
        (KEY[:-1], "right", 401, "UNAUTHORIZED"),
        ("", "right", 401, "UNAUTHORIZED"),
        (KEY, "wrong", 403, "INVALID_TOKEN"),
        (KEY, "cut", 403, "INVALID_TOKEN"),
        (KEY, "", 403, "INVALID_TOKEN"),
    ],
)
def test_clients_without_the_key_are_refused_before_the_upgrade(
    seat: Seat, key: str, token: str, status: int, code: str
) -> None:
    """A wrong, cut or missing key or token gets an HTTP error, without more information."""
    session, right = seat.create("sleep 60")
    given = {"right": right, "cut": right[:-1]}.get(token, token)
    headers = {"Authorization": f"Bearer {key}", "X-PTY-Token": given}
    with (
        pytest.raises(InvalidStatus) as refused,
        seat.server.attached(session, right, headers=headers),
    ):
        pass
    answer = refused.value.response
    assert answer.status_code == status
    assert code.encode() in (answer.body or b"")
    with (
        pytest.raises(InvalidStatus) as refused,
        seat.server.attached("another", right),
    ):
        pass
    assert refused.value.response.status_code == 404
