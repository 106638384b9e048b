"""The ASGI app, called without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

import ptykill
from ptykill import Supervisor
from ptykill.http.asgi_types import Message
from ptykill.http.mount import AsgiApp
from ptykill.testing import FakeTier, Member

PREFIX = "/api/v1/pty"


@pytest.fixture
async def stubborn(autojump_clock: MockClock) -> AsyncIterator[Supervisor]:
    """Open a supervisor, on a virtual clock, of sessions whose signals the kernel refuses."""
    tier = FakeTier(leader=Member(refuses=True, lives=100.0))
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        yield supervisor


@pytest.fixture
async def mortal(autojump_clock: MockClock) -> AsyncIterator[Supervisor]:
    """Open a supervisor, on a virtual clock, of sessions that die of SIGHUP after a second."""
    tier = FakeTier(leader=Member(dies_of={"HUP": 1.0}))
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        yield supervisor


class Client:
    """The server's side of an app; ``sent`` has the messages of the app."""

    def __init__(self, app: AsgiApp, *messages: dict[str, Any]) -> None:
        self.app = app
        self.messages = list(messages)
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        """Return the next message for the app."""
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        """Record a message of the app."""
        self.sent.append(message)

    async def run(self, kind: str, **scope: object) -> list[Any]:
        """Run the app once, and return what it sent."""
        await self.app({"type": kind, "path": PREFIX, **scope}, self.receive, self.send)
        return self.sent


async def ask(app: AsgiApp, method: str, path: str = PREFIX, **scope: object) -> tuple[int, Any]:
    """Send a request, and return the status and the body of the answer."""
    client = Client(app, {"type": "http.request", "body": b"", "more_body": False})
    start, body = await client.run("http", method=method, path=path, headers=[], **scope)
    return start["status"], json.loads(body["body"] or b"null")


async def test_survivors_are_never_a_204(autojump_clock: MockClock, stubborn: Supervisor) -> None:
    """A session that the kernel does not let us kill is a 500 that names the survivors' pids."""
    session = await stubborn.spawn(["bash"])
    app = ptykill.asgi_app(stubborn, key=None)
    status, told = await ask(app, "DELETE", f"{PREFIX}/{session.id}")
    assert (status, told["code"]) == (500, "KILL_NOT_PERMITTED")
    assert str(session.pid) in told["error"]
    assert (await ask(app, "GET", f"{PREFIX}/{session.id}"))[1]["is_alive"] is True


async def test_an_out_of_memory_kill_is_reported(autojump_clock: MockClock) -> None:
    """``oom_killed`` is there if, and only if, the out-of-memory killer has killed a member."""
    for killed in (False, True):
        status = ptykill.ExitStatus(signal=9, oom_killed=killed)
        tier = FakeTier(leader=Member(lives=0.1, status=status))
        async with ptykill.open_supervisor(containment=tier) as supervisor:
            session = await supervisor.spawn(["bash"])
            await session.wait()
            app = ptykill.asgi_app(supervisor, key=None)
            told = (await ask(app, "GET", f"{PREFIX}/{session.id}"))[1]
            assert (told["exit_code"], told.get("oom_killed")) == (137, killed or None)


async def test_a_list_comes_in_pages(autojump_clock: MockClock, mortal: Supervisor) -> None:
    """Each session is listed once, in order, also if some end and are dropped meanwhile."""
    app = ptykill.asgi_app(mortal, key=None)
    sessions = [await mortal.spawn([str(number)]) for number in range(5)]
    told, query = [], b"limit=2"
    while True:
        status, page = await ask(app, "GET", query_string=query)
        assert (status, len(page["sessions"]) <= 2) == (200, True)
        told += [each["command"] for each in page["sessions"]]
        if "next" not in page:
            break
        query = f"limit=2&after={page['next']}".encode()
        await sessions[int(told[-1])].kill()
        await trio.sleep(301)
    assert told == ["0", "1", "2", "3", "4"]
    assert len((await ask(app, "GET"))[1]["sessions"]) == 3


async def test_a_list_has_bounded_arguments(autojump_clock: MockClock, mortal: Supervisor) -> None:
    """Long arguments are cut in a list, which marks it; a GET of the session has all."""
    app = ptykill.asgi_app(mortal, key=None)
    args = ["a" * 1000, "é" * 1000, "b"]
    session = await mortal.spawn(["x", *args])
    await mortal.spawn(["x", "a" * 1024])
    _, told = await ask(app, "GET")
    long, short = told["sessions"]
    assert (long["args"], long["args_cut"]) == (["a" * 1000, "é" * 24], True)
    assert "args_cut" not in short
    _, record = await ask(app, "GET", f"{PREFIX}/{session.id}")
    assert (record["args"], "args_cut" in record) == (args, False)


