"""Issues and checks the tokens by which clients attach to sessions, each for one right."""

from __future__ import annotations

import math
import secrets
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from ptykill.engine.session import Session
from ptykill.errors import InvalidToken, TokenNotFound, TooManyTokens
from ptykill.http.grants import REVOKED, Access, Grant
from ptykill.http.tickets import Tickets

__all__ = ["FIRST", "MOST", "REVOKED", "Access", "Admission", "Grant", "Tokens"]

FIRST: Final = "create"
"""The id of the token that the session's create returns."""
MOST: Final = 256
"""The most tokens that one session may have."""


class Admission(NamedTuple):
    """A session that a client may attach to, by its grant; ``client`` names the client itself."""

    session: Session
    grant: Grant
    client: str | None = None


class Tokens:
    """The tokens of all sessions of one app. They are freed together with a session's record.

    Its methods run in the sessions' own trio run.
    """

    def __init__(self) -> None:
        self._tokens: WeakKeyDictionary[Session, dict[str, Grant]] = WeakKeyDictionary()
        self.tickets: Final = Tickets()

    def first(self, session: Session) -> Grant:
        """Return the token of a session's create (256 random bits): the same one at each call."""
        grants = self._tokens.setdefault(session, {})
        if FIRST not in grants:
            grants[FIRST] = Grant(FIRST, Access.WRITE)
        return grants[FIRST]

    def issue(self, session: Session, access: Access, expires_in: float = math.inf) -> Grant:
        """Return a new token of a session. Raises `TooManyTokens`."""
        grants = self._tokens.setdefault(session, {})
        for each in [each for each in grants.values() if each.expired]:
            del grants[each.id]
        if len(grants) >= MOST:
            msg = f"the session has {MOST} tokens: revoke some"
            raise TooManyTokens(msg)
        grant = Grant(secrets.token_hex(8), access, expires_in)
        grants[grant.id] = grant
        return grant

    def check(self, session: Session, token: str) -> Grant:
        """Return what a token grants; compare in constant time. Raises `InvalidToken`."""
        given = token.encode("utf-8", "replace")
        # All are compared: the time does not tell which one is right.
        found = [each for each in self._tokens.get(session, {}).values() if each.fits(given)]
        if not found or found[0].expired:
            msg = "the session's token is missing, wrong or expired"
            raise InvalidToken(msg)
        return found[0]

    def revoke(self, session: Session, token_id: str) -> None:
        """End a token, and detach the clients that it has attached. Raises `TokenNotFound`."""
        grant = self._tokens.get(session, {}).pop(token_id, None)
        if grant is None:
            msg = "the session has no such token"
            raise TokenNotFound(msg)
        grant.revoke()
