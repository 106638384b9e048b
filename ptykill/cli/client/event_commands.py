"""The options of ``events``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ptykill.cli.client.options import as_text, daemon_options, json_option, label_filter
from ptykill.cli.extras import import_extra

__all__ = ["events"]

_ID = re.compile(r"[!-~]+", re.ASCII)


def _checked(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not _ID.fullmatch(text):
        message = f"{text!a} is no event's id"
        raise click.BadParameter(message)
    return text


@click.command()
@daemon_options
@label_filter
@click.option(
    "--since", metavar="ID", callback=_checked, help="Begin after the event with this id."
)
@json_option
def events(
    url: str,
    key_file: Path | None,
    labels: tuple[str, ...],
    since: str | None,
    *,
    as_json: bool,
) -> None:
    """Print what happens to the sessions of a daemon, a line for each event, until the daemon ends.

    If the connection is lost, it is made again, and goes on after the last event. An event "reset"
    comes first, and where events are missing. With --json each line is an event as the daemon sends
    it, with its id. On a pipe or in a file there are tabs between the columns.
    """
    actions = import_extra("ptykill.cli.client.event_actions", "server")
    actions.events(
        actions.DaemonOptions(url, key_file),
        [as_text(each) for each in labels],
        since=since,
        as_json=as_json,
    )
