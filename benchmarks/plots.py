"""Draw plots from the figures in JSON, each in a light and a dark theme."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.plot_style import (
    THEMES,
    Theme,
    answers,
    figure,
    median,
    milliseconds,
    note,
    without_trailing_spaces,
)
from benchmarks.tables import percentile, show_time

__all__ = ["plot"]

Cases = Mapping[str, Any]

LINE = 8.5
"""Points that a line of small text takes."""


def plot(document: Mapping[str, Any], folder: Path) -> None:
    """Draw each plot whose cases were measured."""
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
            ax.set_xlim(*limits(cases[case]))
            ax.grid(axis="x", color=theme.grid, linewidth=0.6)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].invert_yaxis()
        for label, name in zip(axes[0].get_yticklabels(), names, strict=True):
            label.set_color(theme.of(name))
        drawing.text(
            *(0.01, 0.05),
            "dots: each round; line: from the 5th to the 95th of a hundred; large: the median."
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
    times = [each / 1e6 for each in answers(case, name)]
    if not times:
        return
    colour = theme.of(name)
    middle = statistics.median(times)
    if case["figures"][name]["alive a second later"]:
        note(ax, theme.bad, "it never ends it", (0.02, row), in_axes=True)
        return
    early = case["figures"][name]["alive at the answer"]
    low, high = (percentile(times, percent) for percent in (5, 95))
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
    times_c = f"  {ratio[0]:.{1 if ratio[0] < 10 else 0}f} × C" if ratio else ""
    note(
        ax, theme.bad if early else theme.text, show_time(middle * 1e6) + times_c, (max(times), row)
    )


def limits(case: Any) -> tuple[float, float]:
    """Return how far an axis reaches: from the shortest answer to where a label ends."""
    counts = [
        each / 1e6
        for name, about in case["figures"].items()
        if not about["alive a second later"]
        for each in (min(answers(case, name)), max(answers(case, name)))
        if each > 0
    ]
    return min(0.1, *counts), max(counts) * 40


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
            counts = case["figures"][name]
            at_once, later = counts["alive at the answer"], counts["alive a second later"]
            members = counts["members"]
            ax.barh(row, at_once, height=0.62, color=theme.bad, alpha=0.35)
            ax.barh(row, later, height=0.62, color=theme.bad)
            words = (
                f"{at_once:.0f} of {members:.0f} at the answer, {later:.0f} a second later"
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
            ticks = legible([int(size) for size in cases[case]["parts"]])
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


def legible(ticks: Sequence[int]) -> list[int]:
    """Return the ticks of a logarithmic axis that have room for their labels."""
    least = (ticks[-1] / ticks[0]) ** 0.12
    kept = [ticks[-1]]
    for tick in reversed(ticks[:-1]):
        if kept[0] / tick >= least:
            kept.insert(0, tick)
    return kept


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
