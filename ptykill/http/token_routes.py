"""The routes about a session's tokens; none of them is in Tensorlake's API."""

from __future__ import annotations

from ptykill.http.routes import BODILESS, BODY, FAILED, FOUND, SESSION, Answer, Route
from ptykill.http.token_bodies import IssuedTicket, IssuedToken, TicketBody, TokenBody

__all__ = ["CLIENT", "TICKET", "TOKEN", "TOKEN_ROUTES"]

TOKEN: dict[str, object] = {
    "name": "X-PTY-Token",
    "in": "header",
    "schema": {"type": "string"},
    "description": "A token of the session, as returned by create or by the request for one;"
    " `?token=` works as well.",
}
TICKET: dict[str, object] = {
    "name": "ticket",
    "in": "query",
    "schema": {"type": "string"},
    "description": "Not in Tensorlake's API. A ticket for the session. It is for browsers, which"
    " can't send headers here: neither the key nor a token is needed.",
}
CLIENT: dict[str, object] = {
    "name": "client",
    "in": "query",
    "schema": {"type": "string", "pattern": "^[0-9A-Za-z._~-]{1,64}$"},
    "description": "Not in Tensorlake's API. A name that a client gives itself, such as a random"
    " text: an older connection with the same name and token is closed.",
}
"""The parameters by which a client that attaches says who it is."""
_ID = {
    "name": "token_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The token's id, as returned with it; `create` is the id of the token that the"
    " create has returned.",
}
TOKEN_ROUTES = (
    Route(
        "post",
        "/{session_id}/tokens",
        "issue_token",
        "Issue a token by which a client may attach. Not in Tensorlake's API. A session that was"
        " not created over HTTP has no other.",
        {201: Answer("The token.", IssuedToken)},
        (*FOUND, *BODY, "TOO_MANY_TOKENS", *FAILED),
        TokenBody,
        parameters=(SESSION,),
    ),
    Route(
        "post",
        "/{session_id}/tickets",
        "issue_ticket",
        "Issue a ticket, by which one client may attach once. Not in Tensorlake's API.",
        {201: Answer("The ticket.", IssuedTicket)},
        (*FOUND, *BODY, "TOO_MANY_TOKENS", *FAILED),
        TicketBody,
        parameters=(SESSION,),
    ),
    Route(
        "delete",
        "/{session_id}/tokens/{token_id}",
        "revoke_token",
        "Revoke a token, and detach the clients that it has attached. Not in Tensorlake's API.",
        {204: Answer("Done.")},
        (*FOUND, "TOKEN_NOT_FOUND", *BODILESS),
        parameters=(SESSION, _ID),
    ),
)
