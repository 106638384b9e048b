"""Who may ask: whoever bears the key (RFC 6750), from where it is allowed to be asked."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from ptykill.errors import InvalidArgument
from ptykill.http.messages import Request, Response, error_response

__all__ = ["LOOPBACK_HOSTS", "Bearer", "Places", "checked_key"]

LOOPBACK_HOSTS = ("localhost", "*.localhost", "*.local", "127.*", "::1")
"""What a client on the same machine calls a server in ``Host``."""


def checked_key(key: str) -> bytes:
    """Return the bytes of a key. Raises `InvalidArgument` for what can't be one."""
    # An empty key would be one that everybody has: an unset variable, most likely.
    if not key or not key.isprintable() or " " in key:
        msg = "a key is one or more printable characters without spaces; None means no key"
        raise InvalidArgument(msg)
    return key.encode()


class Bearer:
    """Knows the key; None means that the host has authenticated whoever gets here."""

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else checked_key(key)

    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a request without the key.

        How long that takes does not tell how nearly a key was right.
        """
        if self._key is None:
            return None
        values = request.header(b"authorization")
        scheme, _, token = (values[0] if len(values) == 1 else b"").partition(b" ")
        # As bytes: compare_digest refuses a str that is not ASCII, and a header may be anything.
        right = hmac.compare_digest(token.strip(b" "), self._key)
        if right and scheme.lower() == b"bearer":
            return None
        return error_response(
            401, "UNAUTHORIZED", "the key is missing or wrong", (b"www-authenticate", b"Bearer")
        )


class Places:
    """Knows by which names it may be asked, and from which pages.

    ``hosts`` are patterns for ``Host``, without port and brackets; None takes any. A request that
    names its ``Origin``, as a browser does, has to come from a page of this machine or of the host
    that it asks, or of one of ``origins``, which are patterns too (``https://*.example.org``).
    """

    def __init__(self, hosts: Sequence[str] | None, origins: Sequence[str]) -> None:
        for given in (hosts, origins):
            if isinstance(given, str):
                msg = f"a list of patterns is wanted, not {given!r}"
                raise InvalidArgument(msg)
        self._hosts = None if hosts is None else tuple(host.lower() for host in hosts)
        self._origins = tuple(origin.lower() for origin in origins)

    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a request from where none may come."""
        host = _name(b"//" + b",".join(request.header(b"host")))
        if self._hosts is not None and not _is_any(host, self._hosts):
            return error_response(403, "HOST_NOT_ALLOWED", "there is no such host here")
        for origin in request.header(b"origin"):
            place = _name(origin)
            told = origin.decode("latin-1").lower()
            if not (
                (place and (place == host or _is_loopback(place))) or _is_any(told, self._origins)
            ):
                return error_response(
                    403, "ORIGIN_NOT_ALLOWED", "a page of another origin may not ask"
                )
        return None


def _is_any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _name(url: bytes) -> str:
    """Return the host in a URL, in lower case and without brackets; "" if there is none."""
    try:
        return urlsplit(url.decode("latin-1")).hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
