"""Format figures, and print tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Table", "percentile", "show", "show_ratio", "show_time"]

WIDTH = 160
"""Columns of a table that does not go to a terminal."""


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a header, rows of text, and remarks below them."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    remarks: list[str]


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that at least so many per cent of ``values`` do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def show_ratio(ratio: tuple[float, float] | None) -> str:
    """Return the median of the rounds' ratios in three digits."""
    if ratio is None or ratio[0] < 0:
        return "-"
    return f"{ratio[0]:.{2 if ratio[0] < 10 else 1 if ratio[0] < 100 else 0}f}"


def show_time(nanoseconds: float) -> str:
    """Return a time with its unit."""
    if abs(nanoseconds) < 1e6:
        return f"{nanoseconds / 1e3:.0f} µs"
    return f"{nanoseconds / 1e6:.{3 if nanoseconds < 1e8 else 4}g} ms"


def show(table: Table) -> None:
    """Print a table: by rich where it is installed, plainly where not."""
    try:
        show_richly(table)
    except ImportError:
        show_plainly(table)
    sys.stdout.flush()


def show_plainly(table: Table) -> None:
    """Print a table by print."""
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{table.title}")
    for first, *others in lines:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  ".join((first.ljust(widths[0]), *cells)))
    print(*table.remarks, sep="\n")


def show_richly(table: Table) -> None:
    """Print a table by rich."""
    from rich import box  # noqa: PLC0415 - it may not be installed
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table as Grid  # noqa: PLC0415

    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1))
    for number, name in enumerate(table.header):
        grid.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in table.rows:
        grid.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False)
    console.print(f"\n{table.title}", style="bold", soft_wrap=True)
    console.print(grid)
    for remark in table.remarks:
        console.print(f"  {remark}", soft_wrap=True)
