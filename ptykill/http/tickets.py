"""Tickets: each attaches one client once, within a few seconds.

A browser can't send headers with a WebSocket, and an URL may get into a log. So a page puts a
ticket into the URL: by the time a log has it, it is worth nothing.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

import trio

from ptykill.engine.session import Session
from ptykill.errors import InvalidToken, TooManyTokens
from ptykill.http.grants import Access, Grant
from ptykill.http.messages import Login

__all__ = ["MOST_TICKETS", "TICKET_SECONDS", "Tickets"]

TICKET_SECONDS: Final = 30.0
"""Seconds for which a ticket is valid."""
MOST_TICKETS: Final = 4096
"""The most unused tickets of one app."""


class _Unused(NamedTuple):
    """What a ticket is for; ``ends_at`` is a time of trio's clock."""

    session_id: str
    grant: Grant
    ends_at: float


class Tickets:
    """The unused tickets of one app, and the clients that were attached by used ones.

    Its methods run in the sessions' own trio run.
    """

    def __init__(self) -> None:
        self._unused: dict[bytes, _Unused] = {}
        """By the ticket's digest: the time of a look-up tells nothing about a ticket."""
        self._grants: WeakKeyDictionary[Session, dict[tuple[Access, str], Grant]] = (
            WeakKeyDictionary()
        )

    def issue(self, session: Session, access: Access, login: Login | None = None) -> str:
        """Return a new ticket (256 random bits). Raises `TooManyTokens`.

        The client that it attaches is detached when the login has ended, if there is one.
        """
        now = trio.current_time()
        self._unused = {key: each for key, each in self._unused.items() if each.ends_at > now}
        if len(self._unused) >= MOST_TICKETS:
            msg = f"{MOST_TICKETS} tickets are not used yet: wait until they expire"
            raise TooManyTokens(msg)
        ticket = secrets.token_urlsafe(32)
        grant = self._grant(session, access, login)
        self._unused[_digest(ticket)] = _Unused(session.id, grant, now + TICKET_SECONDS)
        return ticket

    def redeem(self, session_id: str, ticket: str) -> Grant:
        """Return what a ticket grants; it is used up, also by a wrong id. Raises `InvalidToken`."""
        found = self._unused.pop(_digest(ticket), None)
        valid = found is not None and found.ends_at > trio.current_time()
        if found is None or not valid or found.session_id != session_id or found.grant.expired:
            msg = "the ticket is wrong, used, or expired"
            raise InvalidToken(msg)
        return found.grant

    def end_login(self, login_id: str) -> None:
        """End the tickets of a login, and detach the clients that they have attached."""
        for grants in list(self._grants.values()):
            for access in Access:
                if (grant := grants.pop((access, login_id), None)) is not None:
                    grant.revoke()
        self._unused = {key: each for key, each in self._unused.items() if not each.grant.revoked}

    def _grant(self, session: Session, access: Access, login: Login | None) -> Grant:
        """Return the grant of a login, the same for each ticket.

        So a client that comes back, by another ticket, is known by its name (`Grant.attached`).
        """
        grants = self._grants.setdefault(session, {})
        for key in [key for key, each in grants.items() if each.expired]:
            del grants[key]
        key = access, "" if login is None else login.id
        if key not in grants:
            seconds = math.inf if login is None else login.seconds
            grants[key] = Grant(f"ticket-{access}", access, seconds)
        return grants[key]


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "replace")).digest()
