"""Carries out a request's operation on the supervisor."""

from __future__ import annotations

import dataclasses
import hmac
import os
import secrets
from collections.abc import Mapping
from typing import NamedTuple, assert_never
from weakref import WeakKeyDictionary

from ptykill.engine.session import Session, spawn_number
from ptykill.engine.supervisor import Supervisor
from ptykill.errors import InvalidToken
from ptykill.http import schema
from ptykill.http.api import Result
from ptykill.http.operations import Attach, Create, Get, Kill, List, Operation, Resize
from ptykill.rules.command import Attributes
from ptykill.system.pty.environment import inherited

__all__ = ["SAME_USER", "Owner", "Performed", "Tokens", "find", "perform"]


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """Whose the sessions are that clients create, which no client can change: the host's if empty.

    ``variables`` are there in place of the host's, and ``working_dir`` where none is asked for.
    """

    attributes: Attributes | None = None
    variables: Mapping[str, str] | None = None
    working_dir: str | None = None


SAME_USER = Owner()
"""Sessions are the host's own."""


class Performed(NamedTuple):
    """What came of an operation; ``created`` is the session that it has created, if any.

    It is a tuple because `ptykill.embedding.call.Call` looks for sessions in tuples, and kills one
    whose creator has left before this was handed over.
    """

    result: Result
    created: Session | None = None


class Tokens:
    """The token of each session that clients may attach to; only who created it is told.

    A token is gone with its session's record.
    """

    def __init__(self) -> None:
        self._tokens: WeakKeyDictionary[Session, str] = WeakKeyDictionary()

    def issue(self, session: Session) -> str:
        """Return the token of a session (256 random bits): the same one, however often asked."""
        return self._tokens.setdefault(session, secrets.token_urlsafe(32))

    def check(self, session: Session, token: str) -> None:
        """Raise `InvalidToken` unless it is the session's, in a time that does not tell how nearly.

        A session that has none, since nobody created it over HTTP, is nobody's to attach to.
        """
        right = self._tokens.get(session, secrets.token_urlsafe(32))
        if not hmac.compare_digest(token.encode("utf-8", "replace"), right.encode("ascii")):
            raise InvalidToken("the session's token is missing or wrong")


async def perform(
    supervisor: Supervisor, operation: Operation, tokens: Tokens, owner: Owner = SAME_USER
) -> Performed:
    """Carry an operation out, in the supervisor's own trio run. Raises what the supervisor does.

    ``owner`` is whose a session is that is created.
    """
    match operation:
        case Kill(session_id, grace):
            return Performed(await supervisor.terminate(session_id, grace=grace))
        case Get(session_id):
            return Performed(schema.record_of(supervisor.get(session_id)))
        case List(after, limit):
            wanted = [each for each in supervisor.sessions if spawn_number(each) > after]
            return Performed(schema.page_of(wanted, limit))
        case Resize(session_id, rows, cols):
            supervisor.get(session_id).resize(rows, cols)
            return Performed(None)
        case Create():
            session = await supervisor.spawn(
                operation.command,
                env=_environment(operation, owner),
                cwd=owner.working_dir if operation.working_dir is None else operation.working_dir,
                rows=operation.rows,
                cols=operation.cols,
                attributes=owner.attributes,
            )
            return Performed(schema.Created(session.id, tokens.issue(session)), session)
    assert_never(operation)


def _environment(asked: Create, owner: Owner) -> dict[str, str]:
    """Return what is laid over the host's environment, or the owner's, and that below it.

    Whatever terminal the host has, or none, its clients' are of xterm's kind.
    """
    if owner.variables is None:
        below = {
            os.fsdecode(name): os.fsdecode(value)
            for name, value in inherited(asked.working_dir).items()
        }
    else:
        below = dict(owner.variables)
    return {
        **below,
        "TERM": "xterm-256color",
        **asked.env,
    }


def find(supervisor: Supervisor, asked: Attach, tokens: Tokens) -> Session:
    """Return whom to attach to. Raises `SessionNotFound` and `InvalidToken`."""
    session = supervisor.get(asked.session_id)
    tokens.check(session, asked.token)
    return session
