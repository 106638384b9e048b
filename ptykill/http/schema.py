"""The JSON bodies of creates, changes and errors, as msgspec types that validate them.

`openapi` makes the OpenAPI document from these types. msgspec comes with the extra ``http``.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from ptykill.errors import InvalidArgument
from ptykill.http.deadline_schema import DeadlinesBody, deadlines_of
from ptykill.http.operations import Create, Resize, SetDeadlines
from ptykill.http.usage import CpuMax, MemoryMax, PidsMax
from ptykill.rules.naming import LONGEST_NAME, MOST_LABELS

__all__ = [
    "CreateBody",
    "Created",
    "Error",
    "ResizeBody",
    "decode",
    "read_create",
    "read_deadlines",
    "read_resize",
    "size_within",
]

_MOST_ROWS, _MOST_COLS = 500, 1000
_MOST_ARGS, _MOST_VARIABLES = 4096, 4096
_OURS = "Not in Tensorlake's API."

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
                description=f"{_OURS} Letters, digits, dots, dashes and underscores; it begins with"
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
                description=f"{_OURS} Lists and kills can select by them. A label has the"
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


def decode(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    """Decode a body. Raises `InvalidArgument`."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the body can't be used: {error}"
        raise InvalidArgument(msg) from None
