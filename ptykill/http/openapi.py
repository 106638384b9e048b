"""Makes the API's OpenAPI document (3.1), from the types that validate its bodies."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ptykill.http.deadline_routes import DEADLINE_ROUTES
from ptykill.http.deadline_schema import DeadlinesBody
from ptykill.http.ends_schema import Ends, FailedEnds
from ptykill.http.error_codes import CODES
from ptykill.http.event_routes import EVENT_ROUTES
from ptykill.http.event_schema import Event
from ptykill.http.process_routes import PROCESS_ROUTES
from ptykill.http.process_schema import Processes, ProcessRecord, Reached, SignalBody
from ptykill.http.routes import BODILESS, BODY, FAILED, FOUND, PLACE, SESSION, Answer, Route
from ptykill.http.schema import CreateBody, Created, Error, ResizeBody
from ptykill.http.session_record import MOST_LISTED, SessionRecord, Sessions
from ptykill.http.token_bodies import IssuedTicket, IssuedToken, TicketBody, TokenBody
from ptykill.http.token_routes import CLIENT, TICKET, TOKEN, TOKEN_ROUTES
from ptykill.http.usage import SessionUsage
from ptykill.rules.naming import LONGEST_KEY, LONGEST_NAME

__all__ = ["CODES", "document"]

_TYPES = (
    CreateBody,
    Created,
    DeadlinesBody,
    Ends,
    Error,
    Event,
    FailedEnds,
    ProcessRecord,
    Processes,
    Reached,
    ResizeBody,
    SessionRecord,
    IssuedTicket,
    IssuedToken,
    SessionUsage,
    Sessions,
    SignalBody,
    TicketBody,
    TokenBody,
)


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
            "INVALID_DEADLINE",
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
        (
            *FOUND,
            "INVALID_OFFSET",
            "INVALID_REQUEST",
            "INVALID_TOKEN",
            "UPGRADE_REQUIRED",
            *BODILESS,
        ),
        parameters=(SESSION, TOKEN, TICKET, _FROM, CLIENT),
    ),
    *DEADLINE_ROUTES,
    *EVENT_ROUTES,
    *PROCESS_ROUTES,
    *TOKEN_ROUTES,
)


def document(prefix: str, version: str, *, spawning: bool, grace_cap: float) -> dict[str, Any]:
    """Return the OpenAPI document of an API that is mounted at ``prefix``."""
    _, components = msgspec.json.schema_components(
        _TYPES, ref_template="#/components/schemas/{name}"
    )
    for each in components.values():  # Before Python 3.13 a docstring has its indentation.
        each["description"] = inspect.cleandoc(each["description"])
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
            for name in ("get", "resize", "set_deadlines", "attach", "kill")
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
        response["content"] = {answer.kind: _json(answer.body)["application/json"]}
    return response


def _json(body: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
