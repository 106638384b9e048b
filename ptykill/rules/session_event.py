"""What has happened to a session: the events that a supervisor gives out."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from ptykill.rules.verdict import Delivery, EndReason, Verdict

__all__ = ["EventKind", "SessionEvent"]


class EventKind(enum.StrEnum):
    """What has happened."""

    CREATED = "created"
    """A session was started; ``changes`` has its whole record."""
    ATTACHED = "attached"
    """A client has attached."""
    DETACHED = "detached"
    """A client has detached, or was dropped."""
    RESIZED = "resized"
    """The window has another size."""
    DEADLINES = "deadlines"
    """The deadlines were changed."""
    ENDING = "ending"
    """A plan has begun; ``why`` has the reason: `EXITED <EndReason.EXITED>` if the
    leader has ended by itself, and other processes are left."""
    DELIVERY = "delivery"
    """A step of the plan was delivered, or has failed; so was the first round of SIGKILL."""
    EXITED = "exited"
    """The leader is dead; processes of the session may be left."""
    STUCK = "stuck"
    """A process has outlived the kill bound; ``verdict`` names it."""
    ENDED = "ended"
    """The session is over; ``verdict`` says how it went."""
    DROPPED = "dropped"
    """The session's record was dropped: no list has it any more."""
    RESET = "reset"
    """Events are missing before this one. ``sessions`` has the records of all sessions."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent:
    """One event.

    A reader that applies ``changes`` of each to the records of a `RESET` has the list of sessions.
    """

    id: str
    """What ``since`` takes."""
    number: int
    """It grows by one with each event of a supervisor; 0 before the first."""
    kind: EventKind
    """What has happened."""
    at: float
    """When, in seconds since the epoch."""
    session_id: str = ""
    """The session's id; empty for a reset."""
    changes: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """The fields of the session's record that are different now, by their names in the HTTP API;
    times in it are in seconds."""
    why: EndReason | None = None
    """The cause of the end, for `ENDING`."""
    delivery: Delivery | None = None
    """What was delivered, for `DELIVERY`, without times: they are relative to the teardown."""
    verdict: Verdict | None = None
    """The verdict, for `ENDED` and `STUCK`."""
    sessions: tuple[Mapping[str, object], ...] = ()
    """The records of all sessions, for `RESET`."""
