"""A request and a response, as the HTTP face knows them, whatever server carries them."""

from __future__ import annotations

import dataclasses
import json
from typing import TypeAlias

__all__ = ["Headers", "Request", "Response", "error_response", "json_response"]

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Names in lower case and values, as bytes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What a client asks.

    ``path`` is percent-decoded and below whatever the app is mounted at; ``query`` is as it came,
    without the question mark. Headers and query stay out of ``repr``, where a key would be seen.
    """

    method: str
    path: str
    query: str = dataclasses.field(default="", repr=False)
    headers: Headers = dataclasses.field(default=(), repr=False)
    body: bytes = dataclasses.field(default=b"", repr=False)

    def header(self, name: bytes) -> list[bytes]:
        """Return every value of a header, by its name in lower case."""
        return [value for each, value in self.headers if each == name]


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """What a client is answered."""

    status: int
    headers: Headers = ()
    body: bytes = dataclasses.field(default=b"", repr=False)


def json_response(status: int, content: object, *headers: tuple[bytes, bytes]) -> Response:
    """Return a response with a JSON body."""
    # In ASCII: a file name that is no UTF-8 comes as lone surrogates, which UTF-8 can't carry.
    body = json.dumps(content, separators=(",", ":")).encode("ascii")
    about = (
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
    )
    return Response(status, (*about, *headers), body)


def error_response(
    status: int, code: str, sentence: str, *headers: tuple[bytes, bytes]
) -> Response:
    """Return the one form that every error has."""
    return json_response(status, {"error": sentence, "code": code}, *headers)
