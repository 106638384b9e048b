"""The options of ``new``, ``list``, ``attach``, ``kill`` and ``run``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ptykill.cli.client import detach_key
from ptykill.cli.client.deadline_commands import deadlines
from ptykill.cli.client.event_commands import events
from ptykill.cli.client.options import as_text, daemon_options, json_option, label_filter
from ptykill.cli.client.process_commands import interrupt, ps, signal
from ptykill.cli.deadline_options import deadline_options
from ptykill.cli.extras import import_extra
from ptykill.cli.limit_options import limit_options
from ptykill.errors import PtykillError
from ptykill.rules.deadlines import Deadlines
from ptykill.rules.naming import Naming
from ptykill.rules.options import STRONGEST_FIRST, Options
from ptykill.rules.plan import HANGUP_THEN_KILL, Plan

__all__ = ["COMMANDS"]

_PROGRAM = {"allow_interspersed_args": False}
"""Options after the program's name belong to the program."""


def _read_key(_context: click.Context, _parameter: click.Parameter, text: str) -> bytes | None:
    try:
        return detach_key.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _checked_key(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> str | None:
    try:
        return Naming.of(None, None, text).key
    except PtykillError as error:
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


@click.command(context_settings=_PROGRAM)
@daemon_options
@click.option(
    "-d", "--detach", "no_attach", is_flag=True, help="Print the session's id; do not attach."
)
@click.option(
    "--cwd", "working_dir", help="The command's working directory; by default the daemon's."
)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set an environment variable for the command; may be repeated.",
)
@click.option("--name", help="A name for the session; no two live sessions have the same one.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Add a label, for list and kill; may be repeated.",
)
@click.option(
    "--idempotency-key",
    metavar="TEXT",
    callback=_checked_key,
    help="Start nothing if a new with the same text has started it before: take that session.",
)
@limit_options
@deadline_options("lifetime", "idle", "detached", note=" By default the daemon's.")
@_detach_key
@click.option(
    "--json", "as_json", is_flag=True, help="Print the session's id and token; do not attach."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def new(  # noqa: PLR0913, PLR0917 - click gives each option
    url: str,
    key_file: Path | None,
    no_attach: bool,  # noqa: FBT001 - as above
    working_dir: str | None,
    variables: tuple[str, ...],
    name: str | None,
    labels: tuple[str, ...],
    idempotency_key: str | None,
    key: bytes | None,
    as_json: bool,  # noqa: FBT001
    command: tuple[str, ...],
    deadlines: Deadlines,
    **limits: float | None,
) -> None:
    """Start COMMAND (by default your shell) in a session of a daemon, and attach to it.

    If standard input is not a terminal, the session is started, and nothing is attached. The exit
    status is the session's. Ctrl-] detaches, and the session goes on: `ptykill attach ID` attaches
    again. The token for that is kept in a file that only you can read, in $XDG_RUNTIME_DIR/ptykill
    or ~/.local/state/ptykill.
    """
    env = _pairs(variables, "--env", "NAME=VALUE")
    if not no_attach and not as_json and os.environ.get("TERM"):
        env.setdefault("TERM", os.environ["TERM"])  # The session is shown on this terminal.
    actions = import_extra("ptykill.cli.client.actions", "server")
    if not no_attach and not as_json:
        import_extra("ptykill.cli.client.attach", "server")
    actions.new(
        actions.DaemonOptions(url, key_file),
        [as_text(each) for each in command or (os.environ.get("SHELL") or "sh",)],
        env={as_text(name): as_text(value) for name, value in env.items()},
        working_dir=None if working_dir is None else as_text(working_dir),
        key=key,
        detached=no_attach,
        as_json=as_json,
        limits=limits,
        deadlines=deadlines,
        name=None if name is None else as_text(name),
        labels={
            as_text(label): as_text(value)
            for label, value in _pairs(labels, "--label", "KEY=VALUE").items()
        },
        idempotency_key=idempotency_key,
    )


def _pairs(texts: tuple[str, ...], option: str, form: str) -> dict[str, str]:
    pairs = {}
    for each in texts:
        name, equals, value = each.partition("=")
        if not equals or not name:
            message = f"not {form}: {each!r}"
            raise click.BadParameter(message, param_hint=option)
        pairs[name] = value
    return pairs


@click.command("list")
@daemon_options
@click.option("--live", is_flag=True, help="List only sessions that have not ended.")
@label_filter
@json_option
def list_(
    url: str, key_file: Path | None, labels: tuple[str, ...], *, live: bool, as_json: bool
) -> None:
    """List the sessions of a daemon, live and ended, the oldest first.

    On a pipe or in a file each session is a line, with tabs between the columns.
    """
    actions = import_extra("ptykill.cli.client.actions", "server")
    wanted = [as_text(each) for each in labels]
    actions.list_sessions(actions.DaemonOptions(url, key_file), wanted, live=live, as_json=as_json)


@click.command()
@daemon_options
@click.option(
    "--token",
    envvar="PTYKILL_TOKEN",
    show_envvar=True,
    help="A token of the session; by default the one remembered here, or a new one.",
)
@click.option("--read-only", is_flag=True, help="Show the session; type nothing, set no size.")
@_detach_key
@click.argument("session_id", metavar="ID")
def attach(  # noqa: PLR0913 - click gives each option
    url: str,
    key_file: Path | None,
    token: str | None,
    key: bytes | None,
    session_id: str,
    *,
    read_only: bool,
) -> None:
    """Attach this terminal to a session of a daemon. The exit status is the session's.

    Ctrl-] detaches, and the session goes on. If standard input is not a terminal, it is sent to the
    session, and then the session's output is shown until the session ends. With --read-only, Ctrl-C
    detaches too, and standard input is not sent.
    """
    actions = import_extra("ptykill.cli.client.actions", "server")
    import_extra("ptykill.cli.client.attach", "server")
    where = actions.DaemonOptions(url, key_file)
    actions.attach(where, session_id, token, key=key, read_only=read_only)


@click.command()
@daemon_options
@click.option("--all", "every", is_flag=True, help="End all live sessions.")
@label_filter
@click.option("--grace", type=float, help="Seconds until SIGKILL; by default the daemon's.")
@json_option
@click.argument("session_ids", metavar="[ID]...", nargs=-1)
def kill(  # noqa: PLR0913 - click gives each option
    url: str,
    key_file: Path | None,
    session_ids: tuple[str, ...],
    labels: tuple[str, ...],
    *,
    every: bool,
    grace: float | None,
    as_json: bool,
) -> None:
    """End sessions of a daemon, and print how each ended.

    The exit status is 0 only if no process of any of them is left.
    """
    if not session_ids and not every and not labels:
        message = "which session? Give its ID, --label, or --all"
        raise click.UsageError(message)
    if every and labels:
        message = "give --all or --label, not both"
        raise click.UsageError(message)
    actions = import_extra("ptykill.cli.client.actions", "server")
    actions.kill(
        actions.DaemonOptions(url, key_file),
        session_ids,
        [as_text(each) for each in labels],
        every=every,
        grace=grace,
        as_json=as_json,
    )


@click.command(context_settings=_PROGRAM)
@click.option("--grace", type=float, help="Seconds until SIGKILL; by default the plan's.")
@click.option(
    "--plan", default=str(HANGUP_THEN_KILL), show_default=True, help="How the session is ended."
)
@click.option(
    "--containment",
    default="auto",
    show_default=True,
    type=click.Choice(("auto", *STRONGEST_FIRST)),
    help="How its processes are contained; auto takes the strongest that works here.",
)
@limit_options
@deadline_options("lifetime", "idle")
@click.option("-n", "--no-input", is_flag=True, help="Don't read standard input, like ssh -n.")
@click.option("-v", "--verbose", is_flag=True, help="Print the log on standard error.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(  # noqa: PLR0913 - click gives each option
    grace: float | None,
    plan: str,
    containment: str,
    command: tuple[str, ...],
    *,
    no_input: bool,
    verbose: bool,
    deadlines: Deadlines,
    **limits: Any,  # noqa: ANN401 - options of `open_supervisor`, by their names
) -> None:
    """Run COMMAND on a terminal of its own, without a daemon, and leave no process of it behind.

    If standard input is not a terminal, the command inherits it, and has its own terminal as
    standard output and error, and as /dev/tty.

    The exit status is the command's: 128 plus the signal's number if a signal ended it. It is 127
    if the command is not found, 126 if it can't be run, 124 if a deadline has ended it, and 125 if
    something else failed or a process is left. SIGTERM, SIGHUP, SIGQUIT or SIGINT end the session
    by the plan, and then this process by the same signal; a second signal kills at once.
    """
    try:
        chosen = Plan.parse(plan)
        if grace is not None:
            chosen = chosen.with_grace(grace)
        options = Options.of(plan=chosen, containment=containment, deadlines=deadlines, **limits)
    except PtykillError as error:
        raise click.UsageError(str(error)) from None
    import_extra("ptykill.cli.client.run", "server").run(
        command, options, no_input=no_input, verbose=verbose
    )


COMMANDS = (new, list_, attach, events, deadlines, ps, signal, interrupt, kill, run)
"""The commands of the client, to be added to ``ptykill``."""
