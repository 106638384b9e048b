"""What a request can ask for, once it has been read; and what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

from ptykill.verdict import Verdict

__all__ = ["Create", "Created", "Get", "Kill", "List", "Operation", "Result", "SessionRecord"]

SessionRecord: TypeAlias = dict[str, object]
"""A session as it is told to clients: a JSON object, without the token."""


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
    """Show all sessions."""


@dataclasses.dataclass(frozen=True, slots=True)
class Create:
    """Start a session; ``env`` is laid over the host's environment."""

    command: tuple[str, ...]
    env: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    working_dir: str | None = None
    rows: int = 24
    cols: int = 80


@dataclasses.dataclass(frozen=True, slots=True)
class Created:
    """A session just started, and the token that lets a client attach to it."""

    session_id: str
    token: str = dataclasses.field(repr=False)


Operation: TypeAlias = Kill | Get | List | Create
Result: TypeAlias = Verdict | SessionRecord | list[SessionRecord] | Created
"""What comes of `Kill`, `Get`, `List` and `Create`, in this order."""
