"""Keeps what the demo has shown: as JSON for programs, and as a picture for a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME, TerminalTheme

from ptykill.cli.demo.teardown import Teardown
from ptykill.cli.demo.timeline import Bar

__all__ = ["draw", "figures"]

_WIDTH: Final = 84
_THEMES: Final[dict[str, TerminalTheme]] = {
    "light": DEFAULT_TERMINAL_THEME,
    "dark": SVG_EXPORT_THEME,
}


def figures(
    teardowns: Sequence[tuple[Teardown, Teardown | None]], problems: Sequence[str]
) -> dict[str, Any]:
    """Return all teardowns as values of JSON. Times are in milliseconds."""
    return {
        "sessions": [
            {
                "name": ours.scenario.name,
                "ptykill": _figures(ours),
                "ptyprocess": None if theirs is None else _figures(theirs),
            }
            for ours, theirs in teardowns
        ],
        "problems": list(problems),
    }


def _figures(teardown: Teardown) -> dict[str, Any]:
    return {
        "answer": teardown.answer,
        "answered_after_ms": round(1000 * teardown.took, 3),
        "alive": [bar.pid for bar in teardown.alive],
        "saved": teardown.saved,
        "processes": [_life(bar) for bar in teardown.bars],
    }


def _life(bar: Bar) -> dict[str, Any]:
    died = None if bar.died is None else round(1000 * bar.died, 3)
    return {"name": bar.name, "pid": bar.pid, "died_after_ms": died, "cause": bar.cause}


def draw(folder: Path, show: Callable[[Console], object]) -> list[Path]:
    """Have ``show`` print to a console, and write that as SVG, for light and for dark pages."""
    written = []
    for name, theme in _THEMES.items():
        console = Console(
            record=True,
            width=_WIDTH,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
            highlight=False,
            emoji=False,
            markup=False,
            legacy_windows=False,
        )
        show(console)
        picture = console.export_svg(title="ptykill demo", theme=theme, unique_id="demo")
        # rich has it load a font from a server; any fixed font of the reader's will do.
        picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
        picture = picture.replace(
            "Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace"
        )
        path = folder / f"demo-{name}.svg"
        path.write_text(picture, encoding="utf-8")
        written.append(path)
    return written
