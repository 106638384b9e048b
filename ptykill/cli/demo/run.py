"""Run the demo: end each session by ptykill over HTTP, then by ptyprocess, and draw both.

Nothing is drawn during a teardown: drawing would delay it. It is replayed afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeAlias

from rich.console import Console

from ptykill.cli.demo import ptyprocess_peer
from ptykill.cli.demo.record import draw, figures
from ptykill.cli.demo.scenarios import SCENARIOS, Scenario
from ptykill.cli.demo.screen import Screen
from ptykill.cli.demo.server import DemoServer
from ptykill.cli.demo.session_setup import DemoError
from ptykill.cli.demo.teardown import Teardown, end_by_ptykill, end_by_ptyprocess, find_problems
from ptykill.testing import processes

__all__ = ["run"]

Teardowns: TypeAlias = list[tuple[Teardown, Teardown | None]]
"""Each session's end by ptykill, and by ptyprocess if that is installed."""

_WIDEST = 120
_ENDING = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
_AGAIN = 0.01
"""Seconds after which a signal is sent again whose exception was lost."""


def run(*, plain: bool, grace: float, as_json: bool = False, record: str | None = None) -> int:
    """Run the demo and return its exit status (see `ptykill.cli.demo.main`)."""
    screen = Screen(_console(plain=plain, quiet=as_json))
    teardowns: Teardowns = []
    mark = secrets.token_hex(8)
    problems: list[str] = []
    interrupted = 0
    left: set[int] = set()
    with _interruptible(), _short_thread_turns():
        try:
            try:
                problems = _show_all(screen, mark, grace, teardowns)
            finally:
                _ignore_signals()
                left = {each.pid for each in processes.kill_marked(f"PTYKILL_DEMO={mark}")}
        except DemoError as error:
            problems = [str(error)]
        except _Interrupted as interruption:
            interrupted = interruption.number
        screen.close(problems, left, interrupted=bool(interrupted))
        if as_json:
            shown = figures(teardowns, problems) | {"left": sorted(left)}
            sys.stdout.write(json.dumps(shown, indent=2) + "\n")
        if record is not None and teardowns:
            version = ptyprocess_peer.version()
            written = draw(Path(record), lambda console: Screen(console).still(teardowns, version))
            screen.say_written(written)
    if problems or left:
        return 1
    return 128 + interrupted if interrupted else 0


def _console(*, plain: bool, quiet: bool) -> Console:
    plain = plain or not sys.stdout.isatty()
    console = Console(
        force_terminal=False if plain else None,
        color_system=None if plain else "auto",
        highlight=False,
        emoji=False,
        markup=False,
        quiet=quiet,
    )
    console.width = min(console.width, _WIDEST)
    return console


def _show_all(screen: Screen, mark: str, grace: float, teardowns: Teardowns) -> list[str]:
    """Show every scenario, and add its teardowns; return the claims that were not seen."""
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ptykill-demo-") as folder, DemoServer() as daemon:
        with _killing_marked(mark):  # Before the daemon's exit, which would give each its grace.
            _warm_up(daemon, mark)
            scenarios = [each for each in SCENARIOS if daemon.contains_escapees or not each.escapes]
            screen.open(daemon.url, grace, ptyprocess_peer.version(), len(scenarios))
            for number, scenario in enumerate(scenarios, start=1):
                show = _Show(screen, daemon, Path(folder), mark, grace)
                ours, theirs = show.play(number, scenario)
                teardowns.append((ours, theirs))
                problems += [f"{scenario.name}: {problem}" for problem in find_problems(ours)]
        screen.summary(teardowns)
    return problems


def _warm_up(daemon: DemoServer, mark: str) -> None:
    """End one session before the first is shown: the first teardown of a process is slower."""
    session_id, _ = daemon.create(("sleep", "60"), {"PTYKILL_DEMO": mark}, Path("/"))
    daemon.delete(session_id, 0.0)


@dataclasses.dataclass(frozen=True, slots=True)
class _Show:
    """Shows one scenario."""

    screen: Screen
    daemon: DemoServer
    folder: Path
    mark: str
    grace: float

    def play(self, number: int, scenario: Scenario) -> tuple[Teardown, Teardown | None]:
        """End the scenario's session by both programs, and show both teardowns."""
        self.screen.introduce(number, scenario)
        env, directory = self._place(number, scenario, "ptykill")
        ours = end_by_ptykill(scenario, self.daemon, env, directory, self.grace)
        theirs = None
        if ptyprocess_peer.version() is not None:
            env, directory = self._place(number, scenario, "ptyprocess")
            theirs = end_by_ptyprocess(scenario, env, directory, at_least=ours.end)
        self.screen.show(ours, theirs)
        return ours, theirs

    def _place(self, number: int, scenario: Scenario, who: str) -> tuple[dict[str, str], Path]:
        directory = self.folder / f"{number}-{who}"
        directory.mkdir()
        return scenario.environment(f"{self.mark}.{number}-{who}", self.grace), directory


# --- signals --------------------------------------------------------------------------------------


class _Interrupted(BaseException):
    """A signal has asked the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Have SIGINT, SIGTERM and SIGHUP raise `_Interrupted`, so that the clean-up runs."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may set handlers, and runs them.
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup(1) ignores SIGHUP.
            signal.signal(number, _interrupt)
    try:
        with _raising_again():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _raising_again() -> Iterator[None]:
    """Have an interruption raised again that was lost, since it was raised in a callback.

    In the callback of a weak reference, say, Python only prints an exception (sys.unraisablehook).
    """
    timers: list[threading.Timer] = []
    print_it = sys.unraisablehook

    def send_again(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, _Interrupted):
            print_it(lost)
            return
        number = lost.exc_value.number
        signal.signal(number, _interrupt)
        # Later: this is still in the callback.
        main = threading.main_thread().ident
        timers.append(threading.Timer(_AGAIN, signal.pthread_kill, (main, number)))
        timers[-1].start()

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = print_it
        for timer in timers:
            timer.cancel()
            timer.join()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    _ignore_signals()  # A second signal must not interrupt the clean-up.
    raise _Interrupted(number)


def _ignore_signals() -> None:
    """Ignore further signals during the clean-up, which is short."""
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _short_thread_turns() -> Iterator[None]:
    """Let threads switch after 0.2 ms instead of 5: the observer's times have to be exact."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextlib.contextmanager
def _killing_marked(mark: str) -> Iterator[None]:
    try:
        yield
    finally:
        processes.kill_marked(f"PTYKILL_DEMO={mark}")
