"""Figures from what was written as JSON, each in a light and in a dark form."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.report import percentile, show_time

__all__ = ["plot"]

Cases = Mapping[str, Any]

LINE = 8.5
"""Points that a line of small text takes."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours: of text, of what is less than text, and of each family of systems."""

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


def plot(document: Mapping[str, Any], folder: Path) -> None:
    """Draw what there is."""
    import matplotlib as mpl  # noqa: PLC0415 - it is slow to import, and may not be installed

    mpl.use("Agg")
    # Text stays text; with the salt, the same figures are the same bytes.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ptykill", "font.size": 9})
    cases = {name: case["result"] for name, case in document["cases"].items()}
    folder.mkdir(parents=True, exist_ok=True)
    footer = describe(document["machine"])
    for draw in (latency, survivors, growth):
        for name, theme in THEMES.items():
            figure = draw(cases, theme)
            if figure is not None:
                figure.text(0.01, 0.012, footer, color=theme.muted, size=7)
                path = folder / f"{draw.__name__}-{name}.svg"
                figure.savefig(path, transparent=True, metadata={"Date": None})
                without_trailing_spaces(path)


def without_trailing_spaces(path: Path) -> None:
    """Leave no spaces at the ends of lines, as in any other file of a repository."""
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(map(str.rstrip, lines)) + "\n", encoding="utf-8")


# --- latency --------------------------------------------------------------------------------------


def latency(cases: Cases, theme: Theme) -> Any:
    """One line for each system, for a cooperative and for a deaf leader."""
    if "bash" not in cases or "stubborn" not in cases:
        return None
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415

    panels = {
        "bash": "bash -i, which leaves when it is asked to:\nfrom the call to the answer",
        "stubborn": "A leader deaf to all but SIGKILL:\nfrom the end of the grace of 100 ms",
    }
    names = sorted(cases["bash"]["figures"], key=lambda name: median(cases["bash"], name))
    height = 1.6 + 0.27 * len(names)
    with figure(theme, 9.2, height, 1, 2, sharey=True) as (drawing, axes):
        for ax, (case, title) in zip(axes, panels.items(), strict=True):
            ax.set_title(title, loc="left", size=9, color=theme.text)
            ax.set_xscale("log")
            for row, name in enumerate(names):
                one_line(ax, theme, cases[case], name, row)
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds(value)))
            ax.set_xlim(right=ax.get_xlim()[1] * 12)
            ax.grid(axis="x", color=theme.grid, linewidth=0.6)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].invert_yaxis()
        for label, name in zip(axes[0].get_yticklabels(), names, strict=True):
            label.set_color(theme.of(name))
        drawing.text(
            *(0.01, 0.05),
            "dots: each round; line: from the 5th to the 95th of a hundred; ring: the median."
            "  Cross: it answered while somebody lived.  × C: the bare kernel calls, leader only.",
            color=theme.muted,
            size=7,
        )
        drawing.subplots_adjust(
            left=0.165, right=0.99, top=1 - 0.55 / height, bottom=0.78 / height, wspace=0.06
        )
    return drawing


def one_line(ax: Any, theme: Theme, case: Any, name: str, row: int) -> None:
    """Draw a system's rounds upon a line."""
    times = [max(each, 1e3) / 1e6 for each in answers(case, name)]
    colour = theme.of(name)
    if not times:
        return
    low, high = (percentile(times, percent) for percent in (5, 95))
    middle = statistics.median(times)
    early = case["figures"][name]["alive at the answer"]
    ax.plot(times, [row] * len(times), ".", color=colour, alpha=0.3, markersize=4)
    ax.plot([low, high], [row, row], color=colour, linewidth=1.6)
    ax.plot(
        [middle],
        [row],
        "X" if early else "o",
        color=theme.bad if early else colour,
        markersize=7 if early else 6,
        markeredgecolor=theme.text,
        markeredgewidth=0.5,
    )
    ratio = case["answered"]["figures"][name]["ratios"]["/ C"]
    told = show_time(middle * 1e6) + (
        f"  {ratio[0]:.{2 if ratio[0] < 10 else 3}g} × C" if ratio else ""
    )
    if case["figures"][name]["alive a second later"]:
        told = "never ends it"
    ax.annotate(
        told,
        (max(*times, high), row),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        size=7,
        color=theme.bad if early else theme.text,
    )


def milliseconds(value: float) -> str:
    """Return a number of milliseconds as a tick has it."""
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"


# --- survivors ------------------------------------------------------------------------------------


