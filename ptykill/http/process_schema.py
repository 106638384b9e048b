"""The JSON bodies about a session's processes: the list of them, and signals to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from ptykill.errors import InvalidArgument
from ptykill.http.operations import SignalProcesses
from ptykill.rules import validate
from ptykill.rules.member import Member
from ptykill.rules.protocols import Signalled
from ptykill.rules.steps import Reach

__all__ = [
    "ProcessRecord",
    "Processes",
    "Reached",
    "SignalBody",
    "processes_of",
    "reached_by",
    "read_signal",
]

_HIDDEN = "null if the daemon may not read it."


class ProcessRecord(msgspec.Struct):
    """A process of a session."""

    pid: Annotated[int, Meta(description="Its pid.")]
    parent: Annotated[int | None, Meta(description="The parent's pid.")]
    state: Annotated[
        str | None,
        Meta(description=f"As in ps(1): R, S, D, T, t, Z, X or I; {_HIDDEN}", examples=["S"]),
    ]
    started_at: Annotated[
        int | None, Meta(description=f"In milliseconds since the epoch; {_HIDDEN}")
    ]
    command: Annotated[
        str | None,
        Meta(
            description="The start of the command line, or the name in brackets. It may have"
            f" control characters; {_HIDDEN}"
        ),
    ]
    user: Annotated[
        str | None, Meta(description=f"The effective user's name, or its number; {_HIDDEN}")
    ]
    cpu_seconds: Annotated[float | None, Meta(description=f"The processor time; {_HIDDEN}")]
    memory: Annotated[int | None, Meta(description=f"The resident memory in bytes; {_HIDDEN}")]
    foreground: Annotated[
        bool, Meta(description="Whether it is in the terminal's foreground process group.")
    ]
    escaped: Annotated[bool, Meta(description="Whether it has left the session, by setsid(2).")]


class Processes(msgspec.Struct):
    """The processes of a session, the oldest first."""

    processes: Annotated[list[ProcessRecord], Meta(description="None once the session is over.")]


class SignalBody(msgspec.Struct):
    """The signal to send, and to whom."""

    signal: Annotated[
        str, Meta(description="A signal's name, with or without `SIG`.", examples=["INT"])
    ]
    reach: (
        Annotated[
            str,
            Meta(
                description="The processes that get it, as in a plan: leader, foreground, group,"
                " session, escaped or all; foreground if left out.",
                examples=["foreground"],
            ),
        ]
        | None
    ) = None


class Reached(msgspec.Struct):
    """The processes that a signal was sent to."""

    reached: Annotated[list[int], Meta(description="The pids of those that it was sent to.")]
    refused: Annotated[
        list[int], Meta(description="The pids of those that the daemon may not signal.")
    ]


_signal = msgspec.json.Decoder(SignalBody)


def read_signal(body: bytes, session_id: str) -> SignalProcesses:
    """Decode the body of a signal. Raises `InvalidArgument`."""
    try:
        asked = _signal.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the body can't be used: {error}"
        raise InvalidArgument(msg) from None
    reach = Reach.FOREGROUND if asked.reach is None else asked.reach
    return SignalProcesses(
        session_id, validate.signal_name(asked.signal), validate.member("reach", reach, Reach)
    )


def processes_of(members: Sequence[Member]) -> Processes:
    """Return the answer to a list of processes."""
    return Processes([_record(each) for each in members])


def _record(member: Member) -> ProcessRecord:
    started = member.started_at
    return ProcessRecord(
        pid=member.pid,
        parent=member.parent,
        state=member.state,
        started_at=None if started is None else round(1000 * started),
        command=member.command,
        user=member.user,
        cpu_seconds=member.cpu_seconds,
        memory=member.memory,
        foreground=member.foreground,
        escaped=member.escaped,
    )


def reached_by(signalled: Signalled) -> Reached:
    """Return the answer to a signal."""
    return Reached(sorted(signalled.reached), sorted(signalled.refused))
