"""Issues and checks the tokens by which clients attach to sessions, each for one right."""

from __future__ import annotations

import enum
import hmac
import math
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

import trio

from ptykill.engine.session import Session
from ptykill.errors import InvalidToken, TokenNotFound, TooManyTokens

__all__ = ["FIRST", "MOST", "REVOKED", "Access", "Admission", "Grant", "Tokens"]

FIRST: Final = "create"
"""The id of the token that the session's create returns."""
MOST: Final = 256
"""The most tokens that one session may have."""
REVOKED: Final = "the token was revoked"
"""The reason for which the clients of a revoked token are detached."""


class Access(enum.StrEnum):
    """The right that a token gives: to see the output, or to type and to tell a size as well."""

    READ = "read"
    WRITE = "write"


class Grant:
    """One token of one session, and the clients that are attached by it.

    It is valid up to ``ends_at``, a time of trio's clock; ``expires_at`` is the same in seconds
    since the epoch, None for a token that does not expire.
    """

    def __init__(self, token_id: str, access: Access, expires_in: float = math.inf) -> None:
        self.id: Final = token_id
        self.access: Final = access
        self.token: Final = secrets.token_urlsafe(32)
        self.ends_at: Final = trio.current_time() + expires_in
        self.expires_at: Final = None if expires_in == math.inf else time.time() + expires_in
        self._revoked = False
        self._attached: dict[object, Callable[[str], object]] = {}
        """For each client the function that detaches it, for a reason."""

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return trio.current_time() >= self.ends_at

    def fits(self, token: bytes) -> bool:
        """Return whether this is its token, in constant time."""
        return hmac.compare_digest(token, self.token.encode("ascii"))

    @contextmanager
    def attached(self, client: str | None, detach: Callable[[str], object]) -> Iterator[None]:
        """Note that a client is attached, and detach an older connection of the same client.

        A connection that is lost without a close is found dead only after a while. The client that
        comes back would find its own old size, and its own old claim on the output.
        """
        name: object = object() if client is None else client
        older = self._attached.get(name)
        self._attached[name] = detach
        if older is not None:
            older("replaced by a newer connection")
        if self._revoked:  # Since its token was checked.
            detach(REVOKED)
        try:
            yield
        finally:
            if self._attached.get(name) is detach:
                del self._attached[name]

    def revoke(self) -> None:
        """Detach the clients, and those that are about to attach."""
        self._revoked = True
        for detach in list(self._attached.values()):
            detach(REVOKED)


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
