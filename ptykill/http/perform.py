"""Carrying operations out: the only part of the HTTP face that meets a supervisor."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeAlias, assert_never

from ptykill.host import Host
from ptykill.http.operations import (
    Create,
    Created,
    Get,
    Kill,
    List,
    Operation,
    Result,
    SessionRecord,
)
from ptykill.session import Session
from ptykill.supervisor import Supervisor

__all__ = ["Performer", "Tokens", "perform", "performer", "session_record"]

Performer: TypeAlias = Callable[[Operation], Awaitable[Result]]


class Tokens:
    """The token of each session that was created over HTTP; only who created it is told."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    def issue(self, supervisor: Supervisor, session_id: str) -> str:
        """Make the token of a session (256 random bits), and forget those of dropped records."""
        known = {session.id for session in supervisor.sessions}
        for gone in self._tokens.keys() - known:
            del self._tokens[gone]
        token = self._tokens[session_id] = secrets.token_urlsafe(32)
        return token


async def perform(supervisor: Supervisor, operation: Operation, tokens: Tokens) -> Result:
    """Carry an operation out, in the supervisor's own trio run. Raises what the supervisor does."""
    match operation:
        case Kill(session_id, grace):
            return await supervisor.terminate(session_id, grace=grace)
        case Get(session_id):
            return session_record(supervisor.get(session_id))
        case List():
            return [session_record(session) for session in supervisor.sessions]
        case Create():
            session = await supervisor.spawn(
                operation.command,
                env={"TERM": "xterm-256color", **os.environ, **operation.env},
                cwd=operation.working_dir,
                rows=operation.rows,
                cols=operation.cols,
            )
            return Created(session.id, tokens.issue(supervisor, session.id))
    assert_never(operation)


def session_record(session: Session) -> SessionRecord:
    """Return a session as it is told to clients; what is not known is None, never invented."""
    status, ended = session.exit_status, session.ended_at
    record: SessionRecord = {
        "session_id": session.id,
        "pid": session.pid,
        "command": session.command.args[0],
        "args": list(session.command.args[1:]),
        "rows": session.rows,
        "cols": session.cols,
        "created_at": int(1000 * session.created_at),
        "ended_at": None if ended is None else int(1000 * ended),
        "exit_code": None if status is None else status.shell,
        "is_alive": ended is None,
    }
    if status is not None and status.oom_killed:
        record["oom_killed"] = True
    return record


def performer(target: Supervisor | Host) -> Performer:
    """Return what carries operations out: in this trio run, or in the host's, from anywhere."""
    tokens = Tokens()
    if isinstance(target, Supervisor):
        return lambda operation: perform(target, operation, tokens)

    async def there(host: Host, operation: Operation) -> Result:
        return await perform(host.supervisor, operation, tokens)

    return lambda operation: target.acall(there, target, operation)
