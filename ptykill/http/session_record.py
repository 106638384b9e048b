"""The JSON bodies that tell of sessions: a session's record, and a list of records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ptykill.engine.record import MOST_CHARACTERS, cut, status_of
from ptykill.engine.session import Session, spawn_number
from ptykill.http.deadline_schema import DeadlinesBody, deadlines_body
from ptykill.http.usage import SessionUsage, usage_of

__all__ = [
    "MOST_LISTED",
    "WHEN",
    "SessionRecord",
    "Sessions",
    "page_of",
    "record_of",
    "record_with_usage",
]

MOST_LISTED = 1000
"""The most sessions in one answer to a list."""
WHEN = "milliseconds since the epoch"
_OURS = "Not in Tensorlake's API."


class SessionRecord(msgspec.Struct):
    """A session, live or ended."""

    session_id: Annotated[str, Meta(description="The session's id, as returned by create.")]
    pid: Annotated[int, Meta(description="The pid of the session leader.")]
    command: Annotated[str, Meta(description="The command, as in the create.")]
    args: Annotated[
        list[str],
        Meta(
            description="The arguments, as in the create; a list has only the first"
            f" {MOST_CHARACTERS} characters."
        ),
    ]
    rows: Annotated[int, Meta(description="The height of the window, in characters.")]
    cols: Annotated[int, Meta(description="The width of the window, in characters.")]
    created_at: Annotated[int, Meta(description=f"In {WHEN}.")]
    ended_at: Annotated[
        int | None, Meta(description=f"In {WHEN}; null while the session is not over.")
    ]
    exit_code: Annotated[
        int | None,
        Meta(
            description="The leader's exit code, or 128 plus the number of the signal that ended"
            " it; null while the leader lives, or if its status can't be known."
        ),
    ]
    is_alive: Annotated[
        bool,
        Meta(description="Whether the session is not over; this can be true with a dead leader."),
    ]
    status: Annotated[
        str,
        Meta(
            description=f"{_OURS} `running`; `ending`: the end was requested, or the leader is dead"
            " and other processes are left; `stuck`: a process outlived the kill bound; or `ended`."
        ),
    ]
    client_count: Annotated[int, Meta(description=f"{_OURS} How many clients are attached.")]
    name: Annotated[str | None, Meta(description=f"{_OURS} As in the create; null without one.")]
    labels: Annotated[dict[str, str], Meta(description=f"{_OURS} As in the create.")]
    last_input_at: Annotated[
        int | None,
        Meta(description=f"{_OURS} When input was last typed, in {WHEN}; null if never."),
    ]
    last_output_at: Annotated[
        int | None,
        Meta(description=f"{_OURS} When there was last output, in {WHEN}; null if never."),
    ]
    end_reason: Annotated[
        str | None,
        Meta(
            description=f"{_OURS} The first cause of the end: `exited`, `requested`, or a deadline,"
            " `lifetime`, `idle` or `detached`; null while there is none."
        ),
    ]
    deadlines: Annotated[DeadlinesBody, Meta(description=f"{_OURS} Those in force.")]
    oom_killed: (
        Annotated[
            bool,
            Meta(
                description="Present, and true, only if the kernel's out-of-memory killer has"
                " killed a process of the session, as far as its cgroup counts that."
            ),
        ]
        | UnsetType
    ) = UNSET
    usage: (
        Annotated[
            SessionUsage,
            Meta(
                description=f"{_OURS} What the session has used; until its end it is present only"
                " in the answer to a get."
            ),
        ]
        | UnsetType
    ) = UNSET
    args_cut: (
        Annotated[
            bool,
            Meta(description="Present, and true, only in a list that does not have all of `args`."),
        ]
        | UnsetType
    ) = UNSET


class Sessions(msgspec.Struct):
    """A list of sessions, the oldest first."""

    sessions: Annotated[list[SessionRecord], Meta(description="Live ones and ended ones.")]
    next: (
        Annotated[
            int, Meta(description="Present only if there are more: the `after` of the next list.")
        ]
        | UnsetType
    ) = UNSET
    event_id: (
        Annotated[
            str,
            Meta(
                description=f"{_OURS} The id of the newest event: with it as `Last-Event-ID`, the"
                " stream of events goes on from this list."
            ),
        ]
        | UnsetType
    ) = UNSET


def record_of(session: Session) -> SessionRecord:
    """Return the record of a session for clients; a value that is not known is None."""
    status, ended = session.exit_status, session.ended_at
    return SessionRecord(
        session_id=session.id,
        pid=session.pid,
        command=session.command.args[0],
        args=list(session.command.args[1:]),
        rows=session.rows,
        cols=session.cols,
        created_at=int(1000 * session.created_at),
        ended_at=_ms(ended),
        exit_code=None if status is None else status.shell_code,
        is_alive=ended is None,
        status=status_of(session),
        client_count=session.attached,
        name=session.name,
        labels=dict(session.labels),
        last_input_at=_ms(session.last_input_at),
        last_output_at=_ms(session.last_output_at),
        end_reason=None if session.end_reason is None else session.end_reason.value,
        deadlines=deadlines_body(session.deadlines),
        oom_killed=True if status is not None and status.oom_killed else UNSET,
        usage=UNSET if ended is None else usage_of(session),
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(1000 * seconds)


def record_with_usage(session: Session) -> SessionRecord:
    """Return the record of a session, with what it has used until now.

    That takes a look at each of its processes, so a list does not have it.
    """
    record = record_of(session)
    record.usage = usage_of(session)
    return record


def page_of(sessions: Sequence[Session], limit: int, event_id: str) -> Sessions:
    """Return the answer to a list: the first ``limit`` sessions, with their arguments cut."""
    page = Sessions([_listed(each) for each in sessions[:limit]], event_id=event_id)
    if len(sessions) > limit:
        page.next = spawn_number(sessions[limit - 1])
    return page


def _listed(session: Session) -> SessionRecord:
    record = record_of(session)
    if sum(map(len, record.args)) > MOST_CHARACTERS:
        record.args = cut(record.args)
        record.args_cut = True
    return record
