"""What each command does, once its options are known; what a person is told of it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import click
import msgspec
import trio

from ptykill.client import table, tokens, tty
from ptykill.client.attach import Detached, Ended, Lost, Parting, Signalled
from ptykill.client.attach import attach as converse
from ptykill.client.daemon import Daemon, DaemonError, Killed, read_key
from ptykill.client.telling import fail, printable, say
from ptykill.http.schema import Created

__all__ = ["Place", "attach", "kill", "list_sessions", "new"]

T = TypeVar("T")

_UNKNOWN = 255
"""The exit status for a session whose own can't be known."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where the daemon is, and the file that its key is in: None for the environment."""

    url: str
    key_file: Path | None

    def daemon(self) -> Daemon:
        """Return the daemon. Raises `DaemonError`."""
        return Daemon(self.url, read_key(self.key_file))


def new(  # noqa: PLR0913 - the options of one command
    place: Place,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    working_dir: str | None,
    key: bytes | None,
    detached: bool,
    as_json: bool,
) -> None:
    """Start a session, and attach to it unless told otherwise."""

    async def create(daemon: Daemon) -> Created:
        return await daemon.create(
            command, env=env, working_dir=working_dir, size=tty.window_size()
        )

    created = _ask(place, create)
    try:
        tokens.remember(created.session_id, created.token)
    except OSError as error:
        say(f"its token could not be remembered: {error.strerror}; take it from --json")
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(created)))
    elif detached or not tty.is_terminal():
        click.echo(created.session_id)
    else:
        _converse(place, created.session_id, created.token, key=key, redraw=False)


def attach(place: Place, session_id: str, token: str | None, *, key: bytes | None) -> None:
    """Attach to a session, and end as it does."""
    known = token or tokens.find(session_id)
    if known is None:
        fail(f"the token of {printable(session_id)} is not remembered here: give --token")
    _converse(place, session_id, known, key=key, redraw=True)


def list_sessions(place: Place, *, live: bool, as_json: bool) -> None:
    """List sessions, live and ended."""
    sessions = [each for each in _ask(place, Daemon.list) if each.is_alive or not live]
    if as_json:
        click.echo(json.dumps({"sessions": msgspec.to_builtins(sessions)}))
    else:
        table.show(sessions)


def kill(
    place: Place, session_ids: Sequence[str], *, every: bool, grace: float | None, as_json: bool
) -> None:
    """End sessions, all at once, and tell how it went; exit with 1 unless all of them are over."""
    kills = _ask(place, partial(_kill_all, session_ids, every=every, grace=grace, quiet=as_json))
    if as_json:
        click.echo(json.dumps({"sessions": [_as_json(*each) for each in kills]}))
    sys.exit(0 if all(isinstance(outcome, Killed) for _, outcome in kills) else 1)


# --- attaching ------------------------------------------------------------------------------------


def _converse(
    place: Place, session_id: str, token: str, *, key: bytes | None, redraw: bool
) -> NoReturn:
    async def talk(daemon: Daemon) -> Parting:
        return await converse(daemon, session_id, token, key=key, redraw=redraw)

    match _ask(place, talk):
        case Ended(code, killed):
            with suppress(OSError):
                tokens.forget(session_id)
            if killed:
                say("the session was ended")
            elif code is None:
                say("the session is over; its exit status can't be known")
            sys.exit(_UNKNOWN if code is None else code)
        case Detached():
            say(f"detached; to come back: ptykill attach {session_id}")
            sys.exit(0)
        case Signalled(number):
            tty.die_of(number)
        case Lost(reason):
            fail(reason)


# --- killing --------------------------------------------------------------------------------------


async def _kill_all(
    session_ids: Sequence[str], daemon: Daemon, *, every: bool, grace: float | None, quiet: bool
) -> list[tuple[str, Killed | DaemonError]]:
    wanted = list(dict.fromkeys(session_ids))
    if every:
        live = [each.session_id for each in await daemon.list() if each.is_alive]
        wanted += [each for each in live if each not in wanted]
    outcomes: dict[str, Killed | DaemonError] = {}

    async def end(session_id: str) -> None:
        outcome: Killed | DaemonError
        try:
            outcome = await daemon.kill(session_id, grace)
        except DaemonError as error:
            outcome = error
        else:
            with suppress(OSError):
                tokens.forget(session_id)
        outcomes[session_id] = outcome
        if not quiet and outcome not in _useless(outcomes):
            _tell(session_id, outcome)

    async with trio.open_nursery() as nursery:
        for session_id in wanted:
            nursery.start_soon(end, session_id)
    for error in _useless(outcomes):
        raise error  # Once is enough, however many there were.
    return [(session_id, outcomes[session_id]) for session_id in wanted]


def _useless(outcomes: Mapping[str, Killed | DaemonError]) -> list[DaemonError]:
    """Return the errors that are about the daemon, or our key, and not about a session."""
    errors = [each for each in outcomes.values() if isinstance(each, DaemonError)]
    return [each for each in errors if each.status in (0, 401, 403)]


def _tell(session_id: str, outcome: Killed | DaemonError) -> None:
    name = printable(session_id)
    if isinstance(outcome, DaemonError):
        click.echo(f"{name}  {printable(str(outcome))}", err=True)
    else:
        took = "" if outcome.took is None else f" in {_duration(outcome.took)}"
        click.echo(f"{name}  ended{took}")


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


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


# --- the rest -------------------------------------------------------------------------------------


def _ask(place: Place, ask: Callable[[Daemon], Awaitable[T]]) -> T:
    """Ask the daemon; what it does not do is one sentence and the exit status 1."""

    async def asking() -> T:
        async with place.daemon() as daemon:
            return await ask(daemon)

    try:
        return trio.run(asking)
    except DaemonError as error:
        fail(printable(str(error)))
