"""A create whose client disconnects before the answer leaves no session behind."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import ptykill
from ptykill import Host, Outcome, Session, State, Supervisor
from ptykill.http.asgi_types import Message
from ptykill.http.messages import Request
from ptykill.testing import FakeTier, Member
from tests.http.conftest import KEY, Server

PREFIX = "/api/v1/pty"
SCOPE = {"type": "http", "method": "POST", "path": PREFIX, "headers": []}
CREATE: Message = {"type": "http.request", "body": b'{"command": "bash"}', "more_body": False}
LEAVE: Message = {"type": "http.disconnect"}


class Client:
    """A client that stays, or disconnects; ``fails`` is the number of the send that fails.

    ``sleep_forever`` is that of the event loop in use.
    """

    def __init__(
        self,
        sleep_forever: Callable[[], Awaitable[Any]],
        *,
        leaves: bool = False,
        fails: int | None = None,
    ) -> None:
        self.messages = [CREATE, *([LEAVE] if leaves else [])]
        self.sent: list[Message] = []
        self.asked_while_sending = 0
        self._asking = 0
        self._sleep_forever = sleep_forever
        self._fails = fails

    async def receive(self) -> Message:
        """Return the next message."""
        if self.messages:
            return self.messages.pop(0)
        self._asking += 1
        try:
            await self._sleep_forever()
        finally:
            self._asking -= 1
        raise AssertionError

    async def send(self, message: Message) -> None:
        """Record a message of the app."""
        self.asked_while_sending += self._asking
        if self._fails == len(self.sent):
            raise BrokenPipeError
        self.sent.append(message)


def tier() -> FakeTier:
    """Make sessions that SIGHUP does not end."""
    return FakeTier(leader=Member())


async def checked(supervisor: Supervisor, *, ended: bool) -> None:
    """Check that the one session was killed without a grace, or runs."""
    (session,) = supervisor.sessions
    if ended:
        with trio.fail_after(30):
            verdict = await session.wait()
        assert [each.what for each in verdict.deliveries] == ["KILL@all"]
    else:
        assert session.state is State.RUNNING


CASES = pytest.mark.parametrize(
    ("options", "sent"),
    [({}, 2), ({"leaves": True}, 0), ({"fails": 0}, 0), ({"fails": 1}, 1)],
    ids=["stays", "leaves", "not begun", "not finished"],
)


@CASES
async def test_in_trio(autojump_clock: MockClock, options: Any, sent: int) -> None:  # noqa: ANN401
    """A session whose id the client can't have got is ended; no receive is pending then."""
    client = Client(trio.sleep_forever, **options)
    async with ptykill.open_supervisor(containment=tier()) as supervisor:
        app = ptykill.asgi_app(supervisor, key=None, spawning=True)
        try:
            await app(SCOPE, client.receive, client.send)
        except BrokenPipeError:
            assert "fails" in options
        await checked(supervisor, ended=sent < 2)
    assert (len(client.sent), client.asked_while_sending) == (sent, 0)


@CASES
def test_in_asyncio(options: Any, sent: int) -> None:  # noqa: ANN401
    """The same through a host."""

    async def sleep_forever() -> None:
        await asyncio.get_running_loop().create_future()

    async def main(host: Host) -> Client:
        client = Client(sleep_forever, **options)
        app = ptykill.asgi_app(host, key=None, spawning=True)
        try:
            await app(SCOPE, client.receive, client.send)
        except BrokenPipeError:
            assert "fails" in options
        return client

    with Host(containment=tier()) as host:
        client = asyncio.run(main(host))

        async def check() -> None:
            await checked(host.supervisor, ended=sent < 2)

        host.call(check)
        for session in host.sessions:
            host.call(session.kill)
    assert (len(client.sent), client.asked_while_sending) == (sent, 0)


class Slow(FakeTier):
    """A tier whose spawns take half a second, and can't be cancelled."""

    async def spawn(self, *about: Any) -> Any:  # noqa: ANN401
        """Make a session."""
        spawned = await super().spawn(*about)
        with trio.CancelScope(shield=True):
            await trio.sleep(0.5)
        return spawned


