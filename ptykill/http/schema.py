"""What goes over the wire, as types that validate it; the OpenAPI document is made of them.

This is what msgspec (the extra ``http``) is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ptykill.engine.session import Session, spawn_number
from ptykill.errors import InvalidArgument
from ptykill.http.operations import Create, Resize

__all__ = [
    "MOST_LISTED",
    "CreateBody",
    "Created",
    "Error",
    "ResizeBody",
    "SessionRecord",
    "Sessions",
    "page_of",
    "read_create",
    "read_resize",
    "record_of",
    "size_within",
]

_MOST_ROWS, _MOST_COLS = 500, 1000
_MOST_ARGS, _MOST_VARIABLES = 4096, 4096
MOST_LISTED = 1000
"""So many sessions are in one answer to a list."""
_MOST_TOLD = 1024
"""So many characters of a session's arguments are in a list."""
_WHEN = "milliseconds since the epoch"

Rows = Annotated[int, Meta(description=f"Clamped to 1 to {_MOST_ROWS}.", examples=[24])]
Cols = Annotated[int, Meta(description=f"Clamped to 1 to {_MOST_COLS}.", examples=[80])]
Body = TypeVar("Body")


class CreateBody(msgspec.Struct):
    """What to start. Other fields are ignored; null is as good as left out."""

    command: Annotated[str, Meta(min_length=1, description="A path, or a name looked up in PATH.")]
    args: (
        Annotated[list[str], Meta(max_length=_MOST_ARGS, description="What the command is given.")]
        | None
    ) = None
    env: (
        Annotated[
            dict[str, str],
            Meta(
                max_length=_MOST_VARIABLES,
                description="Laid over the daemon's own environment, without what tells of the"
                " daemon's terminal. `TERM` is `xterm-256color` if left out.",
            ),
        ]
        | None
    ) = None
    working_dir: (
        Annotated[
            str, Meta(description="The daemon's own if left out. `PWD` is set to an absolute one.")
        ]
        | None
    ) = None
    rows: (
        Annotated[
            int, Meta(description=f"Clamped to 1 to {_MOST_ROWS}; 24 if left out.", examples=[24])
        ]
        | None
    ) = None
    cols: (
        Annotated[
            int, Meta(description=f"Clamped to 1 to {_MOST_COLS}; 80 if left out.", examples=[80])
        ]
        | None
    ) = None


class ResizeBody(msgspec.Struct):
    """The window's size in characters."""

    rows: Rows
    cols: Cols


class Created(msgspec.Struct):
    """A session that runs."""

    session_id: Annotated[str, Meta(description="32 hexadecimal digits.")]
    token: Annotated[str, Meta(description="Lets its bearer attach. It is told only here.")]


class SessionRecord(msgspec.Struct):
    """A session, live or ended."""

    session_id: Annotated[str, Meta(description="What the create told.")]
    pid: Annotated[int, Meta(description="The session leader's.")]
    command: Annotated[str, Meta(description="As it was asked for.")]
    args: Annotated[
        list[str],
        Meta(description=f"As they were asked for; the first {_MOST_TOLD} characters in a list."),
    ]
    rows: Annotated[int, Meta(description="The window's, in characters.")]
    cols: Annotated[int, Meta(description="The window's, in characters.")]
    created_at: Annotated[int, Meta(description=f"In {_WHEN}.")]
    ended_at: Annotated[int | None, Meta(description=f"In {_WHEN}; null while it is not over.")]
    exit_code: Annotated[
        int | None,
        Meta(
            description="The leader's exit code, or 128 and the number of the signal that ended it;"
            " null while it lives, and if it can't be known."
        ),
    ]
    is_alive: Annotated[
        bool,
        Meta(
            description="Whether the session is not over; it may be true though the leader is dead."
        ),
    ]
    oom_killed: (
        Annotated[
            bool,
            Meta(
                description="Only there, and true, if the kernel's out-of-memory killer ended"
                " something of the session, as far as its cgroup tells."
            ),
        ]
        | UnsetType
    ) = UNSET
    args_cut: (
        Annotated[
            bool,
            Meta(description="Only there, and true, in a list that does not tell all of `args`."),
        ]
        | UnsetType
    ) = UNSET


class Sessions(msgspec.Struct):
    """Sessions that are known, the oldest first."""

    sessions: Annotated[list[SessionRecord], Meta(description="Live ones and ended ones.")]
    next: (
        Annotated[
            int, Meta(description="Only there if there are more: the `after` that lists these.")
        ]
        | UnsetType
    ) = UNSET


class Error(msgspec.Struct):
    """Why a request was not carried out: every error has this form."""

    error: Annotated[str, Meta(description="A sentence for people.")]
    code: Annotated[
        str,
        Meta(description="A word for programs, one of those listed; later versions may have more."),
    ]


_create = msgspec.json.Decoder(CreateBody)
_resize = msgspec.json.Decoder(ResizeBody)


def read_create(body: bytes) -> Create:
    """Return what a body asks to start. Raises `InvalidArgument`."""
    asked = _read(_create, body)
    rows, cols = size_within(
        24 if asked.rows is None else asked.rows, 80 if asked.cols is None else asked.cols
    )
    return Create(
        command=(asked.command, *(asked.args or ())),
        env=asked.env or {},
        working_dir=asked.working_dir,
        rows=rows,
        cols=cols,
    )


def read_resize(body: bytes, session_id: str) -> Resize:
    """Return the size that a body asks for. Raises `InvalidArgument`."""
    asked = _read(_resize, body)
    return Resize(session_id, *size_within(asked.rows, asked.cols))


def size_within(rows: int, cols: int) -> tuple[int, int]:
    """Return a size as it is taken: clamped, not refused."""
    return min(max(rows, 1), _MOST_ROWS), min(max(cols, 1), _MOST_COLS)


def record_of(session: Session) -> SessionRecord:
    """Return a session as it is told to clients; what is not known is None, never invented."""
    status, ended = session.exit_status, session.ended_at
    return SessionRecord(
        session_id=session.id,
        pid=session.pid,
        command=session.command.args[0],
        args=list(session.command.args[1:]),
        rows=session.rows,
        cols=session.cols,
        created_at=int(1000 * session.created_at),
        ended_at=None if ended is None else int(1000 * ended),
        exit_code=None if status is None else status.shell_code,
        is_alive=ended is None,
        oom_killed=True if status is not None and status.oom_killed else UNSET,
    )


def page_of(sessions: Sequence[Session], limit: int) -> Sessions:
    """Return the first of these sessions as a list tells them: bounded, whatever they are."""
    page = Sessions([_listed(each) for each in sessions[:limit]])
    if len(sessions) > limit:
        page.next = spawn_number(sessions[limit - 1])
    return page


def _listed(session: Session) -> SessionRecord:
    record = record_of(session)
    if sum(map(len, record.args)) > _MOST_TOLD:
        record.args = list(_cut(record.args))
        record.args_cut = True
    return record


def _cut(args: Sequence[str]) -> Iterator[str]:
    left = _MOST_TOLD
    for each in args:
        if left <= 0:
            return
        yield each[:left]
        left -= len(each)


def _read(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the body can't be used: {error}"
        raise InvalidArgument(msg) from None
