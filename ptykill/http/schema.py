"""The JSON bodies of requests and responses, as msgspec types that validate them.

`openapi` makes the OpenAPI document from these types. msgspec comes with the extra ``http``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ptykill.engine.record import MOST_CHARACTERS, cut, status_of
from ptykill.engine.session import Session, spawn_number
from ptykill.errors import InvalidArgument
from ptykill.http.deadline_schema import DeadlinesBody, deadlines_body, deadlines_of
from ptykill.http.operations import Create, Resize, SetDeadlines
from ptykill.http.usage import CpuMax, MemoryMax, PidsMax, SessionUsage, usage_of
from ptykill.rules.naming import LONGEST_NAME, MOST_LABELS

__all__ = [
    "MOST_LISTED",
    "OURS",
    "WHEN",
    "CreateBody",
    "Created",
    "Error",
    "ResizeBody",
    "SessionRecord",
    "Sessions",
    "decode",
    "page_of",
    "read_create",
    "read_deadlines",
    "read_resize",
    "record_of",
    "record_with_usage",
    "size_within",
]

_MOST_ROWS, _MOST_COLS = 500, 1000
_MOST_ARGS, _MOST_VARIABLES = 4096, 4096
MOST_LISTED = 1000
"""The most sessions in one answer to a list."""
WHEN = "milliseconds since the epoch"
OURS = "Not in Tensorlake's API."

_KEPT = "0 leaves it as it is."
Rows = Annotated[int, Meta(description=f"Clamped to 1 to {_MOST_ROWS}; {_KEPT}", examples=[24])]
Cols = Annotated[int, Meta(description=f"Clamped to 1 to {_MOST_COLS}; {_KEPT}", examples=[80])]
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
            int,
            Meta(description=f"Clamped to 1 to {_MOST_ROWS}; 24 if 0 or left out.", examples=[24]),
        ]
        | None
    ) = None
    cols: (
        Annotated[
            int,
            Meta(description=f"Clamped to 1 to {_MOST_COLS}; 80 if 0 or left out.", examples=[80]),
        ]
        | None
    ) = None
    name: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=LONGEST_NAME,
                description=f"{OURS} Letters, digits, dots, dashes and underscores; it begins with"
                " a letter or a digit, and is not 32 hexadecimal digits. No two live sessions have"
                " the same name.",
                examples=["build-7"],
            ),
        ]
        | None
    ) = None
    labels: (
        Annotated[
            dict[str, str],
            Meta(
                max_length=MOST_LABELS,
                description=f"{OURS} Lists and kills can select by them. A label has the"
                " characters of a name, and the slash; its value has up to"
                f" {LONGEST_NAME} printable characters.",
                examples=[{"team": "ci"}],
            ),
        ]
        | None
    ) = None
    memory_max: MemoryMax | None = None
    pids_max: PidsMax | None = None
    cpu_max: CpuMax | None = None
    deadlines: DeadlinesBody | None = None


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
            description=f"{OURS} `running`; `ending`: the end was requested, or the leader is dead"
            " and other processes are left; `stuck`: a process outlived the kill bound; or `ended`."
        ),
    ]
    client_count: Annotated[int, Meta(description=f"{OURS} How many clients are attached.")]
    name: Annotated[str | None, Meta(description=f"{OURS} As in the create; null without one.")]
    labels: Annotated[dict[str, str], Meta(description=f"{OURS} As in the create.")]
    last_input_at: Annotated[
        int | None,
        Meta(description=f"{OURS} When input was last typed, in {WHEN}; null if never."),
    ]
    last_output_at: Annotated[
        int | None,
        Meta(description=f"{OURS} When there was last output, in {WHEN}; null if never."),
    ]
    end_reason: Annotated[
        str | None,
        Meta(
            description=f"{OURS} The first cause of the end: `exited`, `requested`, or a deadline,"
            " `lifetime`, `idle` or `detached`; null while there is none."
        ),
    ]
    deadlines: Annotated[DeadlinesBody, Meta(description=f"{OURS} Those in force.")]
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
                description=f"{OURS} What the session has used; until its end it is present only"
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
                description=f"{OURS} The id of the newest event: with it as `Last-Event-ID`, the"
                " stream of events goes on from this list."
            ),
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
_deadlines = msgspec.json.Decoder(DeadlinesBody)
_resize = msgspec.json.Decoder(ResizeBody)


def read_create(body: bytes, key: str | None = None) -> Create:
    """Decode the body of a create; ``key`` is its idempotency key. Raises `InvalidArgument`."""
    asked = decode(_create, body)
    rows, cols = size_within(asked.rows or 24, asked.cols or 80)
    return Create(
        command=(asked.command, *(asked.args or ())),
        env=asked.env or {},
        working_dir=asked.working_dir,
        rows=rows,
        cols=cols,
        name=asked.name,
        labels=asked.labels or {},
        deadlines=deadlines_of(asked.deadlines),
        key=key,
        memory_max=asked.memory_max,
        pids_max=asked.pids_max,
        cpu_max=asked.cpu_max,
    )


def read_resize(body: bytes, session_id: str) -> Resize:
    """Decode the body of a resize. Raises `InvalidArgument`."""
    asked = decode(_resize, body)
    return Resize(session_id, *size_within(asked.rows, asked.cols))


def read_deadlines(body: bytes, session_id: str) -> SetDeadlines:
    """Decode the body of a change of deadlines. Raises `InvalidArgument`."""
    return SetDeadlines(session_id, deadlines_of(decode(_deadlines, body)))


def size_within(rows: int, cols: int) -> tuple[int, int]:
    """Clamp a window's size to the limits; a size out of range is not refused.

    0 stays 0: a hidden or unsized terminal does not know its size.
    """
    return _within(rows, _MOST_ROWS), _within(cols, _MOST_COLS)


def _within(size: int, most: int) -> int:
    return min(max(size, 1), most) if size else 0


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


def decode(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    """Decode a body. Raises `InvalidArgument`."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the body can't be used: {error}"
        raise InvalidArgument(msg) from None
