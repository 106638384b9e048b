"""The API told as an OpenAPI document (3.1), made of the types that validate it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ptykill.http.schema import (
    CreateBody,
    Created,
    Error,
    ResizeBody,
    SessionRecord,
    Sessions,
)

__all__ = ["document"]

_TYPES = (CreateBody, Created, Error, ResizeBody, SessionRecord, Sessions)


class _Answer(NamedTuple):
    about: str
    body: type[msgspec.Struct] | None = None


class _Route(NamedTuple):
    method: str
    path: str
    name: str
    about: str
    answers: Mapping[int, _Answer]
    errors: Sequence[int] = ()
    body: type[msgspec.Struct] | None = None
    parameters: Sequence[Mapping[str, Any]] = ()


_ERRORS = {
    400: "The request can't be used: `INVALID_REQUEST`, `INVALID_GRACE`, or a code that says what"
    " can't be started.",
    401: "The key is missing or wrong: `UNAUTHORIZED`.",
    403: "The token is not the session's, or a page of elsewhere asks: `INVALID_TOKEN`,"
    " `HOST_NOT_ALLOWED`, `ORIGIN_NOT_ALLOWED`.",
    404: "There is no such session, or its record has been dropped: `SESSION_NOT_FOUND`.",
    413: "The body is longer than is taken: `BODY_TOO_LARGE`.",
    415: "The body is not JSON: `UNSUPPORTED_MEDIA_TYPE`.",
    426: "There is a WebSocket here, and nothing else: `UPGRADE_REQUIRED`.",
    429: "The limit of live sessions is reached: `TOO_MANY_SESSIONS`.",
    500: "It failed. For a kill: something is left, and the sentence names it.",
    503: "The server is stopping: `SHUTTING_DOWN`.",
}
_SESSION = {
    "name": "session_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "What the create told.",
}
_TOKEN = {
    "name": "X-PTY-Token",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The session's token; `?token=` is taken as well.",
}
_ROUTES = (
    _Route(
        "post",
        "",
        "create",
        "Start a program on a terminal of its own.",
        {201: _Answer("It runs.", Created)},
        (400, 401, 403, 415, 429, 500, 503),
        CreateBody,
    ),
    _Route(
        "get", "", "list", "Show all sessions.", {200: _Answer("All.", Sessions)}, (401, 403, 413)
    ),
    _Route(
        "get",
        "/{session_id}",
        "get",
        "Show a session, live or ended.",
        {200: _Answer("The session.", SessionRecord)},
        (401, 403, 404, 413),
        parameters=(_SESSION,),
    ),
    _Route(
        "delete",
        "/{session_id}",
        "kill",
        "End a session: SIGHUP to all of it, a grace, SIGKILL for what is left. The answer comes"
        " when it is over, and 204 means that nothing of it is left.",
        {204: _Answer("It is over. `Server-Timing` tells how long that took.")},
        (400, 401, 403, 404, 413, 500),
        parameters=(_SESSION,),
    ),
    _Route(
        "post",
        "/{session_id}/resize",
        "resize",
        "Set the size of the terminal's window; its foreground processes get SIGWINCH.",
        {204: _Answer("Done.")},
        (400, 401, 403, 404, 415),
        ResizeBody,
        parameters=(_SESSION,),
    ),
    _Route(
        "get",
        "/{session_id}/ws",
        "attach",
        "Attach by a WebSocket. Frames are binary, and begin with an opcode. To the server: 0x00"
        " input, 0x01 columns and rows (big-endian u16), 0x02 ready for output. To the client: 0x00"
        " output, 0x03 the exit code (big-endian i32), then a close.",
        {101: _Answer("Attached.")},
        (401, 403, 404, 426),
        parameters=(_SESSION, _TOKEN),
    ),
)


def document(prefix: str, version: str, *, spawning: bool, grace_cap: float) -> dict[str, Any]:
    """Return the document of an API that is mounted at ``prefix``, and takes such graces."""
    _, components = msgspec.json.schema_components(
        _TYPES, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in _ROUTES:
        if spawning or route.name != "create":
            paths.setdefault(f"{prefix}{route.path}" or "/", {})[route.method] = _operation(route)
    paths[f"{prefix}/{{session_id}}"]["delete"]["parameters"].append(
        {
            "name": "grace",
            "in": "query",
            "schema": {"type": "number", "minimum": 0, "maximum": grace_cap},
            "description": "Seconds until SIGKILL; the plan's if left out.",
        }
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ptykill",
            "version": version,
            "description": "Terminal sessions that are over when they are told to be.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: _Route) -> dict[str, Any]:
    answers = {str(status): _response(answer) for status, answer in route.answers.items()}
    answers |= {str(status): _response(_Answer(_ERRORS[status], Error)) for status in route.errors}
    told: dict[str, Any] = {
        "operationId": f"sandbox_pty_{route.name}",
        "summary": route.about.partition(". ")[0].partition(":")[0].rstrip("."),
        "description": route.about,
        "parameters": list(route.parameters),
        "responses": answers,
    }
    if route.name == "create":
        session = {"session_id": "$response.body#/session_id"}
        told["responses"]["201"]["links"] = {
            name: {"operationId": f"sandbox_pty_{name}", "parameters": session}
            for name in ("get", "resize", "attach", "kill")
        }
    if route.body is not None:
        told["requestBody"] = {"required": True, "content": _json(route.body)}
    return told


def _response(answer: _Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.about}
    if answer.body is not None:
        told["content"] = _json(answer.body)
    return told


def _json(body: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
