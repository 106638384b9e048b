"""Options that several commands of the client have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["daemon_options", "json_option"]

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
