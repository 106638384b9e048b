"""Write the demo's text and drawings: titles, the replay, the summary, the end."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ptykill.cli.demo.scenarios import CHAPTERS, Scenario
from ptykill.cli.demo.teardown import Report, Teardown
from ptykill.cli.demo.timeline import Bar, Chart, Tick, milliseconds
from ptykill.rules.verdict import Verdict

__all__ = ["Screen"]

_FRAMES = 25
"""Per second."""
_READ = 1.0
"""Seconds for a person to read what was shown, on a terminal."""
_PLAIN = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
"""No lines but one below the head."""
_GOOD, _BAD = "bold green", "bold red"
_NEXT = (
    ("ptykill run -- make test", "run a command, and leave no process of it behind"),
    ("ptykill serve", "start the daemon for new, list, attach and kill"),
    ("ptykill doctor", "see how this machine contains sessions"),
)
_COLUMN = 28


@dataclasses.dataclass(frozen=True, slots=True)
class _Note:
    """A line below a chart, shown from this time on the axis (seconds)."""

    at: float
    text: Text


@dataclasses.dataclass(frozen=True, slots=True)
class _Drawing:
    """One teardown, as it is drawn."""

    title: Text
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]
    notes: tuple[_Note, ...]


class Screen:
    """Writes the demo to a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._moving = console.is_terminal and not console.is_dumb_terminal
        self._peer = "ptyprocess"

    def open(self, url: str, grace: float, version: str | None, sessions: int) -> None:
        """Print the introduction."""
        say = self._console.print
        say(Text.assemble(("ptykill demo", "bold"), f"   a daemon listens on {url}"))
        say(f"The demo ends {sessions} sessions by DELETE, with {grace:g} s of grace.")
        if version is None:
            say("ptyprocess is not installed: the comparison with it is left out.")
        else:
            self._peer = f"ptyprocess {version}"
            say(f"Then {self._peer} ends the same sessions: terminate(force=True).")
        say("An observer holds a pidfd of each process, and shows when it died, and of what.")
        if self._moving:
            say("The moving charts are replays: nothing is drawn during a teardown.", style="dim")

    def introduce(self, number: int, scenario: Scenario) -> None:
        """Print the scenario whose session is ended next."""
        line = "─" if self._moving else "-"
        title = Text(f"{number}. {scenario.name}", style="bold")
        self._console.print()
        self._console.print(Rule(title, align="left", characters=line, style="dim"))
        self._console.print(scenario.about)
        for shown in scenario.shown:
            self._console.print(Text(f"    {shown}", style="cyan"))
        if self._moving:
            self._console.print("    being ended ...", style="dim", end="\r")

    def show(self, ours: Teardown, theirs: Teardown | None) -> None:
        """Replay both teardowns, at their speed."""
        # This overwrites the line "being ended".
        self._console.print(f"    {_count(ours)}", style="dim")
        self._console.print()
        end = max(each.end for each in (ours, theirs) if each is not None)
        drawn = _ours(ours), None if theirs is None else _theirs(self._peer, theirs)
        whole = _charts(*drawn, end, end)
        if self._moving and len(self._console.render_lines(whole)) < self._console.height:
            began = time.monotonic()
            with Live(console=self._console, auto_refresh=False) as live:
                while (now := time.monotonic() - began) < end:
                    live.update(_charts(*drawn, end, now), refresh=True)
                    time.sleep(1 / _FRAMES)
                live.update(whole, refresh=True)
        else:
            self._console.print(whole)
        if self._moving:
            time.sleep(_READ)

    def summary(self, teardowns: Sequence[tuple[Teardown, Teardown | None]]) -> None:
        """Print a table of all teardowns."""
        compared = any(theirs is not None for _, theirs in teardowns)
        table = Table(
            box=box.SIMPLE_HEAD if self._moving else _PLAIN, show_edge=False, header_style="bold"
        )
        table.add_column("session")
        for who in ("ptykill", *([self._peer] if compared else [])):
            table.add_column(who, no_wrap=True)
            table.add_column("alive", justify="right")
        for ours, theirs in teardowns:
            cells: list[RenderableType] = [ours.scenario.name]
            for each in (ours, theirs) if compared else (ours,):
                cells += _cells(each) if each is not None else ["", ""]
            table.add_row(*cells)
        self._console.print()
        self._console.print(table)

    def close(self, problems: Sequence[str], left: set[int], *, interrupted: bool) -> None:
        """Print the claims that were not seen, and whether a process is left."""
        self._console.print()
        if interrupted:
            self._console.print("Interrupted.")
        for problem in problems:
            self._console.print(Text(f"Not as claimed: {problem}", style=_BAD))
        if left:
            pids = ", ".join(map(str, sorted(left)))
            self._console.print(Text(f"The demo could not end what it started: {pids}", style=_BAD))
        else:
            self._console.print("Nothing that the demo started is alive.")
        if not (problems or left or interrupted):
            self._console.print()
            self._console.print("To try next:")
            for command, what in _NEXT:
                self._console.print(Text.assemble(f"    {command:<{_COLUMN}}", (what, "dim")))

    def still(
        self, teardowns: Sequence[tuple[Teardown, Teardown | None]], version: str | None
    ) -> None:
        """Print what fits in a picture: the first session's end, and the table of all."""
        self._peer = f"ptyprocess {version}"
        ours, theirs = teardowns[0]
        self._console.print(ours.scenario.about, style="dim")
        for shown in ours.scenario.shown:
            self._console.print(Text(f"    {shown}", style="cyan"))
        self._console.print()
        end = max(each.end for each in (ours, theirs) if each is not None)
        drawn = _ours(ours), None if theirs is None else _theirs(self._peer, theirs)
        self._console.print(_charts(*drawn, end, end))
        self.summary(teardowns)

    def say_written(self, files: Iterable[Path]) -> None:
        """Print which files were written."""
        for file in files:
            self._console.print(Text(f"Written: {file}"))


