"""The bodies of the answers to a kill of all sessions that match."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

__all__ = ["End", "Ends", "FailedEnds"]


class End(msgspec.Struct, omit_defaults=True):
    """How the kill of one session has ended."""

    session_id: Annotated[str, Meta(description="The session's id.")]
    ended: Annotated[
        bool, Meta(description="Whether the session is over: no process of it is left.")
    ]
    took_ms: Annotated[
        float, Meta(description="From the first kill, or the leader's own exit, to the verdict.")
    ]
    code: (
        Annotated[str, Meta(description="Present only if it is not over: an error code.")]
        | UnsetType
    ) = UNSET
    error: (
        Annotated[str, Meta(description="Present only if it is not over: a sentence for people.")]
        | UnsetType
    ) = UNSET


class Ends(msgspec.Struct):
    """The sessions that matched, the oldest first; all are over."""

    sessions: Annotated[list[End], Meta(description="Each with the result of its kill.")]


class FailedEnds(msgspec.Struct):
    """The reason why a kill of sessions failed, and the result of each."""

    error: Annotated[str, Meta(description="A sentence for people.")]
    code: Annotated[str, Meta(description="A code for programs.")]
    sessions: Annotated[
        list[End] | UnsetType,
        Meta(description="The sessions that matched, the oldest first; with `SESSIONS_NOT_EMPTY`."),
    ] = UNSET
