"""Options that several commands of the client have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["as_text", "daemon_options", "json_option", "label_filter"]

F = TypeVar("F", bound=Callable[..., Any])


def daemon_options(function: F) -> F:
    """Add the options that say where the daemon is, and which key it wants."""
    where = click.option(
        "--url",
        envvar="PTYKILL_URL",
        default="http://127.0.0.1:8022",
        show_default=True,
        show_envvar=True,
        help="The daemon's URL; unix:/path/to/socket for a UNIX socket.",
    )
    key = click.option(
        "--key-file",
        type=click.Path(path_type=Path),
        help="A file with the daemon's key; without it, the key is taken from PTYKILL_API_KEY.",
    )
    return where(key(function))


json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON."
)

label_filter: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only sessions with this label, or KEY for any value; may be repeated.",
)


def as_text(argument: str) -> str:
    """Return an argument as valid Unicode, as JSON needs it, whatever the locale.

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