def survivors(cases: Cases, theme: Theme) -> Any:
    """Bars: who lives when the answer comes, and a second later."""
    case = cases.get("tree-100-deaf")
    if case is None:
        return None
    names = sorted(
        case["figures"],
        key=lambda name: (case["figures"][name]["alive a second later"], median(case, name)),
    )
    height = 1.55 + 0.27 * len(names)
    with figure(theme, 9.2, height, 1, 1) as (drawing, (ax,)):
        ax.set_title(
            "bash -i with 100 jobs, half of them deaf to all but SIGKILL, a grace of 100 ms: alive",
            loc="left",
            size=9,
            color=theme.text,
        )
        most = max(1, *(case["figures"][name]["alive at the answer"] for name in names))
        for row, name in enumerate(names):
            told = case["figures"][name]
            at_once, later = told["alive at the answer"], told["alive a second later"]
            ax.barh(row, at_once, height=0.62, color=theme.bad, alpha=0.35)
            ax.barh(row, later, height=0.62, color=theme.bad)
            words = (
                f"{at_once:.0f} of {told['members']:.0f} at the answer, {later:.0f} a second later"
                if at_once
                else "nobody"
            )
            ax.annotate(
                f"{words}; answered after {show_time(median(case, name))}",
                (at_once, row),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                size=7.5,
                color=theme.text,
            )
        ax.set_xlim(0, most * 2)
        ax.set_xticks([])
        ax.set_yticks(range(len(names)), names)
        ax.spines["bottom"].set_visible(False)
        ax.invert_yaxis()
        for label, name in zip(ax.get_yticklabels(), names, strict=True):
            label.set_color(theme.of(name))
        drawing.text(
            *(0.01, 0.05),
            "pale: when the answer comes; full: a second later.  Counted from outside, by pidfds;"
            " medians.",
            color=theme.muted,
            size=7,
        )
        drawing.subplots_adjust(left=0.165, right=0.99, top=1 - 0.4 / height, bottom=0.5 / height)
    return drawing


# --- growth ---------------------------------------------------------------------------------------


def growth(cases: Cases, theme: Theme) -> Any:
    """Curves: with the sessions that end at once, and with the processes there are."""
    if "many" not in cases or "neighbours" not in cases:
        return None
    from matplotlib.ticker import FuncFormatter, NullLocator  # noqa: PLC0415

    panels = {
        "many": "Sessions of sleep ended at once:\nfrom the call to the last answer",
        "neighbours": "bash -i, by the number of other processes:\nfrom the call to the answer",
    }
    labels: list[list[tuple[float, int, str]]] = []
    with figure(theme, 9.2, 5.0, 1, 2) as (drawing, axes):
        for ax, (case, title) in zip(axes, panels.items(), strict=True):
            ax.set_title(title, loc="left", size=9, color=theme.text)
            ax.set_xscale("log")
            ax.set_yscale("log")
            labels.append(ends := [])
            for name, sizes, times in curves(cases[case]):
                ours = name.startswith("ptykill")
                ax.plot(
                    sizes,
                    times,
                    "o-" if ours else "o--",
                    color=theme.of(name),
                    linewidth=1.8 if ours else 1.0,
                    markersize=3.5,
                )
                ends.append((times[-1], sizes[-1], name))
            ticks = [int(size) for size in cases[case]["parts"]]
            ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds(value)))
            ax.set_xlim(right=ticks[-1] * (ticks[-1] / ticks[0]) ** 0.5)
            ax.grid(color=theme.grid, linewidth=0.6)
        drawing.text(
            *(0.01, 0.05),
            "medians; both axes logarithmic.  Green: the bare kernel calls in C.  Blue: ptykill."
            "  Those that end one after the other are asked for no more than ten.",
            color=theme.muted,
            size=7,
        )
        drawing.subplots_adjust(left=0.075, right=0.99, top=0.88, bottom=0.155, wspace=0.17)
        for ax, ends in zip(axes, labels, strict=True):  # Where they are is known only now.
            label_ends(ax, theme, ends)
    return drawing


def curves(case: Any) -> Iterator[tuple[str, list[int], list[float]]]:
    """Return each system's sizes and median times, in milliseconds."""
    names = dict.fromkeys(name for part in case["parts"].values() for name in part["figures"])
    for name in names:
        found = {
            int(size): median(part, name) / 1e6
            for size, part in case["parts"].items()
            if name in part["figures"]
        }
        yield name, [*found], [*found.values()]


def label_ends(ax: Any, theme: Theme, ends: Sequence[tuple[float, int, str]]) -> None:
    """Write each curve's name at its end, and those that would overlap one above the other."""
    for size in {size for _, size, _ in ends}:
        here = sorted(each for each in ends if each[1] == size)
        heights = [
            ax.transData.transform((size, value))[1] * 72 / ax.figure.dpi for value, _, _ in here
        ]
        for (value, _, name), height, place in zip(here, heights, apart(heights), strict=True):
            ax.annotate(
                name,
                (size, value),
                xytext=(6, place - height),
                textcoords="offset points",
                va="center",
                size=7,
                color=theme.of(name),
            )


def apart(heights: Sequence[float]) -> list[float]:
    """Return ascending heights, in points, moved as little as leaves room for a line at each."""
    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and spread(groups[-1])[0] - spread(groups[-2])[-1] < LINE:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [place for group in groups for place in spread(group)]


def spread(heights: Sequence[float]) -> list[float]:
    """Return places one line apart, about the middle of those heights."""
    first = statistics.mean(heights) - LINE * (len(heights) - 1) / 2
    return [first + LINE * number for number in range(len(heights))]


# --- what they share ------------------------------------------------------------------------------


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
