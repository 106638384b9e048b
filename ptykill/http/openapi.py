"""The API told as an OpenAPI document (3.1), made of the types that validate it."""

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
            "The body is no JSON, lacks a field, has a wrong type, is longer than 1 MiB, or has a"
            " NUL; or `limit` or `after` is not a number that it can be."
        ),
    ),
    "INVALID_GRACE": (400, "`grace` is not a number from 0 to its maximum, or is there twice."),
    "COMMAND_NOT_FOUND": (400, "There is no such command."),
    "COMMAND_NOT_EXECUTABLE": (400, "The command can't be executed."),
    "COMMAND_TOO_LONG": (
        400,
        "The arguments and the environment are longer than the kernel takes.",
    ),
    "WORKING_DIR_NOT_FOUND": (400, "There is no such working directory."),
    "WORKING_DIR_NOT_ACCESSIBLE": (400, "The working directory may not be entered."),
    "UNAUTHORIZED": (401, "The key is missing or wrong."),
    "HOST_NOT_ALLOWED": (403, "`Host` has a name that is not allowed."),
    "ORIGIN_NOT_ALLOWED": (403, "A page of another origin asks."),
    "INVALID_TOKEN": (403, "The token is missing, or not the session's."),
    "NOT_FOUND": (404, "There is no such path."),
    "SESSION_NOT_FOUND": (404, "The id was never given out, or its record has been dropped."),
    "METHOD_NOT_ALLOWED": (405, "The path does not have this method; `Allow` names those it has."),
    "BODY_TIMEOUT": (408, "The body did not arrive within 20 s."),
    "SESSION_ENDED": (409, "The session is over: it has no terminal whose size could be set."),
    "BODY_TOO_LARGE": (413, "A request that needs no body has one longer than 1 MiB."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "A body says that it is something else than JSON."),
    "UPGRADE_REQUIRED": (426, "There is a WebSocket here, and nothing else."),
    "TOO_MANY_SESSIONS": (429, "The limit of live sessions is reached."),
    "KILL_NOT_PERMITTED": (500, "A survivor may not be signalled by the daemon."),
    "KILL_UNINTERRUPTIBLE": (500, "A survivor is in uninterruptible sleep."),
    "LEADER_TRACED": (500, "The leader is dead, and a tracer keeps it from being reaped."),
    "SESSION_UNPROVEN": (
        500,
        "Its keeper was killed, nothing of it is found any more, and nobody can prove it.",
    ),
    "SESSION_NOT_EMPTY": (500, "Something is left, for another reason."),
    "SPAWN_FAILED": (500, "The program could not be started, which is not the request's fault."),
    "INTERPRETER_PATCHED": (500, "The server runs on gevent or eventlet, where no promise holds."),
    "INTERNAL_ERROR": (500, "A mistake in ptykill or its host; the log has it."),
    "SHUTTING_DOWN": (503, "The server is stopping; nothing was started."),
    "TOO_MANY_BODIES": (503, "Bodies of 16 MiB in all are arriving; nothing was done."),
}
"""Every code of an error: its status, and when it comes."""

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
        {200: _Answer("Those that there are, or the first of them.", Sessions)},
        (*_PLACE, "INVALID_REQUEST", *_BODILESS),
        parameters=(
            {
                "name": "limit",
                "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED},
                "description": f"How many are shown at most; {MOST_LISTED} if left out.",
            },
            {
                "name": "after",
                "in": "query",
                "schema": {"type": "integer", "minimum": 0},
                "description": "What a list has told as `next`.",
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
        "End a session: SIGHUP to all of it, a grace, SIGKILL for what is left. The answer comes"
        " when it is over, and 204 means that nothing of it is left.",
        {
            204: _Answer(
                "It is over. `Server-Timing` tells how long that took, and `Ptykill-Caveats` what"
                " could not be known, if anything."
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


def _failures(codes: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Return each status, and a line for each code that comes with it."""
    ordered = sorted(codes, key=lambda code: CODES[code][0])
    for status, group in itertools.groupby(ordered, key=lambda code: CODES[code][0]):
        yield status, [f"- `{code}`: {CODES[code][1]}" for code in group]


def _response(answer: _Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.about}
    if answer.body is not None:
        told["content"] = _json(answer.body)
    return told


def _json(body: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