async def test_an_ended_session_keeps_its_size(
    autojump_clock: MockClock, mortal: Supervisor
) -> None:
    """A size that comes too late is refused by request, ignored by WebSocket, and not recorded."""
    app = ptykill.asgi_app(mortal, key=None)
    session = await mortal.spawn(["bash"], rows=20, cols=70)
    await session.terminate()
    with pytest.raises(ptykill.SessionEnded):
        session.resize(1, 1)
    size = {"type": "http.request", "body": b'{"rows": 1, "cols": 1}'}
    client = Client(app, size)
    path = f"{PREFIX}/{session.id}"
    start, body = await client.run("http", method="POST", path=f"{path}/resize", headers=[])
    assert (start["status"], json.loads(body["body"])["code"]) == (409, "SESSION_ENDED")
    token = (await app.issue_token(session.id)).encode()
    frames = [b"\x01\0\x01\0\x01", b"\x02"]
    messages = [{"type": "websocket.receive", "bytes": frame} for frame in frames]
    client = Client(app, {"type": "websocket.connect"}, *messages)

    async def receive() -> dict[str, Any]:
        if not client.messages:
            await trio.sleep_forever()
        return await client.receive()

    scope = {"path": f"{path}/ws", "headers": [(b"x-pty-token", token)]}
    await app({"type": "websocket", **scope}, receive, client.send)
    assert [each.get("bytes") for each in client.sent[1:]] == [b"\x03\0\0\0\x81", None]
    _, told = await ask(app, "GET", path)
    assert (told["rows"], told["cols"]) == (20, 70)


async def test_a_cancelled_handler_does_not_stop_a_kill(
    autojump_clock: MockClock, mortal: Supervisor
) -> None:
    """A server may cancel the handler in the middle of the teardown."""
    session = await mortal.spawn(["bash"])
    app = ptykill.asgi_app(mortal, key=None)
    with trio.move_on_after(0.5) as scope:
        await ask(app, "DELETE", f"{PREFIX}/{session.id}")
    assert scope.cancelled_caught
    verdict = await session.wait()
    assert verdict.empty
    assert verdict.took == pytest.approx(1.0)


async def test_a_later_kill_can_shorten_the_grace(
    autojump_clock: MockClock, mortal: Supervisor
) -> None:
    """Two kills share one teardown, with the shorter grace."""
    session = await mortal.spawn(["bash"])
    app = ptykill.asgi_app(mortal, key=None)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, app, "DELETE", f"{PREFIX}/{session.id}")
        await trio.sleep(0.25)
        path = f"{PREFIX}/{session.id}"
        assert await ask(app, "DELETE", path, query_string=b"grace=0.25") == (204, None)
    assert trio.current_time() - began == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        (PREFIX, ""),
        (f"/mount{PREFIX}", "/mount"),
        (f"/mount{PREFIX}", "/mount/"),
        (PREFIX, "/mount"),  # A server that leaves it out of the path.
        (PREFIX, "/api"),
        (f"/api{PREFIX}", "/api"),
    ],
)
async def test_the_app_works_below_a_mount(
    autojump_clock: MockClock, mortal: Supervisor, path: str, root_path: str
) -> None:
    """The path may include the root path, as ASGI specifies, or not."""
    app = ptykill.asgi_app(mortal, key=None)
    status, found = await ask(app, "GET", path, root_path=root_path)
    assert (status, found["sessions"]) == (200, [])


async def test_a_root_path_ends_at_a_slash(autojump_clock: MockClock, mortal: Supervisor) -> None:
    """The root path is removed only at the end of a part of the path."""
    app = ptykill.asgi_app(mortal, key=None)
    status, _ = await ask(app, "GET", f"/mounted{PREFIX}", root_path="/mount")
    assert status == 404


async def test_long_bodies_are_not_kept(autojump_clock: MockClock, mortal: Supervisor) -> None:
    """All of a body is received, so that the server can answer, but only the first part is kept."""
    app = ptykill.asgi_app(mortal, key=None, spawning=True)
    chunk = {"type": "http.request", "body": b"x" * (1 << 20), "more_body": True}
    client = Client(app, *[chunk] * 40, {"type": "http.request"})
    start, _ = await client.run("http", method="POST", headers=[])
    assert start["status"] == 400
    assert client.messages == []
    assert mortal.sessions == ()


async def test_a_refused_body_is_read_before_the_answer(
    autojump_clock: MockClock, mortal: Supervisor
) -> None:
    """The kernel resets a connection with unread data, and the client would lose the answer."""
    app = ptykill.asgi_app(mortal, key=None, spawning=True)
    chunk = {"type": "http.request", "body": b"x" * (1 << 20), "more_body": True}
    left: list[dict[str, Any]] = [*[chunk] * 3, {"type": "http.request"}]
    left_when_told = []

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    async def send(_: Any) -> None:  # noqa: ANN401 - whatever ASGI has
        left_when_told.append(len(left))

    scope = {"type": "http", "method": "POST", "path": PREFIX, "headers": []}
    await cast(Any, app)(scope, receive, send)
    assert left_when_told == [0, 0]


