"""The API as an ASGI 3 app, for any server and to be mounted in any framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import trio

from ptykill.host import Host
from ptykill.http.api import DEFAULT_PREFIX, Api
from ptykill.http.messages import Request, Response, error_response
from ptykill.http.perform import Performer, performer
from ptykill.supervisor import Supervisor

__all__ = ["AsgiApp", "asgi_app"]

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_WRONG_LOOP = "a Supervisor is for servers that run on trio; give asgi_app a Host for any other"


def asgi_app(
    target: Supervisor | Host,
    *,
    key: str | None,
    prefix: str = DEFAULT_PREFIX,
    spawning: bool = False,
    grace_cap: float = 60.0,
) -> AsgiApp:
    """Return the API as an ASGI 3 app.

    With a `Supervisor` it runs in that supervisor's trio run (hypercorn on trio); with a `Host`
    in any server, asyncio's included. ``key`` is what clients bear (``Authorization: Bearer``);
    None says that the host authenticates by itself. ``prefix`` is the path of the list;
    ``spawning`` lets clients start programs, and needs the extra ``http``; ``grace_cap`` is the
    longest ``?grace=`` in seconds. Raises `InvalidArgument` and `InvalidGrace`.
    """
    api = Api(key=key, prefix=prefix, spawning=spawning, grace_cap=grace_cap)
    return AsgiApp(api, performer(target), trio_only=isinstance(target, Supervisor))


class AsgiApp:
    """Made by `asgi_app`."""

    def __init__(self, api: Api, perform: Performer, *, trio_only: bool) -> None:
        self._api = api
        self._perform = perform
        self._trio_only = trio_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any kind."""
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await self._live(receive, send)
            case "websocket":
                await _deny(scope, receive, send)
            case other:
                msg = f"not a scope that is known: {other!r}"
                raise ValueError(msg)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _receive_body(receive, self._api.body_limit)
        if body is None:
            return  # The client has gone before it had asked.
        request = Request(
            method=scope["method"],
            path=_path(scope, self._api.prefix),
            query=scope.get("query_string", b"").decode("latin-1"),
            headers=tuple((bytes(name).lower(), bytes(value)) for name, value in scope["headers"]),
            body=body,
        )
        # Whether the client is still there is not asked: a teardown goes on without it, in the
        # supervisor's own task, and so does this wait, unless the server cancels it.
        await _send_response(await self._respond(request), send, "http.response")

    async def _respond(self, request: Request) -> Response:
        asked = self._api.read(request)
        if isinstance(asked, Response):
            return asked
        try:
            self._check_loop()
            return self._api.answer(asked, await self._perform(asked))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            return self._api.fail(error)

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

    def _check_loop(self) -> None:
        if self._trio_only and not trio.lowlevel.in_trio_task():
            raise RuntimeError(_WRONG_LOOP)


def _path(scope: Scope, prefix: str) -> str:
    """Return the path below the mount.

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


async def _deny(scope: Scope, receive: Receive, send: Send) -> None:
    """Turn a WebSocket away before its handshake: there is none to be had here yet."""
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        refused = error_response(404, "NOT_FOUND", "there is no WebSocket here")
        await _send_response(refused, send, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": "no WebSocket here"})


async def _send_response(response: Response, send: Send, kind: str) -> None:
    headers = [[name, value] for name, value in response.headers]
    await send({"type": f"{kind}.start", "status": response.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": response.body, "more_body": False})
