"""Draw a teardown: a bar for each process along one axis of time, and what it died of.

The chart takes plain values, and has the width and the glyphs of its console.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

__all__ = ["Bar", "Chart", "Tick", "milliseconds"]

_NAME, _PID, _END = 18, 8, 21
"""Columns for a process's name, its number, and what it died of and when."""
_STEPS = tuple(base * 10**power for power in range(5) for base in (10, 20, 25, 50))
"""Milliseconds between two numbers on the axis."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """The life of a process: ``died`` in seconds on the axis, None if it has not."""

    name: str
    pid: int
    died: float | None
    cause: str = ""
    killed: bool = False
    """It died of SIGKILL."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """A delivery to the session, or an answer, at a time on the axis (seconds)."""

    at: float
    label: str


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """The bars of a session on an axis until ``end`` (seconds), as they are at ``now``."""

    title: Text
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]
    end: float
    now: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        width = max(12, options.max_width - 2 - _NAME - _PID - 2 - _END)
        yield self.title
        plain = console.options.ascii_only or not console.is_terminal
        margin = " " * (2 + _NAME + _PID)
        yield Text(margin + self._ticks(width, "v" if plain else "▼"), style="bold")
        for bar in self.bars:
            yield self._bar(bar, width, ("=", "|", ">") if plain else ("━", "╸", "▶"))
        yield Text(margin + self._axis(width), style="dim")

    def _column(self, at: float, width: int) -> int:
        return min(width - 1, int(at / self.end * width))

    def _ticks(self, width: int, arrow: str) -> str:
        """Return the labels, each with its arrow at its time, or before it if room is short."""
        line = ""
        for tick in self.ticks:
            if tick.at > self.now:
                continue
            column = self._column(tick.at, width)
            label = f"{arrow} {tick.label}"
            if column + len(label) > width + _END:
                label = f"{tick.label} {arrow}"
                column -= len(tick.label) + 1
            line = line.ljust(max(column, len(line) + 1 if line else 0)) + label
        return line

    def _bar(self, bar: Bar, width: int, glyphs: tuple[str, str, str]) -> Text:
        line, end, on = glyphs
        gone = bar.died is not None and bar.died <= self.now
        length = self._column(bar.died if gone and bar.died is not None else self.now, width)
        style = ("red" if bar.killed else "green") if gone else "yellow"
        drawn = Text(f"  {bar.name[:_NAME]:<{_NAME}}")
        drawn.append(f"{bar.pid:>{_PID - 1}} ", style="dim")
        drawn.append((line * length + (end if gone else on)).ljust(width + 1), style=style)
        if gone and bar.died is not None:
            drawn.append(f" {bar.cause:<9}{1000 * bar.died:>8.1f} ms", style=style)
        elif self.now >= self.end:
            drawn.append(" alive", style="bold red")
        return drawn

    def _axis(self, width: int) -> str:
        """Return the numbers below the axis, as many as fit."""
        span = 1000 * self.end
        step = _STEPS[min(len(_STEPS) - 1, bisect.bisect_left(_STEPS, span * 10 / width))]
        line = ""
        for number in _multiples(step, span):
            label = f"{number}"
            column = self._column(number / 1000, width)
            line = line.ljust(column) + label
        return line + " ms"


def _multiples(step: int, span: float) -> Iterator[int]:
    return iter(range(0, int(span) + 1, step))


def milliseconds(seconds: float) -> str:
    """Format a time in milliseconds."""
    return f"{1000 * seconds:.1f} ms"
