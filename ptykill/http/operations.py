"""The operations that requests ask for: `Api.read` makes them, and `perform` carries them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

from ptykill.http.grants import Access
from ptykill.http.messages import Login
from ptykill.rules.deadlines import Deadlines
from ptykill.rules.naming import Selector
from ptykill.rules.steps import Reach

__all__ = [
    "Attach",
    "Create",
    "Events",
    "Get",
    "Interrupt",
    "IssueTicket",
    "IssueToken",
    "Kill",
    "KillMatching",
    "List",
    "ListProcesses",
    "Operation",
    "Resize",
    "RevokeToken",
    "SetDeadlines",
    "SignalProcesses",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Kill:
    """End a session; ``grace`` in seconds, None for that of the session's plan."""

    session_id: str
    grace: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class KillMatching:
    """End all sessions that are selected; ``grace`` as in `Kill`."""

    selector: Selector
    grace: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Get:
    """Show one session."""

    session_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class List:
    """Show the oldest ``limit`` selected sessions of those with a spawn number above ``after``."""

    after: int = 0
    limit: int = 1000
    selector: Selector = dataclasses.field(default_factory=Selector)


@dataclasses.dataclass(frozen=True, slots=True)
class Create:
    """Start a session; ``env`` is added to the environment of the host (`pty.environment`)."""

    command: tuple[str, ...]
    env: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    working_dir: str | None = None
    rows: int = 24
    cols: int = 80
    name: str | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    key: str | None = None
    memory_max: int | None = None
    pids_max: int | None = None
    cpu_max: float | None = None
    deadlines: Deadlines = dataclasses.field(default_factory=Deadlines)


@dataclasses.dataclass(frozen=True, slots=True)
class Resize:
    """Set the size of a session's window, in characters; 0 leaves a dimension as it is."""

    session_id: str
    rows: int
    cols: int


@dataclasses.dataclass(frozen=True, slots=True)
class ListProcesses:
    """List the processes of a session."""

    session_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class SignalProcesses:
    """Send a signal to processes of a session."""

    session_id: str
    name: str
    reach: Reach


@dataclasses.dataclass(frozen=True, slots=True)
class Interrupt:
    """Do what Ctrl-C does in a session's terminal."""

    session_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class SetDeadlines:
    """Replace the deadlines of a session; None stands for the supervisor's."""

    session_id: str
    deadlines: Deadlines


@dataclasses.dataclass(frozen=True, slots=True)
class IssueToken:
    """Issue a token of a session, valid for ``expires_in`` seconds."""

    session_id: str
    access: Access
    expires_in: float


@dataclasses.dataclass(frozen=True, slots=True)
class IssueTicket:
    """Issue a ticket, by which one client may attach to a session once."""

    session_id: str
    access: Access
    login: Login | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RevokeToken:
    """End a token of a session, and detach its clients."""

    session_id: str
    token_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Attach:
    """Attach a WebSocket to a session; ``token`` is one of the session's (`Tokens`).

    ``ticket`` is one for the session (`Tickets`), and needs no token; None without one.

    ``since`` is the offset in the output to go on from; None for a client that does not give one.
    ``client`` is the name that a client has given itself; an older connection with the same one is
    closed.
    """

    session_id: str
    token: str = dataclasses.field(repr=False)
    since: int | None = None
    client: str | None = None
    ticket: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Events:
    """Send all events after the one with the id ``since``; None begins with a reset."""

    since: str | None = None


Operation: TypeAlias = (
    Kill
    | KillMatching
    | Get
    | List
    | Create
    | Resize
    | SetDeadlines
    | ListProcesses
    | SignalProcesses
    | Interrupt
    | IssueToken
    | IssueTicket
    | RevokeToken
)
"""The operations with one response each; `Attach` has a conversation instead, `Events` a stream."""
