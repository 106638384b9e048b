"""What a request can ask for, once it has been read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["Attach", "Create", "Get", "Kill", "List", "Operation", "Resize"]


@dataclasses.dataclass(frozen=True, slots=True)
class Kill:
    """End a session; ``grace`` in seconds, None for what the session's plan says."""

    session_id: str
    grace: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Get:
    """Show one session."""

    session_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class List:
    """Show the oldest ``limit`` sessions of those numbered above ``after``."""

    after: int = 0
    limit: int = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Create:
    """Start a session; ``env`` is laid over the host's environment (`pty.environment`)."""

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
    """Talk to a session over a WebSocket; ``token`` is the one that its create told."""

    session_id: str
    token: str = dataclasses.field(repr=False)


Operation: TypeAlias = Kill | Get | List | Create | Resize
"""What one answer can tell about; `Attach` is a conversation."""
