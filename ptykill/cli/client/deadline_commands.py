"""The options of ``deadlines``."""

from __future__ import annotations

from pathlib import Path

import click

from ptykill.cli.client.options import daemon_options, json_option
from ptykill.cli.extras import import_extra
from ptykill.errors import InvalidDeadline
from ptykill.rules.deadlines import Deadlines

__all__ = ["deadlines"]

_NONE = "none"


def _seconds(
    _context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float | None] | None:
    """Read seconds, or ``none``. A tuple tells a deadline to be removed from one not mentioned."""
    if text is None:
        return None
    if text == _NONE:
        return (None,)
    try:
        seconds = float(text)
    except ValueError:
        message = f"{text!a} is neither a number of seconds nor {_NONE}"
        raise click.BadParameter(message) from None
    try:
        Deadlines(**{str(parameter.name): seconds})
    except InvalidDeadline as error:
        raise click.BadParameter(str(error)) from None
    return (seconds,)


@click.command()
@daemon_options
@click.option(
    "--lifetime",
    callback=_seconds,
    metavar="SECONDS|none",
    help="Change when it ends at the latest.",
)
@click.option(
    "--idle",
    callback=_seconds,
    metavar="SECONDS|none",
    help="Change how long it may have no input, no output and no processor time.",
)
@click.option(
    "--detached",
    callback=_seconds,
    metavar="SECONDS|none",
    help="Change how long it may have no attached client.",
)
@json_option
@click.argument("session_id", metavar="ID")
def deadlines(
    url: str,
    key_file: Path | None,
    session_id: str,
    *,
    as_json: bool,
    **given: tuple[float | None] | None,
) -> None:
    """Show the deadlines of a session, or change some of them, and show them then.

    They count from when they would have counted before, so one that has passed ends the session at
    once. none removes one; then the daemon's is in force, if it has one. None may be later than the
    daemon's.
    """
    actions = import_extra("ptykill.cli.client.deadline_actions", "server")
    changes = {name: value[0] for name, value in given.items() if value is not None}
    actions.deadlines(actions.DaemonOptions(url, key_file), session_id, changes, as_json=as_json)
