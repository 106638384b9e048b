"""The API as an ASGI 3 app, for any ASGI server and framework."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import trio

from ptykill import log
from ptykill.embedding.call import end_undelivered
from ptykill.embedding.host import Host
from ptykill.embedding.loops import in_this_loop, time_limit
from ptykill.engine.session import Session
from ptykill.engine.supervisor import Supervisor
from ptykill.errors import SupervisorClosed
from ptykill.http import limits
from ptykill.http.api import Api
from ptykill.http.asgi_types import Receive, Scope, Send
from ptykill.http.conversation import batch_sender, run_conversation
from ptykill.http.disconnect import watch_disconnect
from ptykill.http.event_stream import send_events
from ptykill.http.limits import BodyBudget, BodyShare, TooManyBodies
from ptykill.http.messages import PageRequest, Request, Response, error_response
from ptykill.http.operations import Attach, Create, Events, Operation
from ptykill.http.perform import SAME_USER, Owner, Performed, find, perform
from ptykill.http.tokens import Access, Admission, Tokens
from ptykill.http.trace import trace_of
from ptykill.rules import validate

__all__ = [
    "LOGIN",
    "Application",
    "TooLong",
    "path_below",
    "receive_body",
    "request_of",
    "send_response",
]

LOGIN = "ptykill.login"
"""The entry of a scope that has the login of a page (`ptykill.http.messages.Login`)."""

T = TypeVar("T")

_WRONG_LOOP = "a Supervisor needs a server that runs on trio; with another, give asgi_app a Host"


class Application:
    """The app that `ptykill.asgi_app` returns."""

    def __init__(self, api: Api, target: Supervisor | Host, owner: Owner = SAME_USER) -> None:
        self._api = api
        self._owner = owner
        self._target = target
        self._tokens = Tokens()
        self._bodies = BodyBudget()
        self._streams = limits.event_streams(limits.connections())
        """How many more clients may stream events."""

    async def issue_token(
        self, session_id: str, access: str = "write", expires_in: float | None = None
    ) -> str:
        """Return a token that lets a client attach to a session (`AsgiApp.issue_token`)."""
        right = validate.member("access", access, Access)
        seconds = math.inf if expires_in is None else validate.seconds("expires_in", expires_in)

        async def issue(supervisor: Supervisor) -> str:
            session = supervisor.get(session_id)
            if right is Access.WRITE and seconds == math.inf:
                return self._tokens.first(session).token
            return self._tokens.issue(session, right, seconds).token

        return await self._run(issue)

    async def issue_ticket(self, session_id: str, access: str = "write") -> str:
        """Return a ticket that attaches one client once (`AsgiApp.issue_ticket`)."""
        right = validate.member("access", access, Access)

        async def issue(supervisor: Supervisor) -> str:
            return self._tokens.tickets.issue(supervisor.get(session_id), right)

        return await self._run(issue)

    async def end_login(self, login_id: str) -> None:
        """End the tickets of a page's login, and detach the clients that they have attached."""

        async def end(_: Supervisor) -> None:
            self._tokens.tickets.end_login(login_id)

        with suppress(SupervisorClosed):  # Then none is attached.
            await self._run(end)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any kind. Log events of it have its ``traceparent``."""
        with log.bound(**trace_of(scope.get("headers", ()))):
            match scope["type"]:
                case "http":
                    await self._serve(scope, receive, send)
                case "lifespan":
                    await self._live(receive, send)
                case "websocket":
                    await self._attach(scope, receive, send)
                case other:
                    msg = f"unknown scope type: {other!r}"
                    raise ValueError(msg)

    # --- requests ---------------------------------------------------------------------------------

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope, self._api.prefix)
        # Check the key before the body is received: a body takes memory and time.
        response = self._api.refuse(request)
        later: Create | Events | None = None
        unread = _has_body(request, scope)
        if response is None:
            unread = True
            try:
                with self._bodies.room() as room:
                    body = await receive_body(receive, self._api.body_limit, room)
                    if body is None:
                        return  # The client has disconnected before it sent the whole body.
                    unread = False
                    asked = self._api.read_admitted(dataclasses.replace(request, body=body))
                    if isinstance(asked, Create | Events):
                        later = asked
                    else:
                        # The client may disconnect meanwhile, which is not checked: a teardown goes
                        # on without it, in the supervisor's own task. So does this wait, unless the
                        # server cancels it.
                        response, _ = await self._respond(asked)
            except TooLong:
                response = self._api.too_long(request)
            except TooManyBodies:
                response = _NO_ROOM
            except TimeoutError:
                response = _TOO_LATE
        if later is not None:
            serve = self._serve_create if isinstance(later, Create) else self._serve_events
            await serve(later, receive, send)  # type: ignore[arg-type]
            return
        assert response is not None
        if unread and response.status in _ABOUT_BODIES:
            # The kernel resets a connection that is closed with unread data, and the client may
            # lose the answer. So read the body first, within a limit of time and size.
            unread = not await _discard_body(
                receive, limits.REFUSED_BODY_SECONDS, limits.REFUSED_BODY
            )
        await send_response(response, send)
        if unread:
            await _discard_body(receive, limits.BODY_SECONDS)

    async def _serve_create(self, asked: Create, receive: Receive, send: Send) -> None:
        """Answer a create; kill the session if the client disconnects before the answer is sent.

        No other client has the session's id and token.
        """
        performed: Performed | None = None
        sent = False
        try:
            async with watch_disconnect(receive) as left:
                response, performed = await self._respond(asked)
                gone = await left()
            if not gone:
                await send_response(response, send)
                sent = True
        finally:
            if performed is not None and performed.created is not None and not sent:
                self._end_undelivered(performed.created, performed.call)

    async def _serve_events(self, asked: Events, receive: Receive, send: Send) -> None:
        """Stream events; refuse it if too many clients have a stream already."""
        if self._streams <= 0:
            await send_response(_TOO_MANY_STREAMS, send)
            return
        if isinstance(self._target, Host):
            receive, send = in_this_loop(receive), in_this_loop(send)

        async def stream(supervisor: Supervisor) -> None:
            await send_events(supervisor, asked.since, receive, send)

        self._streams -= 1
        try:
            await self._run(stream)
        except SupervisorClosed:
            pass  # The connection ends with the sessions.
        finally:
            self._streams += 1

    async def respond(self, request: Request) -> Response:
        """Return the response to a request of any server. Never raises for what a client sends."""
        response, _ = await self._respond(self._api.read(request))
        return response

    async def _respond(self, asked: Operation | Response) -> tuple[Response, Performed | None]:
        """Return the response to a request, and what was done, if that has not failed."""
        if isinstance(asked, Response):
            return asked, None
        try:
            performed = await self._run(partial(self._perform, asked))
        except Exception as error:  # noqa: BLE001 - the client gets an answer to any error
            return self._api.fail(error), None
        return self._api.answer(performed.result), performed

    async def _perform(self, operation: Operation, supervisor: Supervisor) -> Performed:
        return await perform(supervisor, operation, self._tokens, self._owner)

    def _end_undelivered(self, session: Session, call: object) -> None:
        if isinstance(self._target, Host):
            self._target.call_soon(end_undelivered, session, call)
        else:
            end_undelivered(session, call)

    # --- WebSockets -------------------------------------------------------------------------------

    async def _attach(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # ``websocket.connect``
        asked = self._api.read_attach(request_of(scope, self._api.prefix))
        try:
            found = asked if isinstance(asked, Response) else await self._find(asked)
        except Exception as error:  # noqa: BLE001 - as above
            found = self._api.fail(error)
        if isinstance(found, Response):
            await _deny(found, scope, send)
            return
        assert isinstance(asked, Attach)
        headers = [(b"x-pty-access", found.grant.access.value.encode("ascii"))]
        await send({"type": "websocket.accept", "headers": headers})
        if isinstance(self._target, Host):
            there = in_this_loop(receive), in_this_loop(batch_sender(send))
            await self._target.acall(run_conversation, found, *there, asked.since)
        else:
            await run_conversation(found, receive, batch_sender(send), asked.since)

    async def _find(self, asked: Attach) -> Admission:
        async def found(supervisor: Supervisor) -> Admission:
            return find(supervisor, asked, self._tokens)

        return await self._run(found)

    # --- lifespan, and the supervisor's trio run --------------------------------------------------

    async def _live(self, receive: Receive, send: Send) -> None:
        """Answer the server's lifespan messages; the supervisor's owner opens and closes that."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await send({"type": "lifespan.shutdown.complete"})
                return
            try:
                self._check_loop()
            except RuntimeError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})

    async def _run(self, async_fn: Callable[[Supervisor], Awaitable[T]]) -> T:
        """Run a function in the supervisor's own trio run."""
        target = self._target
        if isinstance(target, Supervisor):
            self._check_loop()
            return await async_fn(target)

        async def there() -> T:  # In the host's trio run, where the supervisor is open for sure.
            return await async_fn(target.supervisor)

        return await target.acall(there)

    def _check_loop(self) -> None:
        if isinstance(self._target, Supervisor) and not trio.lowlevel.in_trio_task():
            raise RuntimeError(_WRONG_LOOP)


