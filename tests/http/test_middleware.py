"""The middleware: the API serves a prefix, the app everything else; both get the lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import trio

import ptykill
from ptykill import Host
from ptykill.http import AsgiApp
from ptykill.http.asgi_types import Message, Receive, Send
from ptykill.system.kernel import cgroup_place
from ptykill.testing import FakeTier

LIFESPAN: Message = {"type": "lifespan"}
STARTUP: Message = {"type": "lifespan.startup"}
SHUTDOWN: Message = {"type": "lifespan.shutdown"}
STARTED, STOPPED = f"{STARTUP['type']}.complete", f"{SHUTDOWN['type']}.complete"


@pytest.fixture
def host() -> Iterator[Host]:
    """Return a host of sessions without processes."""
    with Host(containment=FakeTier()) as host:
        yield host


def run(app: AsgiApp, scope: Message, *messages: Message) -> list[str]:
    """Run an app in asyncio with these messages; return the kinds of what it sends."""
    sent: list[str] = []
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(str(message.get("status", message["type"])))

    asyncio.run(app(scope, receive, send))
    assert left == []
    return sent


def live(app: AsgiApp) -> list[str]:
    """Run the whole lifespan of an app, and return what it answers."""
    return run(app, LIFESPAN, STARTUP, SHUTDOWN)


async def site(scope: Message, receive: Receive, send: Send) -> None:
    """Answer every request with 299, and support no lifespan."""
    assert scope["type"] != "lifespan"
    await send({"type": "http.response.start", "status": 299, "headers": []})


@pytest.mark.parametrize(
    ("path", "root", "ours"),
    [
        ("/api/v1/pty", "", True),
        ("/api/v1/pty/x", "", True),
        ("/api/v1/ptyx", "", False),
        ("/api/v1", "", False),
        ("/", "", False),
        ("", "", False),
        ("/x/api/v1/pty", "", False),
        ("/x/api/v1/pty", "/x", True),
        ("/x/api/v1/pty/y", "/x/", True),
        ("/api/v1/pty", "/x", True),
        ("/api/v1/pty", "/api", True),
        ("/x/api/v1/ptyx", "/x", False),
        ("/xx/api/v1/pty", "/x", False),
        ("/x/y", "/x", False),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_api_serves_the_prefix(host: Host, kind: str, path: str, root: str, ours: bool) -> None:  # noqa: FBT001
    """The API serves the paths below the prefix, also below a root path."""
    app = ptykill.asgi_middleware(site, host, key="x")
    scope = {"type": kind, "method": "GET", "path": path, "root_path": root, "headers": []}
    # The body of a request without the key is not received.
    first = [{"type": "websocket.connect"}] if kind == "websocket" and ours else []
    refused = "401" if kind == "http" else "websocket.close"
    answer = run(app, scope, *first)[0]
    assert answer == (refused if ours else "299")


def test_the_app_gets_the_scope_as_it_is(host: Host) -> None:
    """The app gets its own paths unchanged, and every other kind of scope."""
    seen: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scopes = [{"type": "http", "path": "/x/y", "root_path": "/x"}, {"type": "strange"}]
    for scope in scopes:
        run(ptykill.asgi_middleware(app, host, key="x"), scope)
    assert all(one is another for one, another in zip(seen, scopes, strict=True))


def test_an_empty_prefix_is_refused(host: Host) -> None:
    """Every path would be the API's, and none the app's."""
    with pytest.raises(ptykill.InvalidArgument):
        ptykill.asgi_middleware(site, host, key=None, prefix="")


def test_the_host_lives_around_the_app(host: Host) -> None:
    """The app has its sessions from its startup to its shutdown; then they are ended."""
    told: list[str] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        told.append((await receive())["type"])
        session = await host.acall(host.supervisor.spawn, ["x"])
        await send({"type": STARTED})
        told.append((await receive())["type"])
        await host.acall(trio.sleep, 0)
        assert session.verdict is None
        sessions.append(session)
        await send({"type": STOPPED})

    sessions: list[ptykill.Session] = []
    assert live(ptykill.asgi_middleware(app, host, key=None)) == [STARTED, STOPPED]
    assert told == [STARTUP["type"], SHUTDOWN["type"]]
    assert sessions[0].verdict is not None
    assert sessions[0].verdict.empty


async def _refuses(scope: Message, receive: Receive, send: Send) -> None:
    raise NotImplementedError


async def _returns(scope: Message, receive: Receive, send: Send) -> None:
    """Return at once, for any scope."""


async def _crashes(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    raise ZeroDivisionError


async def _leaves(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": STARTED})


async def _says_nothing(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": STARTED})
    await receive()


@pytest.mark.parametrize("app", [_refuses, _returns, _crashes, _leaves, _says_nothing])
def test_a_lifespan_that_the_app_leaves_unanswered_is_answered(host: Host, app: Any) -> None:  # noqa: ANN401
    """An app that refuses it, crashes at startup or returns is served, and the host is closed."""
    assert live(ptykill.asgi_middleware(app, host, key=None)) == [STARTED, STOPPED]
    with pytest.raises(ptykill.SupervisorClosed):
        host.spawn(["x"])


@pytest.mark.parametrize(("app", "level"), [(_refuses, logging.INFO), (_crashes, logging.WARNING)])
def test_an_error_at_startup_is_logged(
    host: Host,
    caplog: pytest.LogCaptureFixture,
    app: Any,  # noqa: ANN401
    level: int,
) -> None:
    """An app that crashes at startup is a warning; one without lifespan is not."""
    with caplog.at_level(logging.INFO, "ptykill"):
        live(ptykill.asgi_middleware(app, host, key=None))
    (record,) = [each for each in caplog.records if "http.lifespan_refused" in each.getMessage()]
    assert record.levelno == level


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_a_failed_startup_reaches_the_server(host: Host, error: type[Exception] | None) -> None:
    """The app's failure reaches the server, and the host is closed."""
    sent: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        if error is not None:
            raise error

    async def receive() -> Message:
        return STARTUP

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(error) if error else nullcontext():
        asyncio.run(ptykill.asgi_middleware(app, host, key=None)(LIFESPAN, receive, send))
    assert sent == [{"type": "lifespan.startup.failed", "message": "no database"}]
    with pytest.raises(ptykill.SupervisorClosed):
        host.spawn(["x"])


def test_a_crash_at_shutdown_is_raised_to_the_server(host: Host) -> None:
    """It is raised as without the middleware, after all sessions have been ended."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": STARTED})
        await receive()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        live(ptykill.asgi_middleware(app, host, key=None))
    with pytest.raises(ptykill.SupervisorClosed):
        host.spawn(["x"])


def test_a_host_that_can_not_start_keeps_the_server_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its error is reported at startup, before the app starts, not at each request."""
    monkeypatch.setattr(cgroup_place, "own_cgroup", lambda: None)
    app = ptykill.asgi_middleware(_crashes, Host(containment="cgroup"), key=None)
    assert run(app, LIFESPAN, STARTUP) == ["lifespan.startup.failed"]


def test_a_supervisor_is_not_closed_by_the_lifespan() -> None:
    """Its owner closes it; under asyncio it is refused."""
    sent: list[str] = []
    messages = [STARTUP, SHUTDOWN]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async def main() -> None:
        async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
            app = ptykill.asgi_middleware(site, supervisor, key=None)
            await app({"type": "lifespan"}, receive, send)
            assert not supervisor.closed
            refused = await trio.to_thread.run_sync(run, app, LIFESPAN, STARTUP)
            assert refused == ["lifespan.startup.failed"]

    trio.run(main)
    assert sent == [STARTED, STOPPED]
