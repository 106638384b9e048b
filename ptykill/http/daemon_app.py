"""The daemon's ASGI app: the API, health and readiness checks, and the OpenAPI document."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ptykill.embedding.host import Host
from ptykill.engine.supervisor import Supervisor
from ptykill.http.api import Api
from ptykill.http.asgi import Application, request_of, send_response
from ptykill.http.asgi_types import Receive, Scope, Send
from ptykill.http.messages import Response, error_response, json_response
from ptykill.http.perform import SAME_USER, Owner

__all__ = ["DaemonApp"]


class DaemonApp:
    """The ASGI app of ``ptykill serve``.

    It has the API, and, without a key, ``/healthz``, ``/readyz`` and ``/openapi.json``.
    ``version`` is ptykill's own, for the OpenAPI document. ``metrics`` returns the content type and
    the content of ``/metrics``, which needs the key; without it there is no such path.
    """

    def __init__(
        self,
        api: Api,
        target: Supervisor | Host,
        *,
        version: str,
        owner: Owner = SAME_USER,
        metrics: Callable[[], tuple[str, bytes]] | None = None,
    ) -> None:
        self._api = api
        self._metrics = metrics
        self._app = Application(api, target, owner)
        self._target = target
        self._document = api.openapi(version)

    @property
    def application(self) -> Application:
        """The API's app."""
        return self._app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any kind."""
        response = self._answer(scope) if scope["type"] == "http" else None
        if response is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            response = dataclasses.replace(response, body=b"")
        await send_response(response, send)

    def _answer(self, scope: Scope) -> Response | None:
        path: str = scope["path"]
        if path == "/metrics" and self._metrics is not None:
            return self._answer_metrics(scope, self._metrics)
        if path not in {"/healthz", "/readyz", "/openapi.json"}:
            return None
        if scope["method"] not in {"GET", "HEAD"}:
            return _TAKES_GET
        if path == "/openapi.json":
            return self._document
        supervisor = self._target.supervisor if isinstance(self._target, Host) else self._target
        if path == "/readyz" and supervisor.closed:
            return error_response(503, "SHUTTING_DOWN", "the server is stopping")
        return json_response(200, {"status": "ok"})

    def _answer_metrics(self, scope: Scope, metrics: Callable[[], tuple[str, bytes]]) -> Response:
        refusal = self._api.refuse_operator(request_of(scope, ""))
        if refusal is not None:
            return refusal
        if scope["method"] not in {"GET", "HEAD"}:
            return _TAKES_GET
        kind, content = metrics()
        headers = (b"content-type", kind.encode("ascii")), (b"content-length", b"%d" % len(content))
        return Response(200, headers, content)


_TAKES_GET = error_response(
    405, "METHOD_NOT_ALLOWED", "this path takes GET", (b"allow", b"GET, HEAD")
)