def request_of(scope: Scope, prefix: str) -> Request:
    """Return the request of a scope, without its body."""
    request = Request(
        method=scope.get("method", "GET"),
        path=path_below(scope, prefix),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=tuple((bytes(name).lower(), bytes(value)) for name, value in scope["headers"]),
    )
    if (login := scope.get(LOGIN)) is None:
        return request
    return PageRequest(request.method, request.path, request.query, request.headers, login=login)


def path_below(scope: Scope, prefix: str) -> str:
    """Return the path of a request without the path that the app is mounted at.

    By the ASGI specification ``path`` includes ``root_path``, but some servers and frameworks leave
    it out. So remove it only where it is there, and where the rest begins with our prefix.
    """
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    below = path.removeprefix(root)
    return below if below.startswith(prefix) and below[:1] in ("", "/") else path


class TooLong(Exception):
    """Raised for a body above the limit."""


_NO_ROOM = error_response(503, "TOO_MANY_BODIES", "too many bodies are arriving; nothing was done")
_TOO_MANY_STREAMS = error_response(503, "TOO_MANY_STREAMS", "too many clients are streaming events")
_ABOUT_BODIES = (400, 413, 415, 503)
"""Statuses of requests that have the key, and are refused for their body."""
_TOO_LATE = error_response(408, "BODY_TIMEOUT", "the body did not arrive in time")


