"""Every error code of the HTTP API: its status, and its meaning."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CODES"]

CODES: Mapping[str, tuple[int, str]] = {
    "INVALID_REQUEST": (
        400,
        (
            "The body is not JSON, lacks a field, has a field of a wrong type, is longer than"
            " 1 MiB, or has a NUL; or a parameter or a header has a value that it can't have."
        ),
    ),
    "INVALID_DEADLINE": (
        400,
        "A deadline is not from 0.1 s to 365 days, or is later than the daemon's own.",
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
    "INVALID_TOKEN": (
        403,
        "No valid token of the session: missing, revoked, expired; or a used ticket.",
    ),
    "NOT_FOUND": (404, "There is no such path."),
    "SESSION_NOT_FOUND": (404, "No session has had this id, or its record has been dropped."),
    "TOKEN_NOT_FOUND": (404, "The session has no token with this id."),
    "METHOD_NOT_ALLOWED": (405, "The path does not have this method; `Allow` names those it has."),
    "BODY_TIMEOUT": (408, "The body did not arrive within 20 s."),
    "NAME_TAKEN": (409, "A live session has this name already."),
    "SESSION_ENDED": (
        409,
        (
            "The session is over: it has no terminal to resize or interrupt, and no process to"
            " signal; or its end has begun, and its deadlines can't be set."
        ),
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
    "EVENTS_NOT_OFFERED": (501, "This server can't stream events."),
    "SPAWN_FAILED": (500, "The program could not be started, which is not the request's fault."),
    "INTERPRETER_PATCHED": (500, "The server runs on gevent or eventlet, which ptykill refuses."),
    "INTERNAL_ERROR": (500, "An error in ptykill or its host; the log has the details."),
    "SHUTTING_DOWN": (503, "The server is stopping; nothing was started."),
    "TOO_MANY_STREAMS": (503, "Too many clients are streaming events."),
    "TOO_MANY_BODIES": (503, "The server is receiving bodies of 16 MiB in all; nothing was done."),
}
