"""A client's right to a session, and the clients that are attached by it."""

from __future__ import annotations

import enum
import hmac
import math
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

__all__ = ["REVOKED", "Access", "Grant"]

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

    @property
    def revoked(self) -> bool:
        """Whether it was revoked."""
        return self._revoked

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
