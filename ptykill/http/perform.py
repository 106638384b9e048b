"""Carrying operations out: the only part of the HTTP face that meets a supervisor."""

from __future__ import annotations

import hmac
import os
import secrets
from typing import assert_never

from ptykill.errors import InvalidToken
from ptykill.http import schema
from ptykill.http.api import Result
from ptykill.http.operations import Attach, Create, Get, Kill, List, Operation, Resize
from ptykill.session import Session
from ptykill.supervisor import Supervisor

__all__ = ["Tokens", "find", "perform"]


class Tokens:
    """The token of each session that clients may attach to; only who created it is told."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    def issue(self, supervisor: Supervisor, session_id: str) -> str:
        """Return the token of a session (256 random bits), and forget those of dropped records."""
        known = {session.id for session in supervisor.sessions}
        for gone in self._tokens.keys() - known:
            del self._tokens[gone]
        return self._tokens.setdefault(session_id, secrets.token_urlsafe(32))

    def check(self, session_id: str, token: str) -> None:
        """Raise `InvalidToken` unless it is the session's, in a time that does not tell how nearly.

        A session that has none, since nobody created it over HTTP, is nobody's to attach to.
        """
        right = self._tokens.get(session_id, secrets.token_urlsafe(32))
        if not hmac.compare_digest(token.encode("utf-8", "replace"), right.encode("ascii")):
            raise InvalidToken("the session's token is missing or wrong")


async def perform(supervisor: Supervisor, operation: Operation, tokens: Tokens) -> Result:
    """Carry an operation out, in the supervisor's own trio run. Raises what the supervisor does."""
    match operation:
        case Kill(session_id, grace):
            return await supervisor.terminate(session_id, grace=grace)
        case Get(session_id):
            return schema.record_of(supervisor.get(session_id))
        case List():
            return schema.Sessions([schema.record_of(each) for each in supervisor.sessions])
        case Resize(session_id, rows, cols):
            supervisor.get(session_id).resize(rows, cols)
            return None
        case Create():
            session = await supervisor.spawn(
                operation.command,
                env={"TERM": "xterm-256color", **os.environ, **operation.env},
                cwd=operation.working_dir,
                rows=operation.rows,
                cols=operation.cols,
            )
            return schema.Created(session.id, tokens.issue(supervisor, session.id))
    assert_never(operation)


def find(supervisor: Supervisor, asked: Attach, tokens: Tokens) -> Session:
    """Return whom to attach to. Raises `SessionNotFound` and `InvalidToken`."""
    session = supervisor.get(asked.session_id)
    tokens.check(asked.session_id, asked.token)
    return session
