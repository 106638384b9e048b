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

import msgspec
import trio

from ptykill.cli.client import table, tokens, tty
from ptykill.cli.client.attach import Detached, Ended, Lost, Parting, Signalled
from ptykill.cli.client.attach import attach as converse
from ptykill.cli.client.daemon import Daemon, DaemonError, Killed, read_key
from ptykill.cli.client.interrupt import interruptible
from ptykill.cli.client.kills import Kills
from ptykill.cli.client.telling import OUT, fail, interrupted, out, printable, say, unwritten
from ptykill.cli.client.traffic import write_all
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
        _hand_over(created, json.dumps(msgspec.to_builtins(created)))
    elif detached or not tty.is_terminal():
        _hand_over(created, created.session_id)
    else:
        _converse(place, created.session_id, created.token, key=key, redraw=False)


def _hand_over(created: Created, told: str) -> None:
    """Write what `new` has started; it runs, so its id is told though nobody takes it."""
    try:
        write_all(OUT, f"{told}\n".encode("ascii"))
    except OSError as error:
        fail(f"the session {created.session_id} is started, but {unwritten(error)}")


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
        out(json.dumps({"sessions": msgspec.to_builtins(sessions)}))
    else:
        table.show(sessions)


def kill(
    place: Place, session_ids: Sequence[str], *, every: bool, grace: float | None, as_json: bool
) -> None:
    """End sessions, all at once, and tell how it went; exit with 1 unless all of them are over.

    What can't be told changes neither what is done nor the exit status.
    """
    kills = Kills(grace, quiet=as_json)
    try:
        _ask(place, partial(kills.run, session_ids, every=every))
    except KeyboardInterrupt:
        interrupted(kills.so_far())
    error = kills.unwritten
    if as_json:
        told = json.dumps({"sessions": [_as_json(*each) for each in kills.outcomes.items()]})
        try:
            write_all(OUT, f"{told}\n".encode("ascii"))
        except OSError as failed:
            error = failed
    if error is not None and not isinstance(error, BrokenPipeError):
        say(unwritten(error))
    sys.exit(0 if all(isinstance(each, Killed) for each in kills.outcomes.values()) else 1)


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


# --- the rest -------------------------------------------------------------------------------------


def _ask(place: Place, ask: Callable[[Daemon], Awaitable[T]]) -> T:
    """Ask the daemon; what it does not do is one sentence and the exit status 1."""

    async def asking() -> T:
        async with place.daemon() as daemon:
            return await ask(daemon)

    try:
        return trio.run(interruptible, asking)
    except DaemonError as error:
        fail(str(error))
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        raise KeyboardInterrupt from None
