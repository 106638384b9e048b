"""Several clients of a daemon, each with a window of its own: which size the program sees."""

from __future__ import annotations

import contextlib
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import ClientConnection

from tests.daemon import serving
from tests.http.conftest import KEY, Server
from tests.waiting import wait_until

READY = b"\x02"
WATCHES = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
with open("sizes", "w", buffering=1) as sizes:
    while signal.sigtimedwait({signal.SIGWINCH}, 100):
        print(*reversed(os.get_terminal_size()), file=sizes)
"""


class Room:
    """A daemon, and one session in it that notes each SIGWINCH."""

    def __init__(self, server: Server, client: httpx.Client, folder: Path) -> None:
        self.server = server
        self.client = client
        self.folder = folder
        body = {"command": sys.executable, "args": ["-c", WATCHES], "working_dir": str(folder)}
        created = client.post(server.url, json=body).json()
        self.session_id, self.token = created["session_id"], created["token"]
        wait_until((folder / "sizes").exists)

    def attached(self) -> contextlib.AbstractContextManager[ClientConnection]:
        """Attach a client."""
        return self.server.attached(self.session_id, self.token)

    def resize(self, rows: int, cols: int) -> int:
        """Set the size by a request, and return the answer's status."""
        url = f"{self.server.url}/{self.session_id}/resize"
        return self.client.post(url, json={"rows": rows, "cols": cols}).status_code

    @property
    def size(self) -> tuple[int, int]:
        """The size by the session's record."""
        shown = self.client.get(f"{self.server.url}/{self.session_id}").json()
        return shown["rows"], shown["cols"]

    @property
    def seen(self) -> list[str]:
        """The sizes that the program has seen, one for each SIGWINCH."""
        return (self.folder / "sizes").read_text().splitlines()

    def becomes(self, rows: int, cols: int) -> None:
        """Wait until the record has a size, and the program has seen it."""
        wait_until(lambda: self.size == (rows, cols))
        wait_until(lambda: self.seen[-1:] == [f"{rows} {cols}"])


@pytest.fixture(params=["latest"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    """Run a daemon with a policy."""
    with serving("--window-size", request.param, key=KEY) as address:
        server = Server(int(address.rpartition(":")[2]))
        with server.client() as client:
            yield Room(server, client, tmp_path)


def size(rows: int, cols: int) -> bytes:
    """Return the frame by which a client tells its size."""
    return b"\x01" + struct.pack(">HH", cols, rows)


def test_the_client_that_acts_last_decides(room: Room) -> None:
    """By a new size, or by typing; and what its terminal answers by itself is not typed."""
    with room.attached() as wide:
        wide.send(size(50, 200))
        room.becomes(50, 200)
        with room.attached() as phone:
            phone.send(size(20, 40))
            room.becomes(20, 40)
            wide.send(b"\x00\x1b[?62;22c")
            wide.send(size(50, 200))  # Its own has not changed.
            wide.ping().wait(10)
            assert room.size == (20, 40)
            wide.send(b"\x00l")
            room.becomes(50, 200)
            phone.send(b"\x00s")
            room.becomes(20, 40)
        room.becomes(50, 200)
    assert room.size == (50, 200)
    assert room.seen == ["50 200", "20 40", "50 200", "20 40", "50 200"]


@pytest.mark.parametrize("room", ["smallest"], indirect=True)
def test_the_smallest_client_decides(room: Room) -> None:
    """In each dimension; and one that is cut off gives its size back."""
    with room.attached() as wide, room.attached() as high:
        wide.send(size(20, 200))
        room.becomes(20, 200)
        high.send(size(50, 40))
        room.becomes(20, 40)
        wide.send(b"\x00x")
        high.socket.close()
        room.becomes(20, 200)
        assert room.resize(30, 90) == 204
        room.becomes(30, 90)
        wide.send(size(25, 200))
        room.becomes(25, 200)
    assert room.size == (25, 200)


def test_a_client_that_sends_a_size_and_nothing_else(room: Room) -> None:
    """It is never ready, and gets no output; its size counts while it is there."""
    with room.attached() as typing:
        typing.send(READY)
        typing.send(size(50, 200))
        room.becomes(50, 200)
        with room.attached() as mute:
            mute.send(size(10, 20))
            room.becomes(10, 20)
            with pytest.raises(TimeoutError):
                mute.recv(0.2)
        room.becomes(50, 200)


def test_a_request_sets_the_size_at_once(room: Room) -> None:
    """It holds until a client types; a dimension of zero stays, others are clamped."""
    with room.attached() as client:
        client.send(size(50, 200))
        room.becomes(50, 200)
        assert room.resize(30, 0) == 204
        assert room.size == (30, 200)
        assert room.resize(0, 99_999) == 204
        assert room.size == (30, 1000)
        assert room.resize(0, 0) == 204
        room.becomes(30, 1000)
        client.send(size(0, 0))
        client.send(size(50, 0))
        client.send(b"\x00x")
        room.becomes(50, 200)
        client.send(size(60_000, 60_000))
        room.becomes(500, 1000)


def test_a_storm_of_sizes_is_thinned(room: Room) -> None:
    """The program sees four at once, twenty in a second, and the last; the same again is none."""
    with room.attached() as client:
        began = time.monotonic()
        for rows in range(1, 401):
            client.send(size(rows, 100))
        room.becomes(400, 100)
        seen = room.seen
        assert len(seen) <= 5 + (time.monotonic() - began) / 0.05
        for _ in range(400):
            client.send(size(400, 100))
        client.ping().wait(10)
        time.sleep(0.2)
        assert room.seen == seen
