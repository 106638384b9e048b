"""Clients that give an offset: they go on there, and are told of gaps; others notice nothing."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from ptykill.engine.output import Piece
from ptykill.http import frames
from ptykill.http.output_encoder import OutputEncoder
from tests.http.conftest import Server
from tests.http.test_websocket import READY, Seat
from tests.waiting import TIMEOUT

LINES = 60_000
COUNTS = f"i=0; while [ $i -lt {LINES} ]; do i=$((i + 1)); echo line $i; done; read x"
EXPECTED = b"".join(b"line %d\r\n" % number for number in range(1, LINES + 1))
"""About 700 KB: less than what a session keeps."""


@pytest.fixture
def seat(talker: Server, tmp_path: Path) -> Iterator[Seat]:
    """Return a client of each kind of server."""
    with talker.client() as client:
        yield Seat(talker, client, tmp_path)


class Counting:
    """A client that counts as the documentation says."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self.output = bytearray()
        self.gaps: list[tuple[int, int]] = []

    def take(self, frame: bytes) -> None:
        """Take one frame."""
        if frame[0] == 0:
            assert self.gaps, "the offset comes first"
            self.output += frame[1:]
            self.offset += len(frame) - 1
        elif frame[0] == 4:
            self.offset, missing = struct.unpack(">QQ", frame[1:])
            self.gaps.append((self.offset, missing))

    def receive(self, socket: ClientConnection, most: int) -> None:
        """Receive some frames, fewer if the connection is closed."""
        for _ in range(most):
            frame = socket.recv(TIMEOUT)
            assert isinstance(frame, bytes)
            self.take(frame)


def test_a_client_that_is_cut_off_goes_on(seat: Seat) -> None:
    """It receives every byte once, over many connections that are cut without a close."""
    session, token = seat.create(COUNTS)
    client = Counting()
    connections = 0
    while len(client.output) < len(EXPECTED):
        most = min(len(EXPECTED), len(client.output) + (1 + connections % 5) * 30_000)
        with seat.server.attached(session, token, query=f"?from={client.offset}") as socket:
            socket.send(READY)
            while len(client.output) < most:
                client.receive(socket, 1)
            socket.socket.close()
        connections += 1
    assert bytes(client.output) == EXPECTED
    assert connections > 3
    assert {missing for _, missing in client.gaps} == {0}


def test_going_on_after_the_end(seat: Seat) -> None:
    """The record of an ended session gives its output from the offset on, and the exit code."""
    session, token = seat.create("echo 0123456789; exit 3")
    while seat.show(session)["is_alive"]:
        time.sleep(0.01)
    for offset, output in (0, b"0123456789\r\n"), (4, b"456789\r\n"), (12, b""):
        client = Counting()
        with seat.server.attached(session, token, query=f"?from={offset}") as socket:
            socket.send(READY)
            with pytest.raises(ConnectionClosed):
                client.receive(socket, 10)
        assert (client.gaps, bytes(client.output)) == ([(offset, 0)], output)


def test_a_gap_is_told(seat: Seat) -> None:
    """Beyond what is kept, the client is told where it goes on, and how much is missing."""
    session, token = seat.create("head -c 3000000 /dev/zero; echo end; : > done; read x")
    seat.wait_for("done")
    client = Counting()
    with seat.server.attached(session, token, query="?from=1000") as socket:
        socket.send(READY)
        while not client.output.endswith(b"end\r\n"):
            client.receive(socket, 1)
    assert client.offset == 3_000_005
    start = client.offset - len(client.output)
    assert client.gaps == [(start, start - 1000)]
    assert (1 << 20) - 5 <= len(client.output) <= 1 << 20


def test_a_client_without_an_offset_gets_only_the_public_frames(seat: Seat) -> None:
    """It gets output and the exit code, whatever is missing."""
    session, token = seat.create("head -c 3000000 /dev/zero; : > done; read x")
    seat.wait_for("done")
    opcodes = set()
    with seat.server.attached(session, token) as socket:
        socket.send(READY)
        socket.send(b"\x00\n")
        with suppress(ConnectionClosed):
            while True:
                opcodes.add(bytes(socket.recv(TIMEOUT))[0])  # type: ignore[arg-type]
    assert opcodes == {0, 3}


@pytest.mark.parametrize(
    "query",
    [
        "from=-1",
        "from=",
        "from=1.0",
        "from=abc",
        "from=0x1",
        "from=1&from=1",
        "from=100",
        "from=%31%20",
    ]
    + [f"from={'9' * length}" for length in (19, 20, 5000)],
)
def test_a_wrong_offset_is_refused_before_the_upgrade(seat: Seat, query: str) -> None:
    """It is a 400 with a code; nothing is attached, and the session goes on."""
    session, token = seat.create("read x; echo got $x")
    with (
        pytest.raises(InvalidStatus) as refused,
        seat.server.attached(session, token, query=f"?{query}"),
    ):
        pass
    answer = refused.value.response
    assert (answer.status_code, b"INVALID_OFFSET" in answer.body) == (400, True)
    assert seat.show(session)["is_alive"]


def test_the_encoder_tells_each_gap_before_the_output_behind_it() -> None:
    """The client that counts knows the offset after each frame; others get output alone."""
    pieces = [Piece(b"abc", 10), Piece(b"def", 13), Piece(b"xyz", 20)]
    encoder = OutputEncoder(4)
    sent = [*encoder.begin(10)]
    for piece in pieces:
        sent += encoder.encode(piece)
    assert [frames.read_from_server(frame) for frame in sent] == [
        frames.Gap(10, 6),
        frames.Output(b"abc"),
        frames.Output(b"def"),
        frames.Gap(20, 4),
        frames.Output(b"xyz"),
    ]
    plain = OutputEncoder(None)
    assert [*plain.begin(10)] == []
    assert [frame for piece in pieces for frame in plain.encode(piece)] == [
        b"\x00abc",
        b"\x00def",
        b"\x00xyz",
    ]
