"""Which call of a `Host` made a session or an attachment.

A caller in another thread may be gone before it gets the session that it asked for. `Host` then
ends that session. A function may also return a session that somebody else has, which must live on;
so each session and attachment remembers the call in which it was made.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["current_call", "made_in"]

current_call: ContextVar[object] = ContextVar("current_call", default=None)
"""The call in which this code runs; None where trio runs it for no other thread."""


def made_in(thing: object, call: object) -> bool:
    """Tell whether a `Session` or an `Attachment` was made in this call."""
    return getattr(thing, "_made_in", None) is call
