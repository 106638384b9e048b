"""The operations that requests ask for: `Api.read` makes them, and `perform` carries them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["Attach", "Create", "Get", "Kill", "List", "Operation", "Resize"]


@dataclasses.dataclass(frozen=True, slots=True)
class Kill:
    """End a session; ``grace`` in seconds, None for that of the session's plan."""

    session_id: str
    grace: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Get:
    """Show one session."""

    session_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class List:
    """Show the oldest ``limit`` sessions of those with a spawn number above ``after``."""

    after: int = 0
    limit: int = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Create:
    """Start a session; ``env`` is added to the environment of the host (`pty.environment`)."""

    command: tuple[str, ...]
    env: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    working_dir: str | None = None
    rows: int = 24
    cols: int = 80


@dataclasses.dataclass(frozen=True, slots=True)
class Resize:
    """Set the size of a session's window, in characters."""

    session_id: str
    rows: int
    cols: int


@dataclasses.dataclass(frozen=True, slots=True)
class Attach:
    """Attach a WebSocket to a session; ``token`` is the one that its create returned."""

    session_id: str
    token: str = dataclasses.field(repr=False)


Operation: TypeAlias = Kill | Get | List | Create | Resize
"""The operations with one response each; `Attach` has a conversation instead."""
