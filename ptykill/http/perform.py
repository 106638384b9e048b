"""Carries out the operations of requests on the supervisor."""

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
    """The user that runs the sessions which clients create; empty for the host's own user.

    No client can change it. ``variables`` replace the environment of the host; ``working_dir`` is
    the working directory of a create that names none.
    """

    attributes: Attributes | None = None
    variables: Mapping[str, str] | None = None
    working_dir: str | None = None


SAME_USER = Owner()
"""Sessions run as the user of the host."""


class Performed(NamedTuple):
    """The result of an operation; ``created`` is the session that it has created, if any.

    It is a tuple because `ptykill.embedding.call.Call` looks for sessions in tuples: it kills a
    session that could not be returned, because its caller was cancelled.
    """

    result: Result
    created: Session | None = None


class Tokens:
    """Issues and checks the token of each session; only the client that creates a session gets it.

    A token is freed together with its session's record.
    """

    def __init__(self) -> None:
        self._tokens: WeakKeyDictionary[Session, str] = WeakKeyDictionary()

    def issue(self, session: Session) -> str:
        """Return the token of a session (256 random bits): the same one at each call."""
        return self._tokens.setdefault(session, secrets.token_urlsafe(32))

    def check(self, session: Session, token: str) -> None:
        """Raise `InvalidToken` unless this is the session's token; compare in constant time.

        No client can attach to a session without a token, which was not created over HTTP.
        """
        right = self._tokens.get(session, secrets.token_urlsafe(32))
        if not hmac.compare_digest(token.encode("utf-8", "replace"), right.encode("ascii")):
            raise InvalidToken("the session's token is missing or wrong")


async def perform(
    supervisor: Supervisor, operation: Operation, tokens: Tokens, owner: Owner = SAME_USER
) -> Performed:
    """Carry out an operation, in the supervisor's own trio run. Raises what the supervisor does.

    ``owner`` is the user of a session that is created.
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
    """Return the environment of a session: the host's or the owner's, and over it the client's.

    ``TERM`` does not come from the host: the clients' terminals are xterm's kind.
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
    """Return the session to attach to. Raises `SessionNotFound` and `InvalidToken`."""
    session = supervisor.get(asked.session_id)
    tokens.check(session, asked.token)
    return session
