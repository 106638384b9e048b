"""The files of the page, and the headers of its answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ptykill.http.messages import Headers, Response

__all__ = ["FILES", "HEADERS", "load"]

FILES: Final = Path(__file__).parent / "files"
"""The folder of the page's files; below ``vendor`` are those of xterm.js, as npm has them."""
_KINDS: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".mjs": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    b" base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    b" require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final[Headers] = (
    (b"content-security-policy", _POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""The headers of each answer of the page."""


def load() -> Mapping[str, Response]:
    """Read all files; return the answer with each, by its path below the folder."""
    return {
        str(path.relative_to(FILES)): _answer(path)
        for path in sorted(FILES.rglob("*"))
        if path.suffix in _KINDS
    }


def _answer(path: Path) -> Response:
    body = path.read_bytes()
    tag = b'"' + hashlib.sha256(body).hexdigest()[:32].encode("ascii") + b'"'
    # A browser asks each time whether its copy is the newest: a new version shows at once.
    kept = b"no-store" if path.suffix == ".html" else b"no-cache"
    about = (
        (b"content-type", _KINDS[path.suffix]),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", kept),
        (b"etag", tag),
    )
    return Response(200, (*about, *HEADERS), body)
