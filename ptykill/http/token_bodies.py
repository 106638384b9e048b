"""The JSON bodies of the requests and responses about tokens; they are not in Tensorlake's API."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ptykill.http.grants import Access, Grant
from ptykill.http.messages import Login
from ptykill.http.operations import IssueTicket, IssueToken
from ptykill.http.schema import decode

__all__ = [
    "IssuedTicket",
    "IssuedToken",
    "TicketBody",
    "TokenBody",
    "issued",
    "read_ticket",
    "read_token",
]

_LONGEST = 366 * 86_400
"""The most seconds that a token may be valid, unless it does not expire."""


class TokenBody(msgspec.Struct):
    """The token to issue. Other fields are ignored."""

    access: Annotated[
        Literal["read", "write"],
        Meta(
            description="`read` lets clients see the output: their input and sizes are ignored."
            " `write` lets them type and set the size as well, as the token of the create does."
        ),
    ]
    expires_in: (
        Annotated[
            float,
            Meta(
                gt=0,
                le=_LONGEST,
                description="Seconds for which it is valid; then its clients are detached. By"
                " default it is valid as long as the session's record is kept.",
            ),
        ]
        | None
    ) = None


class IssuedToken(msgspec.Struct):
    """A token that was issued."""

    token_id: Annotated[str, Meta(description="Its id, to revoke it by.")]
    token: Annotated[str, Meta(description="The token. No other answer than this one has it.")]
    access: Annotated[Literal["read", "write"], Meta(description="The right that it gives.")]
    expires_at: Annotated[
        int | None,
        Meta(description="In milliseconds since the epoch; null if it does not expire."),
    ]


class TicketBody(msgspec.Struct):
    """The ticket to issue. Other fields are ignored."""

    access: Annotated[
        Literal["read", "write"], Meta(description="The right that it gives, as of a token.")
    ]


class IssuedTicket(msgspec.Struct):
    """A ticket that was issued."""

    ticket: Annotated[
        str, Meta(description="For one attach, as `?ticket=`, without the key and a token.")
    ]
    access: Annotated[Literal["read", "write"], Meta(description="The right that it gives.")]
    expires_in: Annotated[float, Meta(description="Seconds for which it may be used.")]


_body = msgspec.json.Decoder(TokenBody)


def read_token(body: bytes, session_id: str) -> IssueToken:
    """Decode the body of a request for a token. Raises `InvalidArgument`."""
    asked = decode(_body, body)
    expires_in = math.inf if asked.expires_in is None else asked.expires_in
    return IssueToken(session_id, Access(asked.access), expires_in)


_ticket = msgspec.json.Decoder(TicketBody)


def read_ticket(body: bytes, session_id: str, login: Login | None) -> IssueTicket:
    """Decode the body of a request for a ticket. Raises `InvalidArgument`."""
    return IssueTicket(session_id, Access(decode(_ticket, body).access), login)


def issued(grant: Grant) -> IssuedToken:
    """Return a token for the client that has asked for it."""
    ends = grant.expires_at
    return IssuedToken(
        grant.id, grant.token, grant.access.value, None if ends is None else int(1000 * ends)
    )
