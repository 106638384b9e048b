"""Who may ask: the bearer key (RFC 6750)."""

from __future__ import annotations

import hmac

from ptykill.errors import InvalidArgument
from ptykill.http.messages import Request

__all__ = ["Bearer"]


class Bearer:
    """Knows the key; None means that the host has authenticated whoever gets here."""

    def __init__(self, key: str | None) -> None:
        # An empty key would be one that everybody has: an unset variable, most likely.
        if key is not None and (not key or not key.isprintable() or " " in key):
            msg = "a key is one or more printable characters without spaces; None means no key"
            raise InvalidArgument(msg)
        self._key = None if key is None else key.encode()

    def admits(self, request: Request) -> bool:
        """Return whether the request bears the key, in a time that does not tell how nearly."""
        if self._key is None:
            return True
        values = request.header(b"authorization")
        if len(values) != 1:
            return False
        scheme, _, token = values[0].partition(b" ")
        # As bytes: compare_digest refuses a str that is not ASCII, and a header may be anything.
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(b" "), self._key)
