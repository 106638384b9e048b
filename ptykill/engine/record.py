"""The record of a session as plain data, as lists and events have it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from ptykill.engine.session import Session
from ptykill.rules.lifecycle import State

__all__ = ["MOST_CHARACTERS", "cut", "record_of", "status_of"]

MOST_CHARACTERS = 1024
"""The most characters of a session's arguments in a list or an event."""


def status_of(session: Session) -> str:
    """Return ``running``, ``ending``, ``stuck`` or ``ended``."""
    if session.ended_at is not None:
        return "ended"
    return session.state.value if session.state in (State.RUNNING, State.STUCK) else "ending"


def cut(args: Sequence[str]) -> list[str]:
    """Return the first characters of arguments: `MOST_CHARACTERS` in all."""
    return list(_cut(args)) if sum(map(len, args)) > MOST_CHARACTERS else list(args)


def _cut(args: Sequence[str]) -> Iterator[str]:
    left = MOST_CHARACTERS
    for each in args:
        if left <= 0:
            return
        yield each[:left]
        left -= len(each)


def record_of(session: Session) -> dict[str, object]:
    """Return the record of a session, without the times of its last input and output."""
    command, *args = session.command.args
    status = session.exit_status
    kept = cut(args)
    record: dict[str, object] = {
        "session_id": session.id,
        "pid": session.pid,
        "command": command,
        "args": kept,
        "rows": session.rows,
        "cols": session.cols,
        "created_at": session.created_at,
        "ended_at": session.ended_at,
        "exit_code": None if status is None else status.shell_code,
        "is_alive": session.ended_at is None,
        "status": status_of(session),
        "client_count": session.attached,
        "name": session.name,
        "labels": dict(session.labels),
        "end_reason": None if session.end_reason is None else session.end_reason.value,
        "deadlines": dataclasses.asdict(session.deadlines),
    }
    if session.ended_at is not None:
        record["usage"] = session.usage().known()
    if status is not None and status.oom_killed:
        record["oom_killed"] = True
    if kept != args:
        record["args_cut"] = True
    return record