def _charts(ours: _Drawing, theirs: _Drawing | None, end: float, now: float) -> Group:
    parts = list(_part(ours, end, now))
    if theirs is not None:
        parts += [Text(), *_part(theirs, end, now)]
    return Group(*parts)


def _part(drawing: _Drawing, end: float, now: float) -> Iterable[RenderableType]:
    yield Chart(drawing.title, drawing.ticks, drawing.bars, end, now)
    for note in drawing.notes:
        # An empty line keeps the place of a later note.
        yield note.text if note.at <= now else Text()


def _ours(teardown: Teardown) -> _Drawing:
    report = teardown.report
    assert report is not None
    request = f"  DELETE /api/v1/pty/{report.session_id[:8]}...?grace={report.grace:g}"
    return _Drawing(
        Text.assemble(("ptykill", "bold"), request),
        tuple(Tick(at, what) for at, what, _ in _steps(report.verdict)),
        teardown.bars,
        tuple(_our_notes(teardown, report)),
    )


def _theirs(who: str, teardown: Teardown) -> _Drawing:
    return _Drawing(
        Text.assemble((who, "bold"), "  terminate(force=True)"),
        (Tick(teardown.answered_at, f"returned {teardown.answer}"),),
        teardown.bars,
        tuple(_their_notes(teardown)),
    )


def _our_notes(teardown: Teardown, report: Report) -> Iterable[_Note]:
    verdict, answer = report.verdict, report.answer
    steps = _steps(verdict)
    ends = [at for at, _, _ in steps[1:]]
    for (at, what, reached), until in zip(steps, [*ends, verdict.took], strict=True):
        # The observer records the last deaths a little after they happen.
        last = until == verdict.took
        died = teardown.died(at, float("inf") if last else until)
        line = f"  {what:<12}{milliseconds(at):>10}   reached {reached};"
        line += f" {died} died in {milliseconds(until - at)}"
        yield _Note(until, Text(line))
    said = f"{answer.status} after {milliseconds(teardown.took)}; alive after the {answer.status}"
    yield _Note(verdict.took, _alive(said, teardown.alive, _saved(teardown)))
    yield _Note(verdict.took, Text(f"  Server-Timing: {answer.server_timing}", style="dim"))


def _steps(verdict: Verdict) -> list[tuple[float, str, int]]:
    """Return the time of each step, its deliveries that reached any process, and how many."""
    steps = []
    for at, together in itertools.groupby(verdict.deliveries, lambda each: each.at):
        deliveries = list(together)
        shown = [each for each in deliveries if each.reached] or deliveries[:1]
        what = " + ".join(each.what for each in shown)
        steps.append((at, what, sum(each.reached for each in deliveries)))
    return steps


def _their_notes(teardown: Teardown) -> Iterable[_Note]:
    when = f"alive {teardown.end - teardown.answered_at:.1f} s later"
    yield _Note(teardown.end, _alive(when, teardown.alive, _saved(teardown)))


def _alive(when: str, alive: Sequence[Bar], more: str) -> Text:
    who = ", ".join(f"{bar.name} {bar.pid}" for bar in alive)
    return Text.assemble(
        f"  {when}: ",
        (str(len(alive)), _BAD if alive else _GOOD),
        f"   {who}" if who else "",
        f"   {more}" if more else "",
    )


def _saved(teardown: Teardown) -> str:
    return "" if teardown.saved is None else f"saved {teardown.saved} of {CHAPTERS} chapters"


def _count(teardown: Teardown) -> str:
    processes, groups = len(teardown.bars), teardown.groups
    plural = "es" if processes > 1 else ""
    return f"{processes} process{plural}, {groups} process group{'s' if groups > 1 else ''}"


def _cells(teardown: Teardown) -> Iterable[RenderableType]:
    saved = _saved(teardown)
    yield f"{teardown.answer} after {1000 * teardown.took:.0f} ms" + (f"\n{saved}" if saved else "")
    yield Text(str(len(teardown.alive)), style=_BAD if teardown.alive else _GOOD)