async def receive_body(receive: Receive, limit: int, room: BodyShare) -> bytes | None:
    """Receive a request's body, and return it; None if the client disconnects meanwhile.

    Raises `TooLong`, `TooManyBodies`, and TimeoutError.
    """
    body = bytearray()
    async with time_limit(limits.BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            data = message.get("body", b"")
            if len(body) + len(data) > limit:
                raise TooLong
            room.take(len(data))
            body += data
            if not message.get("more_body", False):
                return bytes(body)


def _has_body(request: Request, scope: Scope) -> bool:
    """Return whether a request may have a body: HTTP/2 needs no header for one."""
    announced = request.header(b"content-length") or request.header(b"transfer-encoding")
    return bool(announced) or scope.get("http_version", "1.1") not in {"1.0", "1.1"}


async def _discard_body(receive: Receive, seconds: float, most: float = math.inf) -> bool:
    """Receive the body of a refused request, and discard it.

    Return whether it was received to its end, within ``most`` bytes and ``seconds``. hypercorn
    never closes a connection on which chunks wait to be received. uvicorn ends the body at once if
    the answer has been sent.
    """
    # Suppress a server's errors: the answer does not depend on the body.
    with suppress(Exception):
        async with time_limit(seconds):
            received = 0
            while received <= most:
                message = await receive()
                if not message.get("more_body", False):
                    return True
                received += len(message.get("body", b""))
    return False


async def _deny(response: Response, scope: Scope, send: Send) -> None:
    """Refuse a WebSocket before its handshake, with a response if the server can send one."""
    if "websocket.http.response" in scope.get("extensions", {}):
        await send_response(response, send, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": "refused"})


async def send_response(response: Response, send: Send, kind: str = "http.response") -> None:
    """Send a response: to a request, or to a WebSocket that is refused."""
    headers = [[name, value] for name, value in response.headers]
    await send({"type": f"{kind}.start", "status": response.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": response.body, "more_body": False})
