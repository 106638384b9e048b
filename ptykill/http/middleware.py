"""The API in front of any ASGI app: a prefix is ours, everything else the app's."""

from __future__ import annotations

import logging

from ptykill import log
from ptykill.errors import InvalidArgument
from ptykill.host import Host
from ptykill.http.api import Api
from ptykill.http.asgi import Application, Scope, path_below
from ptykill.http.attach import Message, Receive, Send
from ptykill.http.mount import AsgiCallable
from ptykill.supervisor import Supervisor

__all__ = ["Middleware"]

_STARTED, _FAILED = "lifespan.startup.complete", "lifespan.startup.failed"


class Middleware(Application):
    """Made by `ptykill.asgi_middleware`."""

    def __init__(self, app: AsgiCallable, api: Api, target: Supervisor | Host) -> None:
        super().__init__(api, target)
        if not api.prefix:
            msg = "an empty prefix would leave nothing to the app"
            raise InvalidArgument(msg)
        self._app = app
        self._prefix = api.prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any kind, or have the app serve it."""
        if scope["type"] == "lifespan":
            await self._live_around(scope, receive, send)
        elif scope["type"] in {"http", "websocket"} and self._is_ours(scope):
            await super().__call__(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        path = path_below(scope, self._prefix)
        return path == self._prefix or path.startswith(f"{self._prefix}/")

    # --- lifespan: ours is around the app's, which so has its sessions from its first to its last -

    async def _live_around(self, scope: Scope, receive: Receive, send: Send) -> None:
        heard: set[str] = set()
        said: set[str] = set()

        async def hear() -> Message:
            message = await receive()
            heard.add(message["type"])
            return message

        async def say(message: Message) -> None:
            if message["type"] != _STARTED:
                await self._close()
            said.add(message["type"])
            await send(message)

        if failure := await self._failure():
            await hear()
            await say({"type": _FAILED, "message": f"ptykill: {failure}"})
            return
        try:
            await self._app(scope, hear, say)
        except Exception as error:
            if _STARTED in said:
                await self._close()
                raise
            # ASGI: an app that raises is served all the same. Most often it knows no lifespan.
            level = logging.WARNING if heard else logging.INFO
            log.event(level, "http.lifespan_refused", exc_info=error)
        if _FAILED in said:
            return
        # What the app has left unanswered is ours to answer.
        for kind in "startup", "shutdown":
            while f"lifespan.{kind}" not in heard:
                await hear()
            if not said & {f"lifespan.{kind}.complete", f"lifespan.{kind}.failed"}:
                await say({"type": f"lifespan.{kind}.complete"})

    async def _failure(self) -> Exception | None:
        """Return what keeps us from starting; the server is told of it, and does not start."""
        try:
            if isinstance(self._target, Host):
                await self._target.__aenter__()
            else:
                self._check_loop()
        except Exception as error:  # noqa: BLE001
            return error
        return None

    async def _close(self) -> None:
        if isinstance(self._target, Host):  # A Supervisor is around the server, and ends after it.
            await self._target.aclose()
