"""Print a table of sessions: aligned on a terminal, with tabs elsewhere."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ptykill.cli.client.messages import print_output, printable
from ptykill.http.schema import SessionRecord

__all__ = ["show"]

_HEADS = ("id", "pid", "size", "age", "state", "command")
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))


def show(sessions: Sequence[SessionRecord]) -> None:
    """Print a table; if standard output is not a terminal, lines with tabs between columns."""
    rows = [_row(session) for session in sessions]
    if not sys.stdout.isatty():
        print_output("\n".join("\t".join(row) for row in (_HEADS, *rows)))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for head in _HEADS:
        table.add_column(
            head,
            justify="right" if head in ("pid", "size", "age") else "left",
            no_wrap=head != "command",
            overflow="fold",
        )
    for session, row in zip(sessions, rows, strict=True):
        style = "" if session.is_alive else "dim"
        table.add_row(*(Text(cell, style) for cell in row))
    console = Console()
    with console.capture() as capture:
        console.print(table)
    print_output(capture.get().rstrip("\n"))


def _row(session: SessionRecord) -> tuple[str, ...]:
    return (
        session.session_id,
        str(session.pid),
        f"{session.cols}x{session.rows}",
        _age(time.time() - session.created_at / 1000),
        _state(session),
        printable(shlex.join([session.command, *session.args])),
    )


def _age(seconds: float) -> str:
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def _state(session: SessionRecord) -> str:
    if session.is_alive:
        # Its leader may be dead while other processes of it live.
        return "running" if session.exit_code is None else "ending"
    if session.exit_code is None:
        return "ended"
    try:
        name = signal.Signals(session.exit_code - 128).name.removeprefix("SIG")
    except ValueError:
        return f"exit {session.exit_code}"
    return f"exit {session.exit_code} ({name})"
