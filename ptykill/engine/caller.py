"""Who asked: what tells a session that was made for one caller from all others.

A caller at another thread's door may be gone when its session is there. The door then ends that
session, and no other: a function may as well return one that somebody else has.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["made_for"]

made_for: ContextVar[object] = ContextVar("made_for", default=None)
"""The call through a door in which this code runs; None where there is no door."""
