"""The requests and responses of the HTTP API, independent of the server."""

from __future__ import annotations

import dataclasses
import json
from typing import NamedTuple, TypeAlias

__all__ = [
    "Headers",
    "Login",
    "PageRequest",
    "Request",
    "Response",
    "error_response",
    "json_response",
]

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Pairs of name, in lower case, and value, as bytes."""


class Login(NamedTuple):
    """A person's login in a page (`ptykill.page`), valid for so many seconds more."""

    id: str
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A client's request. Its repr leaves out what may have the key."""

    method: str
    """The method, in capitals."""
    path: str
    """The path, percent-decoded, and without the path that the app is mounted at."""
    query: str = dataclasses.field(default="", repr=False)
    """The query, not decoded, and without the question mark."""
    headers: Headers = dataclasses.field(default=(), repr=False)
    """Pairs of name, in lower case, and value."""
    body: bytes = dataclasses.field(default=b"", repr=False)
    """The body."""

    def header(self, name: bytes) -> list[bytes]:
        """Return every value of a header, by its name in lower case."""
        return [value for each, value in self.headers if each == name]


@dataclasses.dataclass(frozen=True, slots=True)
class PageRequest(Request):
    """A request of a page whose login has been checked: it needs no key."""

    login: Login = dataclasses.field(kw_only=True, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """The response to a request."""

    status: int
    """The status code."""
    headers: Headers = ()
    """Pairs of name, in lower case, and value."""
    body: bytes = dataclasses.field(default=b"", repr=False)
    """The body."""


def json_response(status: int, content: object, *headers: tuple[bytes, bytes]) -> Response:
    """Return a response with a JSON body."""
    # In ASCII: a file name that is not UTF-8 has lone surrogates, which UTF-8 can't encode.
    body = json.dumps(content, separators=(",", ":")).encode("ascii")
    about = (
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
    )
    return Response(status, (*about, *headers), body)


def error_response(
    status: int, code: str, sentence: str, *headers: tuple[bytes, bytes]
) -> Response:
    """Return an error response: a sentence for people, and a code for programs."""
    return json_response(status, {"error": sentence, "code": code}, *headers)
