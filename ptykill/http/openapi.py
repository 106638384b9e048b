"""Makes the API's OpenAPI document (3.1), from the types that validate its bodies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ptykill.http.schema import (
    MOST_LISTED,
    CreateBody,
    Created,
    Error,
    ResizeBody,
    SessionRecord,
    Sessions,
)

__all__ = ["CODES", "document"]

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
    errors: Sequence[str] = ()
    body: type[msgspec.Struct] | None = None
    parameters: Sequence[Mapping[str, Any]] = ()


CODES: Mapping[str, tuple[int, str]] = {
    "INVALID_REQUEST": (
        400,
        (
            "The body is not JSON, lacks a field, has a field of a wrong type, is longer than"
            " 1 MiB, or has a NUL; or `limit` or `after` is not a number, or out of range."
        ),
    ),
    "INVALID_GRACE": (400, "`grace` is not a number from 0 to its maximum, or is given twice."),
    "COMMAND_NOT_FOUND": (400, "There is no such command."),
    "COMMAND_NOT_EXECUTABLE": (400, "The command can't be executed."),
    "COMMAND_TOO_LONG": (
        400,
        "The arguments and the environment are longer than the kernel takes.",
    ),
    "WORKING_DIR_NOT_FOUND": (400, "There is no such working directory."),
    "WORKING_DIR_NOT_ACCESSIBLE": (400, "The working directory may not be entered."),
    "UNAUTHORIZED": (401, "The key is missing or wrong."),
    "HOST_NOT_ALLOWED": (403, "The `Host` header is not allowed."),
    "ORIGIN_NOT_ALLOWED": (403, "The `Origin` header is not allowed."),
    "INVALID_TOKEN": (403, "The token is missing, or not the session's."),
    "NOT_FOUND": (404, "There is no such path."),
    "SESSION_NOT_FOUND": (404, "No session has had this id, or its record has been dropped."),
    "METHOD_NOT_ALLOWED": (405, "The path does not have this method; `Allow` names those it has."),
    "BODY_TIMEOUT": (408, "The body did not arrive within 20 s."),
    "SESSION_ENDED": (409, "The session is over: it has no terminal whose size could be set."),
    "BODY_TOO_LARGE": (413, "A request that needs no body has one longer than 1 MiB."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "The `Content-Type` is not JSON."),
    "UPGRADE_REQUIRED": (426, "This path takes WebSockets only."),
    "TOO_MANY_SESSIONS": (429, "The limit of live sessions is reached."),
    "KILL_NOT_PERMITTED": (500, "The daemon may not signal a survivor."),
    "KILL_UNINTERRUPTIBLE": (500, "A survivor is in uninterruptible sleep."),
    "LEADER_TRACED": (500, "The leader is dead, and a tracer keeps it from being reaped."),
    "SESSION_UNPROVEN": (
        500,
        "The session's keeper was killed. No process of it is found, but its end can't be proved.",
    ),
    "SESSION_NOT_EMPTY": (500, "Processes of the session are left, for another reason."),
    "SPAWN_FAILED": (500, "The program could not be started, which is not the request's fault."),
    "INTERPRETER_PATCHED": (500, "The server runs on gevent or eventlet, which ptykill refuses."),
    "INTERNAL_ERROR": (500, "An error in ptykill or its host; the log has the details."),
    "SHUTTING_DOWN": (503, "The server is stopping; nothing was started."),
    "TOO_MANY_BODIES": (503, "The server is receiving bodies of 16 MiB in all; nothing was done."),
}
"""Every error code: its status, and its meaning."""

_PLACE = ("HOST_NOT_ALLOWED", "ORIGIN_NOT_ALLOWED", "UNAUTHORIZED")
_FOUND = (*_PLACE, "SESSION_NOT_FOUND")
_RECEIVED = ("BODY_TIMEOUT", "TOO_MANY_BODIES")
_BODY = ("INVALID_REQUEST", "UNSUPPORTED_MEDIA_TYPE", *_RECEIVED)
_FAILED = ("INTERPRETER_PATCHED", "INTERNAL_ERROR")
_BODILESS = ("BODY_TOO_LARGE", *_RECEIVED, *_FAILED)
_SESSION = {
    "name": "session_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The session's id, as returned by create.",
}
_TOKEN = {
    "name": "X-PTY-Token",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The session's token, as returned by create; `?token=` works as well.",
}
_ROUTES = (
    _Route(
        "post",
        "",
        "create",
        "Start a program on a terminal of its own.",
        {201: _Answer("The program runs.", Created)},
        (
            *_PLACE,
            *_BODY,
            "COMMAND_NOT_FOUND",
            "COMMAND_NOT_EXECUTABLE",
            "COMMAND_TOO_LONG",
            "WORKING_DIR_NOT_FOUND",
            "WORKING_DIR_NOT_ACCESSIBLE",
            "TOO_MANY_SESSIONS",
            "SPAWN_FAILED",
            *_FAILED,
            "SHUTTING_DOWN",
        ),
        CreateBody,
    ),
    _Route(
        "get",
        "",
        "list",
        "Show all sessions, the oldest first.",
        {200: _Answer("The sessions, or the first `limit` of them.", Sessions)},
        (*_PLACE, "INVALID_REQUEST", *_BODILESS),
        parameters=(
            {
                "name": "limit",
                "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED},
                "description": f"The most sessions to show; {MOST_LISTED} if left out.",
            },
            {
                "name": "after",
                "in": "query",
                "schema": {"type": "integer", "minimum": 0},
                "description": "The `next` of the list before.",
            },
        ),
    ),
    _Route(
        "get",
        "/{session_id}",
        "get",
        "Show a session, live or ended.",
        {200: _Answer("The session.", SessionRecord)},
        (*_FOUND, *_BODILESS),
        parameters=(_SESSION,),
    ),
    _Route(
        "delete",
        "/{session_id}",
        "kill",
        "End a session: SIGHUP to its processes, a grace, SIGKILL to the survivors. The answer"
        " comes when the session is over, and 204 means that no process of it is left.",
        {
            204: _Answer(
                "The session is over. `Server-Timing` has the times that this took, and"
                " `Ptykill-Caveats` what could not be known, if anything."
            )
        },
        (
            *_FOUND,
            "INVALID_GRACE",
            "KILL_NOT_PERMITTED",
            "KILL_UNINTERRUPTIBLE",
            "LEADER_TRACED",
            "SESSION_UNPROVEN",
            "SESSION_NOT_EMPTY",
            *_BODILESS,
        ),
        parameters=(_SESSION,),
    ),
    _Route(
        "post",
        "/{session_id}/resize",
        "resize",
        "Set the size of the terminal's window; its foreground processes get SIGWINCH.",
        {204: _Answer("Done.")},
        (*_FOUND, *_BODY, "SESSION_ENDED", *_FAILED),
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
        (*_FOUND, "INVALID_TOKEN", "UPGRADE_REQUIRED", *_BODILESS),
        parameters=(_SESSION, _TOKEN),
    ),
)


def document(prefix: str, version: str, *, spawning: bool, grace_cap: float) -> dict[str, Any]:
    """Return the OpenAPI document of an API that is mounted at ``prefix``."""
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
            "description": "Terminal sessions that are over when a DELETE answers 204.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The daemon's key: `Authorization: Bearer KEY`.",
                }
            },
        },
    }


def _operation(route: _Route) -> dict[str, Any]:
    answers = {str(status): _response(answer) for status, answer in route.answers.items()}
    answers |= {
        str(status): _response(_Answer("\n".join(lines), Error))
        for status, lines in _failures(route.errors)
    }
    operation: dict[str, Any] = {
        "operationId": f"sandbox_pty_{route.name}",
        "summary": route.about.partition(". ")[0].partition(":")[0].rstrip("."),
        "description": route.about,
        "parameters": list(route.parameters),
        "responses": answers,
    }
    if route.name == "create":
        session = {"session_id": "$response.body#/session_id"}
        operation["responses"]["201"]["links"] = {
            name: {"operationId": f"sandbox_pty_{name}", "parameters": session}
            for name in ("get", "resize", "attach", "kill")
        }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _json(route.body)}
    return operation


def _failures(codes: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Return each status, with a line for each of its error codes."""
    ordered = sorted(codes, key=lambda code: CODES[code][0])
    for status, group in itertools.groupby(ordered, key=lambda code: CODES[code][0]):
        yield status, [f"- `{code}`: {CODES[code][1]}" for code in group]


def _response(answer: _Answer) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.about}
    if answer.body is not None:
        response["content"] = _json(answer.body)
    return response


def _json(body: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
