"""A lost connection: ``ptykill attach`` notices it, says so, and connects again."""

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
from tests.client.terminals import TIMEOUT, Cli, Terminal

Start: TypeAlias = Callable[..., Terminal]

STAYS = "echo ready; while read line; do echo heard $line; done"
LOST = "is lost; connecting again (Ctrl-C gives up)\r\n"
BACK = "ptykill: connected again\r\n"


@pytest.fixture
def proxy(cli: Cli) -> Iterator[Proxy]:
    """Return a proxy before the daemon."""
    passing = Proxy(port_of(cli))
    yield passing
    passing.close()


def port_of(cli: Cli) -> int:
    """Return a daemon's port."""
    return int(cli.env["PTYKILL_URL"].split(":")[2].partition("/")[0])


def through(proxy: Proxy) -> Cli:
    """Return a client that goes through a proxy."""
    return Cli(f"http://127.0.0.1:{proxy.port}", KEY)


def setting(**numbers: float) -> str:
    """Return code that sets a client's time-outs."""
    where = {"SILENCE_TIMEOUT": "websocket", "NO_LISTENER_TIMEOUT": "reconnecting"}
    return "".join(
        f"import ptykill.cli.client.{where[name]} as m; m.{name} = {number};"
        for name, number in numbers.items()
    )


def test_a_connection_that_stalls(cli: Cli, proxy: Proxy, start: Start) -> None:
    """`attach` reports the silence and connects again with the same token; typing goes on too."""
    session_id = cli.new(STAYS)
    terminal = start("attach", session_id, cli=through(proxy), first=setting(SILENCE_TIMEOUT=3))
    terminal.read_until("ready\r\n")
    proxy.open.clear()
    terminal.read_until(LOST)
    terminal.type("nobody hears this\r")
    proxy.cut()
    proxy.open.set()
    terminal.read_until(BACK)
    terminal.type("two\r")
    assert "nobody" not in terminal.read_until("heard two\r\n")
    terminal.type("\x1d")
    assert terminal.wait() == 0
    assert terminal.restored


def test_output_has_no_gap_and_no_repeat(cli: Cli, proxy: Proxy, start: Start) -> None:
    """Over connections that are lost, each byte of the session's output is written once."""
    session_id = cli.new("echo ready; while read line; do echo heard $line; done")
    terminal = start("attach", session_id, cli=through(proxy))
    seen = terminal.read_until("ready\r\n")
    for number in range(3):
        proxy.cut()
        seen += terminal.read_until(BACK)
        terminal.type(f"{number}\r")
        seen += terminal.read_until(f"heard {number}\r\n")
    assert [seen.count(each) for each in ("ready", "heard 0", "heard 2")] == [1, 1, 1]
    assert "missing" not in seen


async def test_a_silent_session_is_not_a_lost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends no PING has to answer the client's, and is then not lost."""
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
            with trio.fail_after(TIMEOUT):
                await websocket.run_websocket(daemon, "/", [], talk)
        nursery.cancel_scope.cancel()
    assert heard == ["done"]


def test_a_session_that_ends_meanwhile(cli: Cli, proxy: Proxy, start: Start) -> None:
    """Its exit status is reported after the reconnect."""
    session_id = cli.new(STAYS)
    terminal = start(
        "attach", session_id, cli=through(proxy), first=setting(NO_LISTENER_TIMEOUT=TIMEOUT)
    )
    terminal.read_until("ready\r\n")
    proxy.refuse()
    terminal.read_until(LOST)
    assert cli.ask("kill", session_id).returncode == 0
    proxy.accept_again()
    assert terminal.wait() == 129
    assert "ptykill: the session was ended\r\n" in terminal.seen
    assert terminal.restored


def test_a_session_that_nobody_knows_any_more(cli: Cli, proxy: Proxy, start: Start) -> None:
    """If another daemon answers, the session is over and its exit status can't be known."""
    session_id = cli.new(STAYS)
    terminal = start("attach", session_id, cli=through(proxy))
    terminal.read_until("ready\r\n")
    with serving("--port", "0") as other:
        line = cast(IO[str], other.stdout).readline()
        proxy.target = int(line.split(":")[2].partition("/")[0])
        proxy.cut()
        assert terminal.wait() == 255
    assert "ptykill: the session is over; its exit status can't be known\r\n" in terminal.seen
    assert terminal.restored


@pytest.mark.parametrize("key", ["\x03", "\x1d"])
def test_giving_up(cli: Cli, proxy: Proxy, start: Start, key: str) -> None:
    """Ctrl-C or the detach key ends the wait for a connection; the session goes on."""
    session_id = cli.new(STAYS)
    terminal = start(
        "attach", session_id, cli=through(proxy), first=setting(NO_LISTENER_TIMEOUT=TIMEOUT)
    )
    terminal.read_until("ready\r\n")
    proxy.refuse()
    terminal.read_until(LOST)
    terminal.type(key)
    assert terminal.wait() == 0
    assert f"ptykill: detached; to come back: ptykill attach {session_id}" in terminal.seen
    assert terminal.restored
    assert cli.get(session_id)["is_alive"]


def test_input_that_may_be_lost_is_told(cli: Cli, proxy: Proxy) -> None:
    """If the connection is lost in the middle of piped input, that is an error."""
    session_id = cli.new(STAYS)
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
    assert process.wait(TIMEOUT) == 1
    _, told = process.communicate()
    assert told == "ptykill: the connection was lost, and some of the input with it, perhaps\n"


async def test_what_is_typed_waits_for_a_connection() -> None:
    """Input that one connection did not accept goes to the next; too much input has to wait."""
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
        with trio.fail_after(TIMEOUT):
            await typed.wait_sent()
        assert typed.all_sent
        nursery.cancel_scope.cancel()
    with trio.move_on_after(0.1) as waiting:
        await typed.put(bytes(2 << 20))
    assert waiting.cancelled_caught
