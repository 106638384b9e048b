"""What all plots share: the colours of the themes, the axes, and small notes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "THEMES",
    "Theme",
    "answers",
    "figure",
    "median",
    "milliseconds",
    "note",
    "without_trailing_spaces",
]


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours: of text, of notes and grid, and of each family of systems."""

    text: str
    muted: str
    grid: str
    ptykill: tuple[str, str, str]
    floor: str
    peer: str
    bad: str

    def of(self, name: str) -> str:
        """Return a system's colour."""
        if name.startswith(("ptykill", "Host")):
            tiers = ("session", "keeper", "cgroup")
            return self.ptykill[next((n for n, each in enumerate(tiers) if each in name), 0)]
        return self.floor if name.startswith("C,") else self.peer


THEMES = {
    "light": Theme(
        text="#1f2328",
        muted="#59636e",
        grid="#d1d9e0",
        ptykill=("#54aeff", "#0969da", "#0a3069"),
        floor="#1a7f37",
        peer="#9a6700",
        bad="#cf222e",
    ),
    "dark": Theme(
        text="#e6edf3",
        muted="#9198a1",
        grid="#3d444d",
        ptykill=("#79c0ff", "#4493f8", "#c2e0ff"),
        floor="#3fb950",
        peer="#d29922",
        bad="#ff7b72",
    ),
}


def without_trailing_spaces(path: Path) -> None:
    """Remove spaces at the ends of lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(map(str.rstrip, lines)) + "\n", encoding="utf-8")


def note(
    ax: Any, colour: str, text: str, place: tuple[float, float], *, in_axes: bool = False
) -> None:
    """Write beside a place; its first coordinate may be a share of the axes' width."""
    ax.annotate(
        text,
        place,
        xytext=(7, 0),
        xycoords=ax.get_yaxis_transform() if in_axes else "data",
        textcoords="offset points",
        va="center",
        size=7,
        color=colour,
    )


def milliseconds(value: float) -> str:
    """Return a number of milliseconds as a tick has it."""
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"


def answers(case: Any, name: str) -> list[int]:
    """Return how long a system's answers took, in each round."""
    return [taken[name] for taken in case["answered"]["rounds"] if name in taken]


def median(case: Any, name: str) -> float:
    """Return the median of those."""
    return statistics.median(answers(case, name))


@contextmanager
def figure(  # noqa: PLR0913 - what matplotlib needs
    theme: Theme, width: float, height: float, rows: int, columns: int, *, sharey: bool = False
) -> Iterator[tuple[Any, Sequence[Any]]]:
    """Give a drawing, and its axes without what is in the way."""
    import matplotlib.pyplot as plt  # noqa: PLC0415

    drawing, axes = plt.subplots(
        rows, columns, figsize=(width, height), sharey=sharey, squeeze=False
    )
    for ax in axes.flat:
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
        ax.spines["bottom"].set_color(theme.grid)
        ax.tick_params(colors=theme.muted, which="both", length=0, labelsize=8)
    yield drawing, list(axes.flat)
    plt.close(drawing)
