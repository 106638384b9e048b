"""The API in front of any ASGI app: it serves one prefix, and the app everything else."""

from __future__ import annotations

import logging

from ptykill import log
from ptykill.embedding.host import Host
from ptykill.engine.supervisor import Supervisor
from ptykill.errors import InvalidArgument
from ptykill.http.api import Api
from ptykill.http.asgi import Application, path_below
from ptykill.http.asgi_types import AsgiCallable, Receive, Scope, Send
from ptykill.http.lifespan import Lifespan

__all__ = ["Middleware"]


class Middleware(Application):
    """The app that `ptykill.asgi_middleware` returns."""

    def __init__(self, app: AsgiCallable, api: Api, target: Supervisor | Host) -> None:
        super().__init__(api, target)
        if not api.prefix:
            msg = "the prefix is empty: every path would be the API's, and none the app's"
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

    # --- lifespan: the host starts before the app, and closes after it ----------------------------

    async def _live_around(self, scope: Scope, receive: Receive, send: Send) -> None:
        lifespan = Lifespan(receive, send, self._close)
        if failure := await self._failure():
            await lifespan.fail(f"ptykill: {failure}")
            return
        try:
            await self._app(scope, lifespan.receive, lifespan.send)
        except Exception as error:
            if lifespan.answered:
                await self._close()
                raise
            # By the ASGI specification an app that raises is served all the same. Most often it
            # does not support lifespan.
            level = logging.WARNING if lifespan.requested else logging.INFO
            log.event(level, "http.lifespan_refused", exc_info=error)
        await lifespan.finish()

    async def _failure(self) -> Exception | None:
        """Start the host; return the error if it can't start, which stops the server's start."""
        try:
            if isinstance(self._target, Host):
                await self._target.__aenter__()
            else:
                self._check_loop()
        except Exception as error:  # noqa: BLE001
            return error
        return None

    async def _close(self) -> None:
        if isinstance(self._target, Host):  # A Supervisor is closed by its owner.
            await self._target.aclose()
