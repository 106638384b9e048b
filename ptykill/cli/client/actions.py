"""What ``new``, ``attach``, ``list`` and ``kill`` do, once their options are parsed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

import msgspec

from ptykill.cli.client import local_terminal, table, tokens
from ptykill.cli.client.attach_result import AttachResult, Detached, Ended, Lost, Signalled
from ptykill.cli.client.attach_token import with_token
from ptykill.cli.client.daemon_client import DaemonClient, DaemonError, Killed
from ptykill.cli.client.daemon_requests import DaemonOptions, with_daemon
from ptykill.cli.client.fd_io import write_all
from ptykill.cli.client.kill_requests import KillRequests
from ptykill.cli.client.messages import (
    OUT,
    exit_interrupted,
    fail,
    output_error_message,
    print_message,
    print_output,
)
from ptykill.cli.client.short_ids import full_id
from ptykill.http.schema import Created
from ptykill.http.session_record import SessionRecord
from ptykill.rules.deadlines import Deadlines

__all__ = ["DaemonOptions", "attach", "kill", "list_sessions", "new"]

_UNKNOWN_STATUS = 255
"""The exit status for a session whose exit status can't be known."""


def new(  # noqa: PLR0913 - the options of one command
    options: DaemonOptions,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    working_dir: str | None,
    key: bytes | None,
    detached: bool,
    as_json: bool,
    limits: Mapping[str, float | None],
    deadlines: Deadlines,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> None:
    """Start a session, and attach to it unless ``detached`` or ``as_json``."""

    async def create(daemon: DaemonClient) -> Created:
        return await daemon.create(
            command,
            env=env,
            working_dir=working_dir,
            size=local_terminal.window_size(),
            limits=limits,
            deadlines=deadlines,
            name=name,
            labels=labels,
            key=idempotency_key,
        )

    created = with_daemon(options, create)
    try:
        tokens.remember(created.session_id, created.token)
    except OSError as error:
        print_message(f"its token could not be remembered: {error.strerror}; take it from --json")
    if as_json:
        _print_created(created, json.dumps(msgspec.to_builtins(created)))
    elif detached or not local_terminal.is_terminal():
        _print_created(created, created.session_id)
    else:
        _attach_and_exit(
            options, created.session_id, created.token, key=key, redraw=False, read_only=False
        )


def _print_created(created: Created, line: str) -> None:
    """Write the id of a new session; if that fails, standard error gets it: the session runs."""
    try:
        write_all(OUT, f"{line}\n".encode("ascii"))
    except OSError as error:
        fail(f"the session {created.session_id} is started, but {output_error_message(error)}")


def attach(
    options: DaemonOptions,
    session_id: str,
    token: str | None,
    *,
    key: bytes | None,
    read_only: bool,
) -> None:
    """Attach to a session, and exit with its exit status."""
    session_id = with_daemon(options, partial(full_id, session_id))
    _attach_and_exit(options, session_id, token, key=key, redraw=True, read_only=read_only)


def list_sessions(
    options: DaemonOptions, labels: Sequence[str] = (), *, live: bool, as_json: bool
) -> None:
    """Print sessions, live and ended; only live ones if ``live``, only those with the labels."""

    async def listed(daemon: DaemonClient) -> list[SessionRecord]:
        return await daemon.list(labels)

    known = with_daemon(options, listed)
    sessions = [each for each in known if each.is_alive or not live]
    if as_json:
        print_output(json.dumps({"sessions": msgspec.to_builtins(sessions)}))
    else:
        table.show(sessions)


def kill(  # noqa: PLR0913 - the options of one command
    options: DaemonOptions,
    session_ids: Sequence[str],
    labels: Sequence[str] = (),
    *,
    every: bool,
    grace: float | None,
    as_json: bool,
) -> None:
    """End sessions, all at once, and print the outcomes; exit with 1 unless all have ended.

    A failed write changes neither what is done nor the exit status.
    """
    requests = KillRequests(grace, quiet=as_json)
    try:
        with_daemon(options, partial(requests.run, session_ids, every=every, labels=labels))
    except KeyboardInterrupt:
        exit_interrupted(requests.interrupted_message())
    error = requests.output_error
    if as_json:
        text = json.dumps({"sessions": [_as_json(*each) for each in requests.outcomes.items()]})
        try:
            write_all(OUT, f"{text}\n".encode("ascii"))
        except OSError as failed:
            error = failed
    if error is not None and not isinstance(error, BrokenPipeError):
        print_message(output_error_message(error))
    sys.exit(0 if all(isinstance(each, Killed) for each in requests.outcomes.values()) else 1)


# --- attaching ------------------------------------------------------------------------------------


def _attach_and_exit(  # noqa: PLR0913 - two callers, by keyword
    options: DaemonOptions,
    session_id: str,
    token: str | None,
    *,
    key: bytes | None,
    redraw: bool,
    read_only: bool,
) -> NoReturn:
    """Attach, and exit with the session's exit status."""
    # Other commands start faster without WebSockets. Those that attach have it imported by now.
    from ptykill.cli.client.attach import attach as run_attached  # noqa: PLC0415

    async def run(daemon: DaemonClient) -> AttachResult:
        async def run_with(token: str) -> AttachResult:
            return await run_attached(
                daemon, session_id, token, key=key, redraw=redraw, read_only=read_only
            )

        return await with_token(daemon, session_id, token, run_with, read_only=read_only)

    match with_daemon(options, run):
        case Ended(code, killed):
            with suppress(OSError):
                tokens.forget(session_id)
            if killed:
                print_message("the session was ended")
            elif code is None:
                print_message("the session is over; its exit status can't be known")
            sys.exit(_UNKNOWN_STATUS if code is None else code)
        case Detached():
            print_message(f"detached; to come back: ptykill attach {session_id}")
            sys.exit(0)
        case Signalled(number):
            local_terminal.die_of_signal(number)
        case Lost(reason):
            fail(reason)


def _as_json(session_id: str, outcome: Killed | DaemonError) -> dict[str, object]:
    if isinstance(outcome, DaemonError):
        return {
            "session_id": session_id,
            "ended": False,
            "code": outcome.code,
            "error": str(outcome),
        }
    took = None if outcome.took is None else round(1000 * outcome.took, 3)
    return {"session_id": session_id, "ended": True, "took_ms": took}