async def test_half_a_request_starts_nothing(autojump_clock: MockClock, mortal: Supervisor) -> None:
    """A client that disconnects during its body gets no answer, and no session is started."""
    app = ptykill.asgi_app(mortal, key=None, spawning=True)
    half = {"type": "http.request", "body": b'{"command": "bash"}', "more_body": True}
    client = Client(app, half, {"type": "http.disconnect"})
    assert await client.run("http", method="POST", headers=[]) == []
    assert mortal.sessions == ()


async def test_lifespan_is_answered(autojump_clock: MockClock, mortal: Supervisor) -> None:
    """Start and stop of the server are acknowledged; the supervisor stays open."""
    app = ptykill.asgi_app(mortal, key=None)
    client = Client(app, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    sent = await client.run("lifespan")
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    await mortal.spawn(["bash"])


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/elsewhere", 404, "NOT_FOUND"),
        (f"{PREFIX}/another/ws", 404, "SESSION_NOT_FOUND"),
        (f"{PREFIX}/SESSION/ws", 403, "INVALID_TOKEN"),
    ],
)
async def test_websockets_are_refused(
    autojump_clock: MockClock, mortal: Supervisor, path: str, status: int, code: str
) -> None:
    """It is refused before its handshake, with the error body if the server can send that."""
    app = ptykill.asgi_app(mortal, key=None)
    about: dict[str, Any] = {
        "path": path.replace("SESSION", (await mortal.spawn(["bash"])).id),
        "headers": [(b"x-pty-token", b"guessed")],
    }
    connect = {"type": "websocket.connect"}
    (closed,) = await Client(app, connect).run("websocket", **about)
    assert closed["type"] == "websocket.close"
    about["extensions"] = {"websocket.http.response": {}}
    start, body = await Client(app, connect).run("websocket", **about)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert json.loads(body["body"])["code"] == code


async def test_a_client_that_has_disconnected_is_no_error(
    autojump_clock: MockClock, mortal: Supervisor
) -> None:
    """A server that can't send any more raises OSError, which ends the conversation."""
    session = await mortal.spawn(["bash"])
    app = ptykill.asgi_app(mortal, key=None)
    token = await app.issue_token(session.id)
    heard: list[dict[str, Any]] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "bytes": b"\x02"},
    ]

    async def receive() -> dict[str, Any]:
        if not heard:
            await trio.sleep_forever()
        return heard.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "websocket.send":
            raise BrokenPipeError
        session.request_end()  # So that there is something to tell.

    with trio.fail_after(60):
        path, headers = f"{PREFIX}/{session.id}/ws", [(b"x-pty-token", token.encode())]
        await app({"type": "websocket", "path": path, "headers": headers}, receive, send)
    assert (await session.wait()).empty


async def test_unknown_scopes_are_an_error(autojump_clock: MockClock, mortal: Supervisor) -> None:
    """A scope that ASGI 3 does not have is an error."""
    with pytest.raises(ValueError, match="unknown scope"):
        await Client(ptykill.asgi_app(mortal, key=None)).run("smtp")


async def test_a_supervisor_is_for_trio(autojump_clock: MockClock, mortal: Supervisor) -> None:
    """Under asyncio a Supervisor is refused when the server starts, and at each request."""
    app = ptykill.asgi_app(mortal, key=None)

    def in_asyncio() -> tuple[Any, Any]:
        client = Client(app, {"type": "lifespan.startup"})
        return asyncio.run(client.run("lifespan")), asyncio.run(ask(app, "GET"))

    (failed,), (status, told) = await trio.to_thread.run_sync(in_asyncio)
    assert failed["type"] == "lifespan.startup.failed"
    assert "Host" in failed["message"]
    assert (status, told["code"]) == (500, "INTERNAL_ERROR")


async def test_no_receive_is_pending_when_a_conversation_is_closed(
    autojump_clock: MockClock, mortal: Supervisor
) -> None:
    """A server that can't close while a receive is pending (granian) can close."""
    session = await mortal.spawn(["bash"])
    app = ptykill.asgi_app(mortal, key=None)
    token = await app.issue_token(session.id)
    messages: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "bytes": b"\x02"},
    ]
    asking, closed = 0, []

    async def receive() -> Message:
        nonlocal asking
        if messages:
            return messages.pop(0)
        asking += 1
        try:
            await trio.sleep_forever()
        finally:
            asking -= 1
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "websocket.close":
            closed.append((message["code"], asking))

    async with trio.open_nursery() as nursery:
        scope = {
            "type": "websocket",
            "path": f"{PREFIX}/{session.id}/ws",
            "query_string": f"token={token}".encode(),
            "headers": [],
        }
        nursery.start_soon(app, scope, receive, send)
        await session.terminate()
    assert closed == [(1001, 0)]
