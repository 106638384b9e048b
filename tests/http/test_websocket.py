"""Attaching over a WebSocket, on real servers: what is typed, written and told."""

from __future__ import annotations

import contextlib
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

from ptykill.testing import process_table as processes
from tests.http.conftest import KEY, Server

_PATIENCE = 20.0
"""Seconds that a busy machine may take for what is due at once."""
READY = b"\x02"
LARGEST = 32_768


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

    def show(self, session_id: str) -> dict[str, Any]:
        """Return what is told of a session."""
        shown: dict[str, Any] = self.client.get(f"{self.server.url}/{session_id}").json()
        return shown


@pytest.fixture
def seat(talker: Server, tmp_path: Path) -> Iterator[Seat]:
    """Return a seat at each kind of server."""
    with talker.client() as client:
        yield Seat(talker, client, tmp_path)


def rest(socket: ClientConnection) -> tuple[bytes, int | None, int, str]:
    """Receive to the end; return the output, the exit code, and how it was closed."""
    output, code = bytearray(), None
    while True:
        try:
            frame = socket.recv(_PATIENCE)
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
    output = b""
    while text not in output:
        frame = socket.recv(_PATIENCE)
        assert isinstance(frame, bytes)
        output += frame[1:]
    return output


def test_a_conversation(seat: Seat) -> None:
    """Input goes in, output comes out, the size follows; the exit code is told last."""
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
    """The window has the size that was asked for, clamped."""
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
    """Output is held back until the client says that it takes it."""
    session, token = seat.create(": > written; echo early; sleep 60")
    with seat.server.attached(session, token) as socket:
        while not (seat.folder / "written").exists():
            time.sleep(0.01)
        with pytest.raises(TimeoutError):
            socket.recv(0.3)
        socket.send(READY)
        until_seen(socket, b"early")
        seat.client.delete(f"{seat.server.url}/{session}")


def test_a_kill_is_told(seat: Seat) -> None:
    """Who is attached when the session is killed is told the exit code, and that it was ended."""
    session, token = seat.create("trap '' HUP; echo deaf; sleep 60 & wait; wait")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        until_seen(socket, b"deaf")
        pid = seat.show(session)["pid"]
        with processes.Census(pid) as census:
            assert seat.client.delete(f"{seat.server.url}/{session}?grace=0.2").status_code == 204
            assert census.living() == []
        assert rest(socket)[1:] == (137, 1001, "session terminated")


def test_attaching_after_the_end(seat: Seat) -> None:
    """What was written is kept for the first who comes; the exit code is told to all."""
    session, token = seat.create("echo bye; exit 3")
    while seat.show(session)["is_alive"]:
        time.sleep(0.01)
    for output in b"bye\r\n", b"":
        with seat.server.attached(session, token) as socket:
            socket.send(READY)
            assert rest(socket) == (output, 3, 1000, "exit:3")


def test_attaching_again(seat: Seat) -> None:
    """Who comes back gets what was written meanwhile; the session goes on all along."""
    session, token = seat.create("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two; cat")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        until_seen(socket, b"one")
    (seat.folder / "go").touch()
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        assert b"two" in until_seen(socket, b"two")
        socket.send(b"\x00\x04")
        assert rest(socket)[1:] == (0, 1000, "exit:0")


def test_several_at_once(seat: Seat) -> None:
    """All who are attached get all of it; one that leaves without a goodbye disturbs nobody."""
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
    """Fifty megabytes come as they were written, at the client's own pace."""
    lines = 50_000_000 // 100
    program = f"stty -opost; seq -f %099.0f {lines}"
    session, token = seat.create(program)
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        output, code, _, _ = rest(socket)
    assert code == 0
    assert len(output) == 100 * lines
    numbers = [int(output[at : at + 99]) for at in range(0, len(output), 100 * 997)]
    assert numbers == list(range(1, lines + 1, 997))


