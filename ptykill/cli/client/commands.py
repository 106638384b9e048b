"""The commands of the client side, and their options: what is typed, and what it means."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ptykill.cli.client import detach_key
from ptykill.cli.extras import import_extra
from ptykill.errors import PtykillError
from ptykill.rules.plan import HANGUP_THEN_KILL, Plan
from ptykill.system.containment import STRONGEST_FIRST

__all__ = ["COMMANDS"]

F = TypeVar("F", bound=Callable[..., Any])

_PROGRAM = {"allow_interspersed_args": False}
"""Options after the program's name are the program's."""


def _at_a_daemon(function: F) -> F:
    """Add the options that say where the daemon is."""
    where = click.option(
        "--url",
        envvar="PTYKILL_URL",
        default="http://127.0.0.1:8022",
        show_default=True,
        show_envvar=True,
        help="Where the daemon is; unix:/path/to/socket for a UNIX socket.",
    )
    key = click.option(
        "--key-file",
        type=click.Path(path_type=Path),
        help="The file that the key is in; if not given, it is in PTYKILL_API_KEY.",
    )
    return where(key(function))


def _read_key(_context: click.Context, _parameter: click.Parameter, text: str) -> bytes | None:
    try:
        return detach_key.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_detach_key = click.option(
    "--detach-key",
    "key",
    default=detach_key.DEFAULT,
    show_default=True,
    envvar="PTYKILL_DETACH_KEY",
    show_envvar=True,
    callback=_read_key,
    help="The key that detaches: ctrl- and a character, or none.",
)
_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command(context_settings=_PROGRAM)
@_at_a_daemon
@click.option("-d", "--detach", "detached", is_flag=True, help="Only start it, and print its id.")
@click.option("--cwd", "working_dir", help="Its working directory; the daemon's if not given.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@_detach_key
@click.option("--json", "as_json", is_flag=True, help="Only start it; print its id and token.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def new(  # noqa: PLR0913, PLR0917 - click gives each option
    url: str,
    key_file: Path | None,
    detached: bool,  # noqa: FBT001 - as above
    working_dir: str | None,
    variables: tuple[str, ...],
    key: bytes | None,
    as_json: bool,  # noqa: FBT001
    command: tuple[str, ...],
) -> None:
    """Start COMMAND (your shell, if none is given) in a session of a daemon, and attach to it.

    Where standard input is no terminal it is only started. Exits as the session does. Ctrl-]
    detaches, and the session goes on: `ptykill attach ID` comes back. The token which that takes is
    remembered in a file that only you can read, in $XDG_RUNTIME_DIR/ptykill or
    ~/.local/state/ptykill.
    """
    env = {}
    for each in variables:
        name, equals, value = each.partition("=")
        if not equals or not name:
            message = f"not NAME=VALUE: {each!r}"
            raise click.BadParameter(message, param_hint="--env")
        env[name] = value
    if not detached and not as_json and os.environ.get("TERM"):
        env.setdefault("TERM", os.environ["TERM"])  # It is this terminal that it is shown on.
    actions = import_extra("ptykill.cli.client.actions", "server")
    actions.new(
        actions.DaemonOptions(url, key_file),
        [_as_text(each) for each in command or (os.environ.get("SHELL") or "sh",)],
        env={_as_text(name): _as_text(value) for name, value in env.items()},
        working_dir=None if working_dir is None else _as_text(working_dir),
        key=key,
        detached=detached,
        as_json=as_json,
    )


def _as_text(argument: str) -> str:
    """Return an argument as JSON can carry it, in whatever locale this process is.

    Python keeps bytes that the locale's encoding does not have as lone surrogates (PEP 383); in the
    C locale that is every letter beyond ASCII.
    """
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError:
        try:
            return os.fsencode(argument).decode("utf-8")
        except UnicodeError:
            message = f"what is not UTF-8 can't be sent to a daemon: {argument!a}"
            raise click.UsageError(message) from None
    return argument


@click.command("list")
@_at_a_daemon
@click.option("--live", is_flag=True, help="Only those that are not over.")
@_json
def list_(url: str, key_file: Path | None, *, live: bool, as_json: bool) -> None:
    """List the sessions of a daemon, live and ended, the oldest first.

    To a pipe or a file: a line for each, with tabs between the columns.
    """
    actions = import_extra("ptykill.cli.client.actions", "server")
    actions.list_sessions(actions.DaemonOptions(url, key_file), live=live, as_json=as_json)


@click.command()
@_at_a_daemon
@click.option(
    "--token",
    envvar="PTYKILL_TOKEN",
    show_envvar=True,
    help="The session's; not needed if `ptykill new` has started it here.",
)
@_detach_key
@click.argument("session_id", metavar="ID")
def attach(
    url: str, key_file: Path | None, token: str | None, key: bytes | None, session_id: str
) -> None:
    """Attach this terminal to a session of a daemon, and exit as the session does.

    Ctrl-] detaches, and the session goes on. If standard input is no terminal, what comes from it
    is typed, and then the session is looked on at until it ends.
    """
    actions = import_extra("ptykill.cli.client.actions", "server")
    actions.attach(actions.DaemonOptions(url, key_file), session_id, token, key=key)


@click.command()
@_at_a_daemon
@click.option("--all", "every", is_flag=True, help="All that live.")
@click.option("--grace", type=float, help="Seconds until SIGKILL; the daemon's if not given.")
@_json
@click.argument("session_ids", metavar="[ID]...", nargs=-1)
def kill(  # noqa: PLR0913 - click gives each option
    url: str,
    key_file: Path | None,
    session_ids: tuple[str, ...],
    *,
    every: bool,
    grace: float | None,
    as_json: bool,
) -> None:
    """End sessions of a daemon, and say how it went.

    The exit status is 0 only if nothing is left of any of them.
    """
    if not session_ids and not every:
        message = "which session? Give its ID, or --all"
        raise click.UsageError(message)
    actions = import_extra("ptykill.cli.client.actions", "server")
    actions.kill(
        actions.DaemonOptions(url, key_file), session_ids, every=every, grace=grace, as_json=as_json
    )


@click.command(context_settings=_PROGRAM)
@click.option("--grace", type=float, help="Seconds until SIGKILL; the plan's own if not given.")
@click.option(
    "--plan", default=str(HANGUP_THEN_KILL), show_default=True, help="How the session is ended."
)
@click.option(
    "--containment",
    default="auto",
    show_default=True,
    type=click.Choice(("auto", *STRONGEST_FIRST)),
    help="How what it starts is held together; auto takes the strongest there is.",
)
@click.option("-n", "--no-input", is_flag=True, help="Don't read standard input, as with ssh -n.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    grace: float | None, plan: str, containment: str, command: tuple[str, ...], *, no_input: bool
) -> None:
    """Run COMMAND on a terminal of its own, without a daemon, and leave nothing of it behind.

    Where standard input is no terminal, the command has it as it is, and its own terminal as
    standard output and error, and as /dev/tty.

    Exits as the command does: 128 and the signal's number, if a signal ended it; 127 if it is not
    found, 126 if it can't be run, 125 if something else failed, or something is left of it.
    SIGTERM, SIGHUP, SIGQUIT or SIGINT end the session by the plan, and then this process by the
    same signal; a second one kills.
    """
    try:
        chosen = Plan.parse(plan)
        if grace is not None:
            chosen = chosen.with_grace(grace)
    except PtykillError as error:
        raise click.UsageError(str(error)) from None
    import_extra("ptykill.cli.client.run", "server").run(
        command, chosen, containment, no_input=no_input
    )


COMMANDS = (new, list_, attach, kill, run)
"""For the group they are in."""
