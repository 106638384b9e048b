"""Checks of the bearer key (RFC 6750), `Host` and `Origin`."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from ptykill.errors import InvalidArgument
from ptykill.http.messages import Request, Response, error_response
from ptykill.rules import validate

__all__ = ["LOOPBACK_HOSTS", "PROGRAM_HOSTS", "BearerKey", "HostRules", "checked_key"]

LOOPBACK_HOSTS = ("localhost", "*.localhost", "127.0.0.0/8", "::1")
"""What a client on the same machine calls a server in ``Host``."""
PROGRAM_HOSTS = ("*.local",)
"""What only a program may call it: the public clients send ``Host: SANDBOX.local`` on loopback.

``evil.local`` may be a name of anybody's that resolves to this machine (DNS rebinding). The name of
a page that asks is then in its browser's ``Host``, with the port unless that is 80.
"""

_BROWSER = (b"accept-language", b"cookie", b"referer", b"sec-fetch-", b"sec-ch-")
"""Beginnings of headers that browsers send and pages can't leave out; the public clients do not."""


def checked_key(key: str) -> bytes:
    """Return the bytes of a key. Raises `InvalidArgument` for what can't be one."""
    # An empty key would be one that everybody has: an unset variable, most likely.
    validate.text("key", key)
    if not key or not key.isprintable() or " " in key:
        msg = "a key is one or more printable characters without spaces; None means no key"
        raise InvalidArgument(msg)
    return key.encode()


class BearerKey:
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


class HostRules:
    """Knows by which names it may be asked, and from which pages.

    ``hosts`` are patterns for ``Host``, without port and brackets; None takes any. Names match with
    wildcards. Addresses are compared as addresses: ``127.0.0.1``, ``10.0.0.0/8``, ``::1``, and
    ``10.*`` is no pattern for ``10.evil.example``. ``program_hosts`` are names that are taken as
    well, without a port, from what is no browser. A request that names its ``Origin``, as a browser
    does, has to come from a page of this machine or of the host that it asks, or of one of
    ``origins``, which are patterns too (``https://*.example.org``).
    """

    def __init__(
        self, hosts: Sequence[str] | None, origins: Sequence[str], program_hosts: Sequence[str] = ()
    ) -> None:
        validate.texts("origins", origins)
        if hosts is not None:
            validate.texts("hosts", hosts)
        self._hosts = None if hosts is None else tuple(_Pattern(host) for host in hosts)
        self._programs = tuple(_Pattern(host) for host in program_hosts)
        self._origins = tuple(origin.lower() for origin in origins)

    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a request from where none may come."""
        asked = b"//" + b",".join(request.header(b"host"))
        host = _name(asked)
        by_program = False
        if self._hosts is not None and not any(each.fits(host) for each in self._hosts):
            by_program = any(each.fits(host) for each in self._programs)
            if not by_program or _has_port(asked) or _is_browser(request):
                return error_response(403, "HOST_NOT_ALLOWED", "there is no such host here")
        for origin in request.header(b"origin"):
            place = _name(origin)
            own = place == host and not by_program
            if not ((place and (own or _is_loopback(place))) or self._is_origin(origin, place)):
                return error_response(
                    403, "ORIGIN_NOT_ALLOWED", "a page of another origin may not ask"
                )
        return None

    def _is_origin(self, origin: bytes, place: str) -> bool:
        told = origin.decode("latin-1").lower()
        for pattern in self._origins:
            of_address = _is_numeric(_name(pattern.encode("latin-1", "replace")))
            if fnmatchcase(told, pattern) and not (of_address and _address(place) is None):
                return True
        return False


class _Pattern:
    """What one name may be."""

    def __init__(self, text: str) -> None:
        self._text = text.lower()
        self._network = _network(text)
        self._numeric = _is_numeric(self._text)

    def fits(self, name: str) -> bool:
        """Return whether it may be this name."""
        if self._network is not None:
            address = _address(name)
            return address is not None and address in self._network
        if self._numeric and _address(name) is None:
            return False  # 127.* is not for 127.evil.example.
        return fnmatchcase(name, self._text)


def _is_numeric(pattern: str) -> bool:
    """Return whether a pattern can be meant for addresses only."""
    return bool(set(pattern) & set("0123456789")) and set(pattern) <= set("0123456789.*?")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _name(url: bytes) -> str:
    """Return the host in a URL, in lower case and without brackets; "" if there is none."""
    try:
        return urlsplit(url.decode("latin-1")).hostname or ""
    except ValueError:
        return ""


def _has_port(url: bytes) -> bool:
    return b":" in url.rpartition(b"]")[2]


def _is_browser(request: Request) -> bool:
    """Return whether a request has what no browser leaves out."""
    agents = request.header(b"user-agent")
    return any(name.startswith(_BROWSER) for name, _ in request.headers) or any(
        agent.lower().startswith(b"mozilla/") for agent in agents
    )


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback
