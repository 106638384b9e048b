"""Print tables: aligned on a terminal, with tabs elsewhere."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Container, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ptykill.cli.client.messages import print_output, printable
from ptykill.http.session_record import SessionRecord

__all__ = ["SHORT_ID", "age", "exit_text", "for_terminal", "show", "show_rows"]

_HEADS = ("id", "pid", "size", "age", "state", "command", "name", "labels", "clients", "reason")
"""The columns on a pipe: programs may count on their order, so new ones come last."""
_AT_TERMINAL = (0, 6, 1, 2, 3, 4, 9, 8, 7, 5)
"""Their order at a terminal: the command comes last, where it may be folded."""
_IF_ANY = {"name": {""}, "labels": {""}, "clients": {"0"}, "reason": {"", "exited"}}
"""Columns that a terminal leaves out if no session has anything else there."""
_RIGHT = {"pid", "size", "age", "clients"}
SHORT_ID = 12
"""Characters of an id at a terminal; every command takes them as an id."""
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))


def show(sessions: Sequence[SessionRecord]) -> None:
    """Print a table of sessions; those that have ended are dim."""
    if not sys.stdout.isatty():
        show_rows(_HEADS, [_row(session) for session in sessions], _RIGHT)
        return
    heads, rows = for_terminal(sessions)
    dim = {number for number, session in enumerate(sessions) if not session.is_alive}
    show_rows(heads, rows, _RIGHT, dim)


def for_terminal(sessions: Sequence[SessionRecord]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the rows of a table at a terminal: ids are cut, if they differ then."""
    rows = [_row(session) for session in sessions]
    if len({row[0][:SHORT_ID] for row in rows}) == len(rows):
        rows = [(row[0][:SHORT_ID], *row[1:]) for row in rows]
    shown = [column for column in _AT_TERMINAL if _worth_showing(column, rows)]
    heads = [_HEADS[column] for column in shown]
    return heads, [[row[column] for column in shown] for row in rows]


def _worth_showing(column: int, rows: Sequence[Sequence[str]]) -> bool:
    nothing = _IF_ANY.get(_HEADS[column])
    return nothing is None or any(row[column] not in nothing for row in rows)


def show_rows(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Container[str],
    dim: Container[int] = (),
) -> None:
    """Print a table; if standard output is not a terminal, lines with tabs between columns.

    The columns with the heads in ``right`` are aligned to the right. The last column may be folded.
    ``dim`` has the numbers of rows that are dim.
    """
    if not sys.stdout.isatty():
        print_output("\n".join("\t".join(row) for row in (heads, *rows)))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(
            head,
            justify="right" if head in right else "left",
            no_wrap=head != heads[-1],
            overflow="fold",
        )
    for number, row in enumerate(rows):
        style = "dim" if number in dim else ""
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
        age(time.time() - session.created_at / 1000),
        _state(session),
        printable(shlex.join([session.command, *session.args])),
        printable(session.name or ""),
        printable(",".join(f"{label}={value}" for label, value in session.labels.items())),
        str(session.client_count),
        session.end_reason or "",
    )


def age(seconds: float) -> str:
    """Return a time in its largest unit: ``59s``, ``2h``."""
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def _state(session: SessionRecord) -> str:
    return session.status if session.is_alive else exit_text(session.exit_code) or "ended"


def exit_text(code: int | None) -> str:
    """Return an exit code, with the signal that it stands for; ``""`` if it is not known."""
    if code is None:
        return ""
    try:
        name = signal.Signals(code - 128).name.removeprefix("SIG")
    except ValueError:
        return f"exit {code}"
    return f"exit {code} ({name})"
