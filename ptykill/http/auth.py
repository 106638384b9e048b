"""Checks of the bearer key (RFC 6750), `Host` and `Origin`."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from ptykill.errors import InvalidArgument
from ptykill.http.messages import PageRequest, Request, Response, error_response
from ptykill.rules import validate

__all__ = ["LOOPBACK_HOSTS", "PROGRAM_HOSTS", "BearerKey", "HostRules", "checked_key"]

LOOPBACK_HOSTS = ("localhost", "*.localhost", "127.0.0.0/8", "::1")
"""Patterns of ``Host`` by which a client on the same machine names a server."""
PROGRAM_HOSTS = ("*.local",)
"""Patterns of ``Host`` that only programs may use: the public clients send ``SANDBOX.local``.

An attacker may have ``evil.local`` resolve to this machine (DNS rebinding). A browser then sends
that name, the name of the attacker's page, in ``Host``, with the port unless that is 80.
"""

_BROWSER = (b"accept-language", b"cookie", b"referer", b"sec-fetch-", b"sec-ch-")
"""Prefixes of headers that browsers send, and pages can't remove; the public clients send none."""


def checked_key(key: str) -> bytes:
    """Return the bytes of a key. Raises `InvalidArgument` for an invalid key."""
    # An empty key is most likely an unset variable, and would admit every client.
    validate.text("key", key)
    if not key or not key.isprintable() or " " in key:
        msg = "a key is one or more printable characters without spaces; None means no key"
        raise InvalidArgument(msg)
    return key.encode()


class BearerKey:
    """Checks the key of requests; None means that the host has authenticated the clients."""

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else checked_key(key)

    @property
    def needed(self) -> bool:
        """Whether there is a key."""
        return self._key is not None

    def refusal(self, request: Request) -> Response | None:
        """Return the response to a request without the key; None if it has the key, or a login.

        The comparison takes constant time, so that its time reveals nothing about the key.
        """
        if self._key is None or isinstance(request, PageRequest):
            return None
        values = request.header(b"authorization")
        scheme, _, token = (values[0] if len(values) == 1 else b"").partition(b" ")
        if self.fits(token.strip(b" ")) and scheme.lower() == b"bearer":
            return None
        return error_response(
            401, "UNAUTHORIZED", "the key is missing or wrong", (b"www-authenticate", b"Bearer")
        )

    def fits(self, key: bytes) -> bool:
        """Return whether this is the key, in constant time; never if there is none."""
        # As bytes: compare_digest refuses a str that is not ASCII, and a header may have any bytes.
        return self._key is not None and hmac.compare_digest(key, self._key)


class HostRules:
    """Checks the ``Host`` and ``Origin`` of requests.

    ``hosts`` are patterns for ``Host``, without port and brackets; None allows any. Names match
    with wildcards. Addresses are compared as addresses: ``127.0.0.1``, ``10.0.0.0/8``, ``::1``; and
    ``10.*`` does not match ``10.evil.example``. ``program_hosts`` are patterns for ``Host`` that
    are allowed as well, without a port, in requests that do not come from a browser. A browser
    sends the ``Origin`` of the page that makes a request. It must be an origin on loopback, or on
    the request's own ``Host``, or match one of ``origins`` (such as ``https://*.example.org``).
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
        """Return the response to a request with a forbidden ``Host`` or ``Origin``; else None."""
        asked = b"//" + b",".join(request.header(b"host"))
        host = _name(asked)
        by_program = False
        if self._hosts is not None and not any(each.fits(host) for each in self._hosts):
            by_program = any(each.fits(host) for each in self._programs)
            if not by_program or _has_port(asked) or _is_browser(request):
                return error_response(403, "HOST_NOT_ALLOWED", "this Host is not allowed")
        for origin in request.header(b"origin"):
            place = _name(origin)
            own = place == host and not by_program
            if not ((place and (own or _is_loopback(place))) or self._is_origin(origin, place)):
                return error_response(403, "ORIGIN_NOT_ALLOWED", "this Origin is not allowed")
        return None

    def _is_origin(self, origin: bytes, place: str) -> bool:
        text = origin.decode("latin-1").lower()
        for pattern in self._origins:
            of_address = _is_numeric(_name(pattern.encode("latin-1", "replace")))
            if fnmatchcase(text, pattern) and not (of_address and _address(place) is None):
                return True
        return False


class _Pattern:
    """A pattern for the name or the address of a host."""

    def __init__(self, text: str) -> None:
        self._text = text.lower()
        self._network = _network(text)
        self._numeric = _is_numeric(self._text)

    def fits(self, name: str) -> bool:
        """Return whether a name, or an address, matches."""
        if self._network is not None:
            address = _address(name)
            return address is not None and address in self._network
        if self._numeric and _address(name) is None:
            return False  # 127.* is not for 127.evil.example.
        return fnmatchcase(name, self._text)


def _is_numeric(pattern: str) -> bool:
    """Return whether a pattern can only mean IPv4 addresses."""
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
    """Return whether a request has a header that only browsers send."""
    agents = request.header(b"user-agent")
    return any(name.startswith(_BROWSER) for name, _ in request.headers) or any(
        agent.lower().startswith(b"mozilla/") for agent in agents
    )


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback
