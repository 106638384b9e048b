"""Carries out the operations of requests on the supervisor."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import NamedTuple, assert_never

from ptykill.engine.caller import current_call
from ptykill.engine.session import Session, spawn_number
from ptykill.engine.supervisor import Supervisor
from ptykill.http import process_schema, schema, session_record, token_bodies
from ptykill.http.api import Result
from ptykill.http.operations import (
    Attach,
    Create,
    Get,
    Interrupt,
    IssueTicket,
    IssueToken,
    Kill,
    KillMatching,
    List,
    ListProcesses,
    Operation,
    Resize,
    RevokeToken,
    SetDeadlines,
    SignalProcesses,
)
from ptykill.http.tickets import TICKET_SECONDS
from ptykill.http.tokens import Admission, Tokens
from ptykill.rules import validate
from ptykill.rules.command import Attributes
from ptykill.system.pty.environment import inherited

__all__ = ["SAME_USER", "Owner", "Performed", "find", "perform"]


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

    ``call`` is the call of a `Host` that has created it (`ptykill.engine.caller`).

    It is a tuple because `ptykill.embedding.call.Call` looks for sessions in tuples: it kills a
    session that could not be returned, because its caller was cancelled.
    """

    result: Result
    created: Session | None = None
    call: object = None


async def perform(  # noqa: PLR0911 - one for each kind of operation
    supervisor: Supervisor, operation: Operation, tokens: Tokens, owner: Owner = SAME_USER
) -> Performed:
    """Carry out an operation, in the supervisor's own trio run. Raises what the supervisor does.

    ``owner`` is the user of a session that is created.
    """
    match operation:
        case Kill(session_id, grace):
            return Performed(await supervisor.terminate(session_id, grace=grace))
        case KillMatching(selector, grace):
            return Performed(
                await supervisor.terminate_matching(
                    labels=selector.labels, name=selector.name, grace=grace
                )
            )
        case Get(session_id):
            return Performed(session_record.record_with_usage(supervisor.get(session_id)))
        case List(after, limit, selector):
            found = supervisor.find(labels=selector.labels, name=selector.name)
            wanted = [each for each in found if spawn_number(each) > after]
            return Performed(session_record.page_of(wanted, limit, supervisor.last_event_id))
        case Resize() | SetDeadlines() | ListProcesses() | SignalProcesses() | Interrupt():
            return Performed(await _act_on(supervisor, operation))
        case IssueToken() | IssueTicket() | RevokeToken():
            return Performed(
                _change_tokens(supervisor.get(operation.session_id), operation, tokens)
            )
        case Create():
            session = await supervisor.spawn(
                operation.command,
                env=_environment(operation, owner),
                cwd=owner.working_dir if operation.working_dir is None else operation.working_dir,
                rows=operation.rows,
                cols=operation.cols,
                name=operation.name,
                labels=operation.labels,
                key=operation.key,
                attributes=_attributes(operation, owner),
                deadlines=operation.deadlines.within(supervisor.deadlines),
            )
            created = schema.Created(session.id, tokens.first(session).token)
            return Performed(created, session, current_call.get())
    assert_never(operation)


def _attributes(asked: Create, owner: Owner) -> Attributes:
    """Return the attributes of a session: the owner's, and the limits that the client asks for."""
    return dataclasses.replace(
        owner.attributes or Attributes(),
        memory_max=asked.memory_max,
        pids_max=asked.pids_max,
        cpu_max=asked.cpu_max,
    )


async def _act_on(
    supervisor: Supervisor,
    operation: Resize | SetDeadlines | ListProcesses | SignalProcesses | Interrupt,
) -> Result:
    """Carry out what leaves a session as it is, and return the result."""
    session = supervisor.get(operation.session_id)
    match operation:
        case SetDeadlines():
            session.set_deadlines(operation.deadlines.within(supervisor.deadlines))
        case Resize():
            session.resize(operation.rows, operation.cols)
        case Interrupt():
            session.interrupt()
        case ListProcesses():
            return process_schema.processes_of(await session.members())
        case SignalProcesses():
            return process_schema.reached_by(session.signal(operation.name, operation.reach))
    return None


def _change_tokens(
    session: Session, operation: IssueToken | IssueTicket | RevokeToken, tokens: Tokens
) -> token_bodies.IssuedToken | token_bodies.IssuedTicket | None:
    """Carry out an operation on a session's tokens."""
    match operation:
        case IssueToken(_, access, expires_in):
            return token_bodies.issued(tokens.issue(session, access, expires_in))
        case IssueTicket(_, access, login):
            ticket = tokens.tickets.issue(session, access, login)
            return token_bodies.IssuedTicket(ticket, access.value, TICKET_SECONDS)
        case RevokeToken(_, token_id):
            tokens.revoke(session, token_id)
    return None


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


def find(supervisor: Supervisor, asked: Attach, tokens: Tokens) -> Admission:
    """Return the session to attach to, and the client's right.

    Raises `SessionNotFound`, `InvalidToken`, and `InvalidOffset` for one beyond the output.
    """
    if asked.ticket is None:
        session = supervisor.get(asked.session_id)
        grant = tokens.check(session, asked.token)
    else:  # Before the session is looked up: without a ticket a client learns nothing of it.
        grant = tokens.tickets.redeem(asked.session_id, asked.ticket)
        session = supervisor.get(asked.session_id)
    if asked.since is not None:
        validate.offset("from", asked.since, session.output_offset)
    return Admission(session, grant, asked.client)
