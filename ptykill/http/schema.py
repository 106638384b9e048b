"""The JSON bodies of requests and responses, as msgspec types that validate them.

`openapi` makes the OpenAPI document from these types. msgspec comes with the extra ``http``.
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
"""The most sessions in one answer to a list."""
_MOST_CHARACTERS = 1024
"""The most characters of a session's arguments in a list."""
_WHEN = "milliseconds since the epoch"

Rows = Annotated[int, Meta(description=f"Clamped to 1 to {_MOST_ROWS}.", examples=[24])]
Cols = Annotated[int, Meta(description=f"Clamped to 1 to {_MOST_COLS}.", examples=[80])]
Body = TypeVar("Body")


class CreateBody(msgspec.Struct):
    """The program to start. Other fields are ignored; null is the same as left out."""

    command: Annotated[str, Meta(min_length=1, description="A path, or a name looked up in PATH.")]
    args: (
        Annotated[list[str], Meta(max_length=_MOST_ARGS, description="The command's arguments.")]
        | None
    ) = None
    env: (
        Annotated[
            dict[str, str],
            Meta(
                max_length=_MOST_VARIABLES,
                description="Added to the daemon's own environment, from which the variables that"
                " describe the daemon's terminal are removed. `TERM` is `xterm-256color` if left"
                " out.",
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
    """The new size of the terminal's window, in characters."""

    rows: Rows
    cols: Cols


class Created(msgspec.Struct):
    """The session that was created."""

    session_id: Annotated[str, Meta(description="32 hexadecimal digits.")]
    token: Annotated[
        str, Meta(description="Needed to attach. No other answer than this one has it.")
    ]


class SessionRecord(msgspec.Struct):
    """A session, live or ended."""

    session_id: Annotated[str, Meta(description="The session's id, as returned by create.")]
    pid: Annotated[int, Meta(description="The pid of the session leader.")]
    command: Annotated[str, Meta(description="The command, as in the create.")]
    args: Annotated[
        list[str],
        Meta(
            description="The arguments, as in the create; a list has only the first"
            f" {_MOST_CHARACTERS} characters."
        ),
    ]
    rows: Annotated[int, Meta(description="The height of the window, in characters.")]
    cols: Annotated[int, Meta(description="The width of the window, in characters.")]
    created_at: Annotated[int, Meta(description=f"In {_WHEN}.")]
    ended_at: Annotated[
        int | None, Meta(description=f"In {_WHEN}; null while the session is not over.")
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


class Error(msgspec.Struct):
    """The reason why a request failed: every error has this form."""

    error: Annotated[str, Meta(description="A sentence for people.")]
    code: Annotated[
        str,
        Meta(description="A code for programs, one of those listed; later versions may add more."),
    ]


_create = msgspec.json.Decoder(CreateBody)
_resize = msgspec.json.Decoder(ResizeBody)


def read_create(body: bytes) -> Create:
    """Decode the body of a create. Raises `InvalidArgument`."""
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
    """Decode the body of a resize. Raises `InvalidArgument`."""
    asked = _read(_resize, body)
    return Resize(session_id, *size_within(asked.rows, asked.cols))


def size_within(rows: int, cols: int) -> tuple[int, int]:
    """Clamp a window's size to the limits; a size out of range is not refused."""
    return min(max(rows, 1), _MOST_ROWS), min(max(cols, 1), _MOST_COLS)


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
        ended_at=None if ended is None else int(1000 * ended),
        exit_code=None if status is None else status.shell_code,
        is_alive=ended is None,
        oom_killed=True if status is not None and status.oom_killed else UNSET,
    )


def page_of(sessions: Sequence[Session], limit: int) -> Sessions:
    """Return the answer to a list: the first ``limit`` sessions, with their arguments cut."""
    page = Sessions([_listed(each) for each in sessions[:limit]])
    if len(sessions) > limit:
        page.next = spawn_number(sessions[limit - 1])
    return page


def _listed(session: Session) -> SessionRecord:
    record = record_of(session)
    if sum(map(len, record.args)) > _MOST_CHARACTERS:
        record.args = list(_cut(record.args))
        record.args_cut = True
    return record


def _cut(args: Sequence[str]) -> Iterator[str]:
    left = _MOST_CHARACTERS
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
