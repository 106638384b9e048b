"""Makes the API's OpenAPI document (3.1), from the types that validate its bodies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ptykill.http.process_routes import PROCESS_ROUTES
from ptykill.http.process_schema import Processes, ProcessRecord, Reached, SignalBody
from ptykill.http.routes import BODILESS, BODY, FAILED, FOUND, PLACE, SESSION, Answer, Route
from ptykill.http.schema import (
    MOST_LISTED,
    CreateBody,
    Created,
    Ends,
    Error,
    FailedEnds,
    ResizeBody,
    SessionRecord,
    Sessions,
)
from ptykill.http.token_bodies import IssuedToken, TokenBody
from ptykill.http.token_routes import CLIENT, TOKEN, TOKEN_ROUTES
from ptykill.http.usage import SessionUsage
from ptykill.rules.naming import LONGEST_KEY, LONGEST_NAME

__all__ = ["CODES", "document"]

_TYPES = (
    CreateBody,
    Created,
    Ends,
    Error,
    FailedEnds,
    ProcessRecord,
    Processes,
    Reached,
    ResizeBody,
    SessionRecord,
    IssuedToken,
    SessionUsage,
    Sessions,
    SignalBody,
    TokenBody,
)


CODES: Mapping[str, tuple[int, str]] = {
    "INVALID_REQUEST": (
        400,
        (
            "The body is not JSON, lacks a field, has a field of a wrong type, is longer than"
            " 1 MiB, or has a NUL; or a parameter or a header has a value that it can't have."
        ),
    ),
    "INVALID_GRACE": (400, "`grace` is not a number from 0 to its maximum, or is given twice."),
    "INVALID_OFFSET": (
        400,
        "`from` is not a whole number of at least 0, beyond the output so far, or given twice.",
    ),
    "COMMAND_NOT_FOUND": (400, "There is no such command."),
    "COMMAND_NOT_EXECUTABLE": (400, "The command can't be executed."),
    "COMMAND_TOO_LONG": (
        400,
        "The arguments and the environment are longer than the kernel takes.",
    ),
    "WORKING_DIR_NOT_FOUND": (400, "There is no such working directory."),
    "WORKING_DIR_NOT_ACCESSIBLE": (400, "The working directory may not be entered."),
    "LIMIT_NOT_PERMITTED": (400, "The kernel refuses a limit."),
    "LIMIT_ABOVE_CAP": (400, "A limit is above the daemon's cap, which the message names."),
    "UNAUTHORIZED": (401, "The key is missing or wrong."),
    "HOST_NOT_ALLOWED": (403, "The `Host` header is not allowed."),
    "ORIGIN_NOT_ALLOWED": (403, "The `Origin` header is not allowed."),
    "INVALID_TOKEN": (403, "The token is missing, not the session's, revoked or expired."),
    "NOT_FOUND": (404, "There is no such path."),
    "SESSION_NOT_FOUND": (404, "No session has had this id, or its record has been dropped."),
    "TOKEN_NOT_FOUND": (404, "The session has no token with this id."),
    "METHOD_NOT_ALLOWED": (405, "The path does not have this method; `Allow` names those it has."),
    "BODY_TIMEOUT": (408, "The body did not arrive within 20 s."),
    "NAME_TAKEN": (409, "A live session has this name already."),
    "SESSION_ENDED": (
        409,
        "The session is over: it has no terminal to resize or interrupt, and no process to signal.",
    ),
    "INPUT_FULL": (409, "The program does not read its input, and no more can be typed."),
    "BODY_TOO_LARGE": (413, "A request that needs no body has one longer than 1 MiB."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "The `Content-Type` is not JSON."),
    "KEY_REUSED": (422, "The `Idempotency-Key` was used to start something else."),
    "UPGRADE_REQUIRED": (426, "This path takes WebSockets only."),
    "LIMITS_UNAVAILABLE": (422, "The daemon can't set that limit; the message has the reason."),
    "TOO_MANY_SESSIONS": (429, "The limit of live sessions is reached."),
    "TOO_MANY_TOKENS": (429, "The session has 256 tokens; expired ones do not count."),
    "KILL_NOT_PERMITTED": (500, "The daemon may not signal a survivor."),
    "KILL_UNINTERRUPTIBLE": (500, "A survivor is in uninterruptible sleep."),
    "LEADER_TRACED": (500, "The leader is dead, and a tracer keeps it from being reaped."),
    "SESSION_UNPROVEN": (
        500,
        "The session's keeper was killed. No process of it is found, but its end can't be proved.",
    ),
    "SESSION_NOT_EMPTY": (500, "Processes of the session are left, for another reason."),
    "SESSIONS_NOT_EMPTY": (500, "Not all of the sessions are over; `sessions` has the results."),
    "SPAWN_FAILED": (500, "The program could not be started, which is not the request's fault."),
    "INTERPRETER_PATCHED": (500, "The server runs on gevent or eventlet, which ptykill refuses."),
    "INTERNAL_ERROR": (500, "An error in ptykill or its host; the log has the details."),
    "SHUTTING_DOWN": (503, "The server is stopping; nothing was started."),
    "TOO_MANY_BODIES": (503, "The server is receiving bodies of 16 MiB in all; nothing was done."),
}
"""Every error code: its status, and its meaning."""

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
    "description": "Not in Tensorlake's API. Creates with the same key start one program, and get"
    " the same answer, as long as the session's record is kept.",
}
_SELECTOR = (
    {
        "name": "label",
        "in": "query",
        "schema": {"type": "array", "items": {"type": "string"}},
        "description": "Not in Tensorlake's API. `KEY=VALUE`, or `KEY` for any value; if repeated,"
        " a session needs all of them.",
    },
    {
        "name": "name",
        "in": "query",
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
        "description": "Not in Tensorlake's API. The name, as in the create.",
    },
)
_FROM = {
    "name": "from",
    "in": "query",
    "schema": {"type": "integer", "minimum": 0},
    "description": "Not in Tensorlake's API. The offset in the session's output to go on from: how"
    " many bytes of it the client has received; 0 if none. The client then also gets frames 0x04:"
    " before the first output, and at each gap, the offset of the next output, and the number of"
    " bytes that are missing before it (big-endian u64 each). Each byte of 0x00 counts as one."
    " Frames 0x05 are output that does not count: the modes in force where a cut replay begins.",
}
_ROUTES = (
    Route(
        "post",
        "",
        "create",
        "Start a program on a terminal of its own.",
        {201: Answer("The program runs.", Created)},
        (
            *PLACE,
            *BODY,
            "COMMAND_NOT_FOUND",
            "COMMAND_NOT_EXECUTABLE",
            "COMMAND_TOO_LONG",
            "WORKING_DIR_NOT_FOUND",
            "WORKING_DIR_NOT_ACCESSIBLE",
            "NAME_TAKEN",
            "KEY_REUSED",
            "LIMIT_NOT_PERMITTED",
            "LIMIT_ABOVE_CAP",
            "LIMITS_UNAVAILABLE",
            "TOO_MANY_SESSIONS",
            "SPAWN_FAILED",
            *FAILED,
            "SHUTTING_DOWN",
        ),
        CreateBody,
        parameters=(_KEY,),
    ),
    Route(
        "get",
        "",
        "list",
        "Show all sessions, the oldest first.",
        {200: Answer("The sessions, or the first `limit` of them.", Sessions)},
        (*PLACE, "INVALID_REQUEST", *BODILESS),
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
            *_SELECTOR,
        ),
    ),
    Route(
        "delete",
        "",
        "kill_matching",
        "End all sessions that match, at the same time. Not in Tensorlake's API. Each is ended as"
        " by a DELETE of its own. At least one `label` or a `name` is needed; other parameters are"
        " refused.",
        {200: Answer("No process of any of these sessions is left.", Ends)},
        (*PLACE, "INVALID_REQUEST", "INVALID_GRACE", "SESSIONS_NOT_EMPTY", *BODILESS),
        parameters=_SELECTOR,
    ),
    Route(
        "get",
        "/{session_id}",
        "get",
        "Show a session, live or ended.",
        {200: Answer("The session.", SessionRecord)},
        (*FOUND, *BODILESS),
        parameters=(SESSION,),
    ),
    Route(
        "delete",
        "/{session_id}",
        "kill",
        "End a session: SIGHUP to its processes, a grace, SIGKILL to the survivors. The answer"
        " comes when the session is over, and 204 means that no process of it is left.",
        {
            204: Answer(
                "The session is over. `Server-Timing` has the times that this took, and"
                " `Ptykill-Caveats` what could not be known, if anything."
            )
        },
        (
            *FOUND,
            "INVALID_GRACE",
            "KILL_NOT_PERMITTED",
            "KILL_UNINTERRUPTIBLE",
            "LEADER_TRACED",
            "SESSION_UNPROVEN",
            "SESSION_NOT_EMPTY",
            *BODILESS,
        ),
        parameters=(SESSION,),
    ),
    Route(
        "post",
        "/{session_id}/resize",
        "resize",
        "Set the size of the terminal's window; its foreground processes get SIGWINCH.",
        {204: Answer("Done.")},
        (*FOUND, *BODY, "SESSION_ENDED", *FAILED),
        ResizeBody,
        parameters=(SESSION,),
    ),
    Route(
        "get",
        "/{session_id}/ws",
        "attach",
        "Attach by a WebSocket. Frames are binary, and begin with an opcode. To the server: 0x00"
        " input, 0x01 columns and rows (big-endian u16), 0x02 ready for output. To the client: 0x00"
        " output, 0x03 the exit code (big-endian i32), then a close.",
        {101: Answer("Attached.")},
        (*FOUND, "INVALID_OFFSET", "INVALID_TOKEN", "UPGRADE_REQUIRED", *BODILESS),
        parameters=(SESSION, TOKEN, _FROM, CLIENT),
    ),
    *PROCESS_ROUTES,
    *TOKEN_ROUTES,
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
    for path in f"{prefix}" or "/", f"{prefix}/{{session_id}}":
        paths[path]["delete"]["parameters"].append(
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


def _operation(route: Route) -> dict[str, Any]:
    answers = {str(status): _response(answer) for status, answer in route.answers.items()}
    answers |= {
        str(status): _response(Answer("\n".join(lines), _error_body(route, status)))
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


def _error_body(route: Route, status: int) -> type[msgspec.Struct]:
    return FailedEnds if (route.name, status) == ("kill_matching", 500) else Error


def _failures(codes: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Return each status, with a line for each of its error codes."""
    ordered = sorted(codes, key=lambda code: CODES[code][0])
    for status, group in itertools.groupby(ordered, key=lambda code: CODES[code][0]):
        yield status, [f"- `{code}`: {CODES[code][1]}" for code in group]


def _response(answer: Answer) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.about}
    if answer.body is not None:
        response["content"] = _json(answer.body)
    return response


def _json(body: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
