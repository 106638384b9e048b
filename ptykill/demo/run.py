"""The run: each session is ended by ptykill over HTTP, and then by ptyprocess, and both are drawn.

While something is measured nothing is drawn, so that drawing delays nobody; then it is replayed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from ptykill.demo import onlooker, rival
from ptykill.demo.daemon import Daemon
from ptykill.demo.ending import Ending, by_ptykill, by_ptyprocess
from ptykill.demo.scenarios import SCENARIOS, DemoError, Scenario
from ptykill.demo.screen import Screen

__all__ = ["run"]

_WIDEST = 120
_ENDING_SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def run(*, plain: bool, grace: float) -> int:
    """Run the demo and return its exit status (see `ptykill.demo.main`)."""
    screen = Screen(_console(plain=plain))
    mark = secrets.token_hex(8)
    status, left = 1, set[int]()
    with _interruptible():
        try:
            problems = _show_all(screen, mark, grace)
            screen.problems(problems)
            status = 1 if problems else 0
        except DemoError as error:
            screen.problems([str(error)])
        except _Interrupted as interruption:
            status = 128 + interruption.number
        finally:
            with _undisturbed():
                left = onlooker.sweep(mark)
    screen.close(left, interrupted=status > 128)
    return status if not left else 1


def _console(*, plain: bool) -> Console:
    plain = plain or not sys.stdout.isatty()
    console = Console(
        force_terminal=False if plain else None,
        color_system=None if plain else "auto",
        highlight=False,
        emoji=False,
        markup=False,
    )
    console.width = min(console.width, _WIDEST)
    return console


def _show_all(screen: Screen, mark: str, grace: float) -> list[str]:
    """Show every scenario; return what was claimed and not seen."""
    problems: list[str] = []
    endings: list[tuple[Ending, Ending | None]] = []
    with tempfile.TemporaryDirectory(prefix="ptykill-demo-") as folder, Daemon() as daemon:
        with _swept(mark):  # Before the daemon is left, which would give each its grace.
            screen.open(daemon.url, grace, rival.version())
            for number, scenario in enumerate(SCENARIOS, start=1):
                show = _Show(screen, daemon, Path(folder), mark, grace)
                ours, theirs = show.play(number, scenario)
                endings.append((ours, theirs))
                problems += [f"{scenario.name}: {problem}" for problem in ours.problems(grace)]
        screen.summary(endings)
    return problems


@dataclasses.dataclass(frozen=True, slots=True)
class _Show:
    """What showing one scenario takes."""

    screen: Screen
    daemon: Daemon
    folder: Path
    mark: str
    grace: float

    def play(self, number: int, scenario: Scenario) -> tuple[Ending, Ending | None]:
        """End the scenario's session twice, and show how it went."""
        self.screen.introduce(number, scenario)
        began = time.monotonic()
        env, directory = self._place(number, scenario, "ptykill")
        ours = by_ptykill(scenario, self.daemon, env, directory, self.grace)
        theirs = None
        if rival.version() is not None:
            env, directory = self._place(number, scenario, "ptyprocess")
            theirs = by_ptyprocess(scenario, env, directory, ours.end)
        self.screen.replay(ours, theirs, began)
        return ours, theirs

    def _place(self, number: int, scenario: Scenario, who: str) -> tuple[dict[str, str], Path]:
        directory = self.folder / f"{number}-{who}"
        directory.mkdir()
        return scenario.environment(f"{self.mark}.{number}-{who}", self.grace), directory


# --- being interrupted ----------------------------------------------------------------------------


class _Interrupted(BaseException):
    """A signal asks the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise _Interrupted(number)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Have the signals that ask for an end raise `_Interrupted`, so that nothing is left then."""
    with _handling(_interrupt):
        yield


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal interrupt a clean-up, which is short."""
    with _handling(signal.SIG_IGN):
        yield
