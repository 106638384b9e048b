"""A connection that is lost: ``ptykill attach`` notices, says so, and comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, TypeAlias, cast

import pytest
import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    serve_websocket,
)

from ptykill.cli.client import websocket
from ptykill.cli.client.daemon_client import DaemonClient
from ptykill.cli.client.input_queue import InputQueue
from tests.client.conftest import KEY, serving
from tests.client.proxy import Proxy
from tests.client.seat import PATIENCE, Here, Seat

Sit: TypeAlias = Callable[..., Seat]

STAYS = "echo ready; while read line; do echo heard $line; done"
LOST = "is lost; connecting again (Ctrl-C gives up)\r\n"
BACK = "ptykill: connected again\r\n"


@pytest.fixture
def proxy(here: Here) -> Iterator[Proxy]:
    """Return a proxy before the daemon."""
    passing = Proxy(port_of(here))
    yield passing
    passing.close()


def port_of(here: Here) -> int:
    """Return a daemon's port."""
    return int(here.env["PTYKILL_URL"].split(":")[2].partition("/")[0])


def through(proxy: Proxy) -> Here:
    """Return a client that goes through a proxy."""
    return Here(f"http://127.0.0.1:{proxy.port}", KEY)


def setting(**numbers: float) -> str:
    """Return code that has a client wait for other times than a person's."""
    where = {"SILENCE_TIMEOUT": "websocket", "NO_LISTENER_TIMEOUT": "attach"}
    return "".join(
        f"import ptykill.cli.client.{where[name]} as m; m.{name} = {number};"
        for name, number in numbers.items()
    )


def test_a_connection_that_stalls(here: Here, proxy: Proxy, sit: Sit) -> None:
    """Silence is noticed and told, and with the same token the session goes on, as does typing."""
    session_id = here.new(STAYS)
    seat = sit("attach", session_id, here=through(proxy), first=setting(SILENCE_TIMEOUT=3))
    seat.read_until("ready\r\n")
    proxy.open.clear()
    seat.read_until(LOST)
    seat.type("nobody hears this\r")
    proxy.cut()
    proxy.open.set()
    seat.read_until(BACK)
    seat.type("two\r")
    assert "nobody" not in seat.read_until("heard two\r\n")
    seat.type("\x1d")
    assert seat.wait() == 0
    assert seat.restored


async def test_a_silent_session_is_not_a_lost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends no PING has to answer ours."""
    monkeypatch.setattr(websocket, "SILENCE_TIMEOUT", 1.5)
    heard: list[str | bytes] = []

    async def serve(request: WebSocketRequest) -> None:
        connection = await request.accept()
        await trio.sleep(2 * websocket.SILENCE_TIMEOUT)
        await connection.send_message("done")
        with suppress(ConnectionClosed):
            await connection.get_message()

    async def talk(connection: WebSocketConnection) -> None:
        heard.append(await connection.get_message())

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, serve, "127.0.0.1", 0, None)
        async with DaemonClient(f"http://127.0.0.1:{server.port}", "key") as daemon:
            with trio.fail_after(PATIENCE):
                await websocket.run_websocket(daemon, "/", [], talk)
        nursery.cancel_scope.cancel()
    assert heard == ["done"]


def test_a_session_that_ends_meanwhile(here: Here, proxy: Proxy, sit: Sit) -> None:
    """Its exit status is told all the same, once there is a connection again."""
    session_id = here.new(STAYS)
    seat = sit(
        "attach", session_id, here=through(proxy), first=setting(NO_LISTENER_TIMEOUT=PATIENCE)
    )
    seat.read_until("ready\r\n")
    proxy.refuse()
    seat.read_until(LOST)
    assert here.ask("kill", session_id).returncode == 0
    proxy.accept_again()
    assert seat.wait() == 129
    assert "ptykill: the session was ended\r\n" in seat.seen
    assert seat.restored


def test_a_session_that_nobody_knows_any_more(here: Here, proxy: Proxy, sit: Sit) -> None:
    """Another daemon answers there: the session is over, and how it ended can't be known."""
    session_id = here.new(STAYS)
    seat = sit("attach", session_id, here=through(proxy))
    seat.read_until("ready\r\n")
    with serving("--port", "0") as other:
        line = cast(IO[str], other.stdout).readline()
        proxy.target = int(line.split(":")[2].partition("/")[0])
        proxy.cut()
        assert seat.wait() == 255
    assert "ptykill: the session is over; its exit status can't be known\r\n" in seat.seen
    assert seat.restored


@pytest.mark.parametrize("key", ["\x03", "\x1d"])
def test_giving_up(here: Here, proxy: Proxy, sit: Sit, key: str) -> None:
    """Ctrl-C, or the key that detaches, ends the waiting; the session goes on."""
    session_id = here.new(STAYS)
    seat = sit(
        "attach", session_id, here=through(proxy), first=setting(NO_LISTENER_TIMEOUT=PATIENCE)
    )
    seat.read_until("ready\r\n")
    proxy.refuse()
    seat.read_until(LOST)
    seat.type(key)
    assert seat.wait() == 0
    assert f"ptykill: detached; to come back: ptykill attach {session_id}" in seat.seen
    assert seat.restored
    assert here.get(session_id)["is_alive"]


def test_input_that_may_be_lost_is_told(here: Here, proxy: Proxy) -> None:
    """What comes from a pipe has no gaps: if it is cut in the midst of it, that is an error."""
    session_id = here.new(STAYS)
    process = subprocess.Popen(
        [sys.executable, "-m", "ptykill", "attach", session_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | through(proxy).env,
    )
    while "ready" not in cast(IO[str], process.stdout).readline():
        assert process.poll() is None
    proxy.cut()
    assert process.wait(PATIENCE) == 1
    _, told = process.communicate()
    assert told == "ptykill: the connection was lost, and some of the input with it, perhaps\n"


async def test_what_is_typed_waits_for_a_connection() -> None:
    """What one connection did not take is there for the next; too much has to wait."""
    typed = InputQueue()
    await typed.put(b"one")
    assert await anext(aiter(typed)) == b"one"  # And the connection breaks.
    again = aiter(typed)
    assert await anext(again) == b"one"
    await typed.put(b"two")
    assert await anext(again) == b"two"
    typed.end()
    assert not typed.all_sent
    async with trio.open_nursery() as nursery:
        nursery.start_soon(anext, again)
        with trio.fail_after(PATIENCE):
            await typed.wait_sent()
        assert typed.all_sent
        nursery.cancel_scope.cancel()
    with trio.move_on_after(0.1) as waiting:
        await typed.put(bytes(2 << 20))
    assert waiting.cancelled_caught
