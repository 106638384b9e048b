"""The API as a WSGI app (PEP 3333), for any server with threads."""

from __future__ import annotations

import dataclasses
import http
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol, TypeAlias

from ptykill import log
from ptykill.embedding.host import Host
from ptykill.http.api import NO_STREAM, Api
from ptykill.http.messages import Request, Response
from ptykill.http.operations import Events, Operation
from ptykill.http.perform import Performed, perform
from ptykill.http.tokens import Tokens
from ptykill.http.trace import trace_of

__all__ = ["Application"]

Environ: TypeAlias = dict[str, Any]
_Failure: TypeAlias = tuple[type[BaseException], BaseException, TracebackType]


class StartResponse(Protocol):
    """The function by which a WSGI app begins its answer."""

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: _Failure | None = None, /
    ) -> Callable[[bytes], object]:
        """Begin the answer."""


class Application:
    """The app that `ptykill.wsgi_app` returns."""

    def __init__(self, api: Api, host: Host) -> None:
        self._api = api
        self._host = host
        self._tokens = Tokens()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        trace = environ.get("HTTP_TRACEPARENT", "").encode("latin-1")
        with log.bound(**trace_of([(b"traceparent", trace)])):
            response = self._answer(environ)
        reason = http.HTTPStatus(response.status).phrase
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers
        ]
        start_response(f"{response.status} {reason}", headers)
        return [response.body] if response.body else []

    def _answer(self, environ: Environ) -> Response:
        request = _request(environ)
        # Check the key before the body is received: a body takes memory and time.
        refusal = self._api.refuse(request)
        if refusal is not None:
            return refusal
        body = _body(environ, self._api.body_limit)
        asked = self._api.read_admitted(dataclasses.replace(request, body=body))
        if isinstance(asked, Response):
            return asked
        if isinstance(asked, Events):  # It would occupy a thread of the server for hours.
            return NO_STREAM
        try:
            # WSGI does not report that a client has disconnected.
            return self._api.answer(self._host.call(self._perform, asked).result)
        except Exception as error:  # noqa: BLE001 - the client gets an answer to any error
            return self._api.fail(error)

    async def _perform(self, operation: Operation) -> Performed:
        return await perform(self._host.supervisor, operation, self._tokens)


def _request(environ: Environ) -> Request:
    # PEP 3333: strings hold bytes as Latin-1, whatever their encoding is.
    path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
    headers = tuple(
        (
            name.removeprefix("HTTP_").replace("_", "-").lower().encode("latin-1"),
            value.encode("latin-1"),
        )
        for name, value in environ.items()
        if name.startswith("HTTP_")
    )
    for name in "CONTENT_TYPE", "CONTENT_LENGTH":
        if value := environ.get(name):
            headers += ((name.replace("_", "-").lower().encode(), value.encode("latin-1")),)
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path,
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
    )


def _body(environ: Environ, limit: int) -> bytes:
    """Return the body, or the first ``limit`` + 1 bytes of a longer one."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isdecimal():
        wanted = min(int(length[:19]), limit + 1)  # int() refuses thousands of digits.
    else:
        # Without a length read() would block for ever, unless the server ends the input itself.
        wanted = limit + 1 if environ.get("wsgi.input_terminated") else 0
    body = bytearray()
    while len(body) < wanted and (data := environ["wsgi.input"].read(wanted - len(body))):
        body += data
    return bytes(body)