def test_much_input_waits_for_the_program(seat: Seat) -> None:
    """Input of any size gets there in one piece, and every byte as it is."""
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


def test_a_program_that_does_not_read_holds_up_its_client_alone(seat: Seat) -> None:
    """The kill of a session whose input is stuck is as quick as any; so is another session."""
    session, token = seat.create("stty raw -echo; : > ready; sleep 60")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        while not (seat.folder / "ready").exists():
            time.sleep(0.01)
        stuck = threading.Thread(target=_send_much, args=(socket,), daemon=True)
        stuck.start()
        time.sleep(0.2)
        other, _ = seat.create("sleep 60")
        assert seat.client.delete(f"{seat.server.url}/{other}").status_code == 204
        assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204
        assert rest(socket)[1:] == (129, 1001, "session terminated")
    stuck.join(_PATIENCE)
    assert not stuck.is_alive()


def test_a_client_that_is_told_goodbye_while_much_is_on_its_way(seat: Seat) -> None:
    """All of it is taken, and the connection is closed once the client has answered."""
    session, token = seat.create("stty raw -echo; : > ready; sleep 60")
    with _bare(seat.server, session, token) as client:
        client.sendall(_masked(0x82, READY))
        while not (seat.folder / "ready").exists():
            time.sleep(0.01)
        keys = memoryview(_masked(0x82, b"\x00x") * 100_000)
        client.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while keys:
                keys = keys[client.send(keys) :]
        assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204
        client.settimeout(_PATIENCE)
        client.sendall(keys)
        client.sendall(_masked(0x88, b"\x03\xe9"))
        told = b""
        while more := client.recv(65_536):
            told += more
    goodbye = struct.pack(">H", 1001) + b"session terminated"
    assert told.endswith(b"\x82\x05\x03\0\0\0\x81" + bytes([0x88, len(goodbye)]) + goodbye)


def _bare(server: Server, session: str, token: str) -> socket.socket:
    """Attach without a library, which would not send what can't be sent, or read meanwhile."""
    client = socket.create_connection(("127.0.0.1", server.port), _PATIENCE)
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
def test_bad_frames_harm_their_sender_alone(seat: Seat, frame: bytes | str, code: int) -> None:
    """Who can't be understood is turned away; the session, and others, do not notice."""
    session, token = seat.create("read x; exit 4")
    with seat.server.attached(session, token) as good:
        good.send(READY)
        with seat.server.attached(session, token) as bad:
            bad.send(frame)
            assert rest(bad)[2] == code
        good.send(b"\x00\n")
        assert rest(good)[1] == 4


def test_noise_harms_its_sender_alone(seat: Seat, caplog: pytest.LogCaptureFixture) -> None:
    """Random messages, random bytes in place of frames, a frame cut off, and one of 20 MB."""
    noise = random.Random(0)
    session, token = seat.create("stty raw -echo; while :; do sleep 1; done")
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
    """Nothing is sent any more once the close has been: the server would take that for a crash."""
    session, token = seat.create("read line; yes")
    for _ in range(10):
        with seat.server.attached(session, token) as socket:
            socket.send(READY)
            socket.send(b"\x00\n")
            for _ in range(20):
                socket.recv(_PATIENCE)
            socket.send(b"\x07")
            assert rest(socket)[2:] == (1008, "an unknown opcode")
    assert seat.client.delete(f"{seat.server.url}/{session}").status_code == 204
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


def test_a_size_of_nothing_is_clamped(seat: Seat) -> None:
    """A client without a window says 0 x 0, and is not in the wrong."""
    session, token = seat.create("read x; stty size")
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        socket.send(b"\x01\0\0\0\0")
        socket.send(b"\x00\n")
        assert b"1 1" in rest(socket)[0]


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
def test_strangers_are_turned_away_before_the_upgrade(
    seat: Seat, key: str, token: str, status: int, code: str
) -> None:
    """A wrong, cut or missing key or token is an HTTP answer, and nothing is learned."""
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
