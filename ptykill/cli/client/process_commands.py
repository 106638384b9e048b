"""The options of ``ps``, ``signal`` and ``interrupt``."""

from __future__ import annotations

from pathlib import Path

import click

from ptykill.cli.client.options import daemon_options, json_option
from ptykill.cli.extras import import_extra
from ptykill.rules.steps import Reach

__all__ = ["interrupt", "ps", "signal"]


@click.command()
@daemon_options
@json_option
@click.argument("session_id", metavar="[ID]", required=False)
def ps(url: str, key_file: Path | None, session_id: str | None, *, as_json: bool) -> None:
    """List the processes of a session, or of all live sessions.

    A + after the state marks a process in the terminal's foreground, and a ! one that has left the
    session. On a pipe or in a file each process is a line, with tabs between the columns.
    """
    actions = import_extra("ptykill.cli.client.process_actions", "server")
    actions.ps(actions.DaemonOptions(url, key_file), session_id, as_json=as_json)


@click.command()
@daemon_options
@click.option(
    "--reach",
    type=click.Choice([each.value for each in Reach]),
    default=Reach.FOREGROUND.value,
    show_default=True,
    help="The processes that get it, as in a plan.",
)
@json_option
@click.argument("session_id", metavar="ID")
@click.argument("name", metavar="SIGNAL")
def signal(  # noqa: PLR0913 - click gives each option
    url: str, key_file: Path | None, reach: str, session_id: str, name: str, *, as_json: bool
) -> None:
    """Send SIGNAL, such as INT, to processes of a session, and print which got it.

    The session goes on. The exit status is 0 if a process got the signal, and none refused it.
    """
    actions = import_extra("ptykill.cli.client.process_actions", "server")
    options = actions.DaemonOptions(url, key_file)
    actions.signal(options, session_id, name, reach, as_json=as_json)


@click.command()
@daemon_options
@click.argument("session_id", metavar="ID")
def interrupt(url: str, key_file: Path | None, session_id: str) -> None:
    """Do what Ctrl-C does in the terminal of a session: the session goes on."""
    actions = import_extra("ptykill.cli.client.process_actions", "server")
    actions.interrupt(actions.DaemonOptions(url, key_file), session_id)
