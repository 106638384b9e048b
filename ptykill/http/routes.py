"""What the OpenAPI document says of a route, and what several routes have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

__all__ = ["BODILESS", "BODY", "FAILED", "FOUND", "PLACE", "RECEIVED", "SESSION", "Answer", "Route"]


class Answer(NamedTuple):
    """An answer that is no error: what it means, and the type of its body."""

    about: str
    body: type[msgspec.Struct] | None = None
    kind: str = "application/json"


class Route(NamedTuple):
    """One method of a path: what it does, and its answers and errors."""

    method: str
    path: str
    name: str
    about: str
    answers: Mapping[int, Answer]
    errors: Sequence[str] = ()
    body: type[msgspec.Struct] | None = None
    parameters: Sequence[Mapping[str, Any]] = ()


PLACE = ("HOST_NOT_ALLOWED", "ORIGIN_NOT_ALLOWED", "UNAUTHORIZED")
FOUND = (*PLACE, "SESSION_NOT_FOUND")
RECEIVED = ("BODY_TIMEOUT", "TOO_MANY_BODIES")
BODY = ("INVALID_REQUEST", "UNSUPPORTED_MEDIA_TYPE", *RECEIVED)
FAILED = ("INTERPRETER_PATCHED", "INTERNAL_ERROR")
BODILESS = ("BODY_TOO_LARGE", *RECEIVED, *FAILED)
"""Error codes of many routes, in groups."""
SESSION: dict[str, object] = {
    "name": "session_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The session's id, as returned by create.",
}
"""The parameter that names a session."""
