"""Who has logged in: a cookie and a proof for each login, and codes that log in once.

The cookie is HttpOnly, so a script can't read it. But browsers send it to every port of a host: to
other servers of this machine, too. So it counts only together with a proof, which the page keeps in
its origin's storage, and which no other origin can read.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from ptykill.http.messages import Login

__all__ = ["CODE_SECONDS", "LOGIN_SECONDS", "Logins", "NewLogin"]

LOGIN_SECONDS: Final = 12 * 3600
"""Seconds for which a login is valid."""
CODE_SECONDS: Final = 300
"""Seconds for which a code is valid."""
MOST: Final = 1000
"""The most logins at once; the oldest one ends for a new one. Codes have the same bound."""


class NewLogin(NamedTuple):
    """What a browser gets when it logs in. No other answer has it."""

    cookie: str
    proof: str


class _Entry(NamedTuple):
    id: str
    proof: bytes
    ends_at: float


class Logins:
    """The logins and the unused codes of one page; only digests of them are kept.

    ``clock`` returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logins: dict[bytes, _Entry] = {}
        self._codes: dict[bytes, float] = {}

    def issue_code(self) -> str:
        """Return a code (256 random bits) that logs in once, within `CODE_SECONDS`."""
        code = secrets.token_urlsafe(32)
        self._codes[_digest(code)] = self._clock() + CODE_SECONDS
        _drop_oldest(self._codes)
        return code

    def redeem(self, code: str) -> bool:
        """Return whether a code is valid; it is used up."""
        ends_at = self._codes.pop(_digest(code), None)
        return ends_at is not None and self._clock() < ends_at

    def begin(self) -> NewLogin:
        """Begin a login."""
        new = NewLogin(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        ends_at = self._clock() + LOGIN_SECONDS
        self._logins[_digest(new.cookie)] = _Entry(
            secrets.token_hex(8), _digest(new.proof), ends_at
        )
        _drop_oldest(self._logins)
        return new

    def check(self, cookie: str, proof: str) -> Login | None:
        """Return the login of a cookie and its proof; None if there is none, or it has ended."""
        entry = self._logins.get(_digest(cookie))
        if entry is None or not hmac.compare_digest(entry.proof, _digest(proof)):
            return None
        seconds = entry.ends_at - self._clock()
        return Login(entry.id, seconds) if seconds > 0 else None

    def end(self, cookie: str) -> str | None:
        """End the login of a cookie, and return its id; None if there is none."""
        entry = self._logins.pop(_digest(cookie), None)
        return None if entry is None else entry.id

    def lives(self, login: Login) -> bool:
        """Return whether a login goes on."""
        now = self._clock()
        return any(each.id == login.id and now < each.ends_at for each in self._logins.values())


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _drop_oldest(entries: dict[bytes, _Entry] | dict[bytes, float]) -> None:
    while len(entries) > MOST:
        del entries[next(iter(entries))]
