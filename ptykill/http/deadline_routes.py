"""The route about a session's deadlines, which is not in Tensorlake's API."""

from __future__ import annotations

from ptykill.http.deadline_schema import DeadlinesBody
from ptykill.http.routes import BODY, FAILED, FOUND, SESSION, Answer, Route

__all__ = ["DEADLINE_ROUTES"]

DEADLINE_ROUTES = (
    Route(
        "post",
        "/{session_id}/deadlines",
        "set_deadlines",
        "Replace the deadlines of a session. Not in Tensorlake's API. They count from when they"
        " would have counted before, so one that has passed ends the session at once.",
        {204: Answer("Done.")},
        (*FOUND, *BODY, "INVALID_DEADLINE", "SESSION_ENDED", *FAILED),
        DeadlinesBody,
        parameters=(SESSION,),
    ),
)
