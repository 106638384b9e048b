"""Whether a request comes from the page itself, by headers that no page can set."""

from __future__ import annotations

from urllib.parse import urlsplit

from ptykill.http.messages import Request

__all__ = ["is_from_own_page"]


def is_from_own_page(request: Request) -> bool:
    """Return whether a browser has sent this request for a page of our own origin.

    A browser says so in ``Sec-Fetch-Site``, if it trusts the connection: TLS, or loopback.
    Otherwise ``Origin`` has to be our own, with the port: other ports of this machine are other
    people's servers. A GET of one's own origin may have neither. So this is not enough for a GET:
    a cookie needs its proof, too (`ptykill.page.logins`).
    """
    if sites := request.header(b"sec-fetch-site"):
        return sites == [b"same-origin"]
    if origins := request.header(b"origin"):
        return len(origins) == 1 and _place(origins[0]) in request.header(b"host")
    return request.method in {"GET", "HEAD"}


def _place(origin: bytes) -> bytes:
    """Return the host and port of an origin; b"" if it is none."""
    try:
        parts = urlsplit(origin.decode("ascii"))
    except ValueError:
        return b""
    return parts.netloc.encode("ascii") if parts.scheme in {"http", "https"} else b""
