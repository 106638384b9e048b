"""The API as an ASGI 3 app, for any server and to be mounted in any framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias, TypeVar

import trio

from ptykill.crossing import carried
from ptykill.host import Host
from ptykill.http.api import Api, Result
from ptykill.http.attach import Message, Receive, Send, converse
from ptykill.http.messages import Request, Response
from ptykill.http.operations import Attach, Operation
from ptykill.http.perform import Tokens, find, perform
from ptykill.session import Session
from ptykill.supervisor import Supervisor

__all__ = ["Application", "Scope", "path_below", "send_response"]

T = TypeVar("T")
Scope: TypeAlias = Message

_WRONG_LOOP = "a Supervisor is for servers that run on trio; give asgi_app a Host for any other"


class Application:
    """Made by `ptykill.asgi_app`."""

    def __init__(self, api: Api, target: Supervisor | Host) -> None:
        self._api = api
        self._target = target
        self._tokens = Tokens()

    async def issue_token(self, session_id: str) -> str:
        """Return the token that lets a client attach to a session which you have spawned yourself.

        Raises `SessionNotFound`.
        """

        async def issue(supervisor: Supervisor) -> str:
            return self._tokens.issue(supervisor, supervisor.get(session_id).id)

        return await self._run(issue)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any kind."""
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await self._live(receive, send)
            case "websocket":
                await self._attach(scope, receive, send)
            case other:
                msg = f"not a scope that is known: {other!r}"
                raise ValueError(msg)

    # --- requests ---------------------------------------------------------------------------------

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _receive_body(receive, self._api.body_limit)
        if body is None:
            return  # The client has gone before it had asked.
        # Whether the client is still there is not asked: a teardown goes on without it, in the
        # supervisor's own task, and so does this wait, unless the server cancels it.
        response = await self.respond(_request(scope, self._api.prefix, body))
        await send_response(response, send)

    async def respond(self, request: Request) -> Response:
        """Answer a request, in whatever way it came. Never raises for what a client can do."""
        asked = self._api.read(request)
        if isinstance(asked, Response):
            return asked
        try:
            return self._api.answer(await self._run(partial(self._perform, asked)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            return self._api.fail(error)

    async def _perform(self, operation: Operation, supervisor: Supervisor) -> Result:
        return await perform(supervisor, operation, self._tokens)

    # --- WebSockets -------------------------------------------------------------------------------

    async def _attach(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # That it wants to connect.
        asked = self._api.read_attach(_request(scope, self._api.prefix))
        try:
            found = asked if isinstance(asked, Response) else await self._find(asked)
        except Exception as error:  # noqa: BLE001 - as above
            found = self._api.fail(error)
        if isinstance(found, Response):
            await _deny(found, scope, send)
            return
        await send({"type": "websocket.accept"})
        if isinstance(self._target, Host):
            await self._target.acall(converse, found, carried(receive), carried(send))
        else:
            await converse(found, receive, send)

    async def _find(self, asked: Attach) -> Session:
        async def found(supervisor: Supervisor) -> Session:
            return find(supervisor, asked, self._tokens)

        return await self._run(found)

    # --- the rest ---------------------------------------------------------------------------------

    async def _live(self, receive: Receive, send: Send) -> None:
        """Answer the server's lifespan; the supervisor's is its owner's business."""
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

        async def there() -> T:  # Only there is it sure that the supervisor is open.
            return await async_fn(target.supervisor)

        return await target.acall(there)

    def _check_loop(self) -> None:
        if isinstance(self._target, Supervisor) and not trio.lowlevel.in_trio_task():
            raise RuntimeError(_WRONG_LOOP)


def _request(scope: Scope, prefix: str, body: bytes = b"") -> Request:
    return Request(
        method=scope.get("method", "GET"),
        path=path_below(scope, prefix),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=tuple((bytes(name).lower(), bytes(value)) for name, value in scope["headers"]),
        body=body,
    )


def path_below(scope: Scope, prefix: str) -> str:
    """Return the path below what the app is mounted at.

    ASGI has the path include ``root_path``; some servers and frameworks leave it out, so it is
    taken away only where it is, and where what remains is ours.
    """
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    below = path.removeprefix(root)
    return below if below.startswith(prefix) and below[:1] in ("", "/") else path


async def _receive_body(receive: Receive, limit: int) -> bytes | None:
    """Return the body, of which no more than ``limit`` + 1 bytes are kept; None if it was cut off.

    All of it is read: hypercorn can't send an answer while chunks wait to be received.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")[: limit + 1 - len(body)]
        if not message.get("more_body", False):
            return bytes(body)


async def _deny(response: Response, scope: Scope, send: Send) -> None:
    """Turn a WebSocket away before its handshake, with an answer if the server can send one."""
    if "websocket.http.response" in scope.get("extensions", {}):
        await send_response(response, send, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": "refused"})


async def send_response(response: Response, send: Send, kind: str = "http.response") -> None:
    """Send an answer: to a request, or in place of a WebSocket."""
    headers = [[name, value] for name, value in response.headers]
    await send({"type": f"{kind}.start", "status": response.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": response.body, "more_body": False})
