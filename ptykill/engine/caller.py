"""Records which call of a `Host` made a session or an attachment.

A caller in another thread may be cancelled before it gets the session that it asked for. `Host`
then ends that session. But a call may also return an older session, which other callers use, and
which must live on. So each session and attachment has the call in which it was made.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["current_call", "made_in"]

current_call: ContextVar[object] = ContextVar("current_call", default=None)
"""The call of a `Host` in which this code runs; None if it runs in no such call."""


def made_in(thing: object, call: object) -> bool:
    """Return whether a `Session` or an `Attachment` was made in this call."""
    return getattr(thing, "_made_in", None) is call