def test_a_server_that_cancels_the_request() -> None:
    """A handler that is cancelled in a spawn, or just after it, leaves no session."""

    async def main(host: Host) -> None:
        for method in "__call__", "respond":
            app = ptykill.asgi_app(host, key=None, spawning=True)
            client = Client(asyncio.Event().wait)
            request = Request("POST", PREFIX, body=CREATE["body"])
            arguments = (request,) if method == "respond" else (SCOPE, client.receive, client.send)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(getattr(app, method)(*arguments), 0.25)

    with Host(containment=Slow(leader=Member())) as host:
        asyncio.run(main(host))

        async def check() -> None:
            with trio.fail_after(30):
                while len(host.supervisor.sessions) < 2:  # noqa: ASYNC110 - there is no event
                    await trio.sleep(0.01)
                for session in host.supervisor.sessions:
                    assert (await session.wait()).outcome is Outcome.KILLED

        host.call(check)


async def test_a_server_without_disconnect_messages(autojump_clock: MockClock) -> None:
    """A server's receive may fail after the request: the answer is sent all the same."""
    client = Client(trio.sleep_forever)

    async def receive() -> Message:
        return client.messages.pop(0)  # An IndexError, the second time.

    async with ptykill.open_supervisor(containment=tier()) as supervisor:
        app = ptykill.asgi_app(supervisor, key=None, spawning=True)
        await app(SCOPE, receive, client.send)
        await checked(supervisor, ended=False)
    assert client.sent[0]["status"] == 201


async def test_a_delete_goes_on_without_its_client(autojump_clock: MockClock) -> None:
    """A client that disconnects in the middle of a DELETE does not stop the kill."""
    async with ptykill.open_supervisor(
        containment=FakeTier(leader=Member(dies_of={"HUP": 1.0}))
    ) as supervisor:
        session = await supervisor.spawn(["bash"])
        app = ptykill.asgi_app(supervisor, key=None, spawning=True)
        client = Client(trio.sleep_forever, leaves=True)
        client.messages[0] = {"type": "http.request"}
        scope = SCOPE | {"method": "DELETE", "path": f"{PREFIX}/{session.id}"}
        await app(scope, client.receive, client.send)
        assert (await session.wait()).outcome is Outcome.GRACEFUL
    assert client.sent[0]["status"] == 204


def test_on_a_real_server(talker: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that disconnects while its session is being spawned leaves none behind."""
    asked, gone, spawned = threading.Event(), threading.Event(), threading.Event()
    sessions: list[Session] = []
    spawn = Supervisor.spawn

    async def slow(self: Supervisor, *about: Any, **options: Any) -> Session:  # noqa: ANN401
        asked.set()
        await trio.to_thread.run_sync(gone.wait)
        await trio.sleep(0.3)  # In which the server sees it.
        sessions.append(await spawn(self, *about, **options))
        spawned.set()
        return sessions[0]

    monkeypatch.setattr(Supervisor, "spawn", slow)
    body = json.dumps({"command": "sh", "args": ["-c", "trap '' HUP; sleep 60"]})
    with socket.create_connection(("127.0.0.1", talker.port)) as client:
        client.sendall(
            f"POST {PREFIX} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert asked.wait(30)
    gone.set()
    assert spawned.wait(30)
    with talker.client() as other:
        (told,) = other.get(talker.url).json()["sessions"]
        while told["is_alive"]:
            (told,) = other.get(talker.url).json()["sessions"]
    assert told["exit_code"] == 137


async def test_a_token_is_freed_with_its_record(autojump_clock: MockClock) -> None:
    """Nothing is kept of sessions whose record is dropped."""
    async with ptykill.open_supervisor(containment=tier(), keep_seconds=10) as supervisor:
        app: Any = ptykill.asgi_app(supervisor, key=None, spawning=True)
        session = await supervisor.spawn(["bash"])
        token = await app.issue_token(session.id)
        assert await app.issue_token(session.id) == token
        await session.kill()
        assert len(app._tokens._tokens) == 1
        del session
        await trio.sleep(11)
        gc.collect()
        assert len(app._tokens._tokens) == 0
