"""The routes about a session's processes; none of them is in Tensorlake's API."""

from __future__ import annotations

from ptykill.http.process_schema import Processes, Reached, SignalBody
from ptykill.http.routes import BODILESS, BODY, FAILED, FOUND, RECEIVED, SESSION, Answer, Route

__all__ = ["PROCESS_ROUTES"]

PROCESS_ROUTES = (
    Route(
        "get",
        "/{session_id}/processes",
        "processes",
        "List the processes of a session. Not in Tensorlake's API. Those that have left the session"
        " are among them; a session that is over has none.",
        {200: Answer("The processes, the oldest first.", Processes)},
        (*FOUND, *BODILESS),
        parameters=(SESSION,),
    ),
    Route(
        "post",
        "/{session_id}/signal",
        "signal",
        "Send a signal to processes of a session, without ending it. Not in Tensorlake's API."
        " Exactly this signal is sent. A reach without processes is no error.",
        {
            200: Answer(
                "The processes that got it, and those that the daemon may not signal.", Reached
            )
        },
        (*FOUND, *BODY, "SESSION_ENDED", *FAILED),
        SignalBody,
        parameters=(SESSION,),
    ),
    Route(
        "post",
        "/{session_id}/interrupt",
        "interrupt",
        "Do what Ctrl-C does in the terminal's present mode. Not in Tensorlake's API. The"
        " foreground processes get SIGINT; a program in raw mode gets the byte 0x03 to read.",
        {204: Answer("Done.")},
        (*FOUND, "INVALID_REQUEST", *RECEIVED, "SESSION_ENDED", "INPUT_FULL", *FAILED),
        parameters=(SESSION,),
    ),
)
