"""Reads the trace that a request belongs to, for the log (W3C Trace Context, level 1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["trace_of"]

_PARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


def trace_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the ``traceparent`` of a request, as a field for the log; none if it is invalid."""
    found = [value for name, value in headers if name.lower() == b"traceparent"]
    if len(found) != 1 or _PARENT.fullmatch(found[0]) is None:
        return {}
    return {"traceparent": found[0].decode("ascii")}
