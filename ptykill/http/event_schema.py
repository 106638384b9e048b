"""The data of one event, as the OpenAPI document describes it; `event_stream` makes it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ptykill.http.session_record import WHEN

__all__ = ["Event"]


class Event(msgspec.Struct):
    """What has happened to a session, or to the list of all."""

    id: Annotated[str, Meta(description="What `Last-Event-ID` takes.")]
    number: Annotated[int, Meta(description="One more than that of the event before.")]
    kind: Annotated[
        str,
        Meta(
            description="`created`, `attached`, `detached`, `resized`, `deadlines`, `ending`,"
            " `delivery`, `exited`, `stuck`, `ended`, `dropped` or `reset`; later versions may add"
            " more."
        ),
    ]
    at: Annotated[int, Meta(description=f"In {WHEN}.")]
    session_id: (
        Annotated[str, Meta(description="The session's id; not in a `reset`.")] | UnsetType
    ) = UNSET
    changes: (
        Annotated[
            dict[str, Any],
            Meta(
                description="The fields of the session's record that are different now; with"
                " `created` the whole record, as in a list, without the times of its last input"
                " and output. After `dropped` no list has the session."
            ),
        ]
        | UnsetType
    ) = UNSET
    sessions: (
        Annotated[list[dict[str, Any]], Meta(description="Only in a `reset`: the records of all.")]
        | UnsetType
    ) = UNSET
    why: (
        Annotated[
            str,
            Meta(
                description="Only in an `ending`: `requested`, `exited` (the leader has ended, and"
                " others are left), `lifetime`, `idle` or `detached`."
            ),
        ]
        | UnsetType
    ) = UNSET
    delivery: (
        Annotated[
            dict[str, Any],
            Meta(
                description="Only in a `delivery`: `what` (such as `HUP@session`), how many"
                " processes it has `reached`, the pids for which it was `refused`, and the `error`."
            ),
        ]
        | UnsetType
    ) = UNSET
    verdict: (
        Annotated[
            dict[str, Any],
            Meta(
                description="Only in an `ended` or a `stuck`: `outcome`, `empty`, `containment`,"
                " `caveats` and `took_ms`; if it is not empty, `code` and `error` as of a DELETE."
            ),
        ]
        | UnsetType
    ) = UNSET
