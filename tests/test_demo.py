"""The demo: it shows what it claims, and leaves nothing behind, whatever happens to it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.text import Text

from ptykill import ExitStatus, Outcome, Verdict
from ptykill.cli.demo import main, run
from ptykill.cli.demo.scenarios import CHAPTERS, SCENARIOS
from ptykill.cli.demo.server import Response
from ptykill.cli.demo.session_setup import DemoError, prepare
from ptykill.cli.demo.teardown import Report, Teardown, find_problems
from ptykill.cli.demo.timeline import Bar, Chart, Tick
from ptykill.testing import processes

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it needs pidfds")

_TIMEOUT = 60.0
"""Time-out for events that are due at once, on a busy machine, in seconds."""
SHELL, EDITOR, SERVER, DAEMON = SCENARIOS


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a demo in a process of its own, without a terminal."""
    with subprocess.Popen(
        [sys.executable, "-m", "ptykill", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.long
def test_it_shows_what_it_claims_and_leaves_nothing(mark: str) -> None:
    """The whole demo, as plain text: exit status 0, and no survivor of ptykill's."""
    with started("--plain", "--grace", "2") as process:
        text, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert re.findall(r"alive after the 204: (\d+)", text) == ["0", "0", "0", "0"]
    assert f"alive after the 204: 0   saved {CHAPTERS} of {CHAPTERS} chapters" in text
    assert "Not as claimed" not in text
    assert "Nothing that the demo started is alive." in text
    assert not re.search(r"[^\n -~]", text), "plain text has no control codes"
    assert max(map(len, text.splitlines())) <= 80
    assert processes.left(mark) == []


@pytest.mark.skipif(find_spec("ptyprocess") is None, reason="ptyprocess is not installed")
def test_it_shows_what_ptyprocess_leaves_alive(capsys: pytest.CaptureFixture[str]) -> None:
    """The deaf worker of a server outlives `terminate(force=True)`, and is named with its pid."""
    with only(SERVER):
        assert main(plain=True, grace=0.2) == 0
    text = capsys.readouterr().out
    assert re.search(r"alive \d+\.\d s later: 1   worker \(sleep\) \d+\n", text)


def test_it_prints_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: who died when and of what, and who was alive at the answer."""
    with only(SERVER):
        assert main(grace=0.2, as_json=True) == 0
    shown = json.loads(capsys.readouterr().out)
    (session,) = shown["sessions"]
    assert (shown["problems"], shown["left"]) == ([], [])
    assert (session["name"], session["ptykill"]["answer"]) == (SERVER.name, "204")
    assert session["ptykill"]["alive"] == []
    assert [each["cause"] for each in session["ptykill"]["processes"]] == ["SIGKILL", "SIGKILL"]
    assert all(each["died_after_ms"] > 0 for each in session["ptykill"]["processes"])


def test_it_draws_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two pictures, which load nothing, of the first session and of the table."""
    with only(SERVER):
        assert main(plain=True, grace=0.2, record=str(tmp_path)) == 0
    assert "To try next:" in capsys.readouterr().out
    for name in "light", "dark":
        picture = (tmp_path / f"demo-{name}.svg").read_text()
        assert "KILL@all" in picture
        assert SERVER.name.replace(" ", "&#160;") in picture
        assert re.findall(r"url\((?!#)|https?://(?!www\.w3\.org|www\.textualize)", picture) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_leaves_nothing_when_it_is_interrupted(number: signal.Signals, mark: str) -> None:
    """A signal in the midst of an teardown: everything is ended before the demo exits."""
    with started("--plain", "--grace", "10") as process:
        until = time.monotonic() + _TIMEOUT
        while len(programs(mark)) < 3:  # The demo, and the deaf jobs in their grace.
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(number)
        text, errors = process.communicate()
    assert (process.returncode, errors) == (128 + number, "")
    assert "Interrupted." in text
    assert "Nothing that the demo started is alive." in text
    assert processes.left(mark) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_in_a_callback_is_not_lost(number: signal.Signals) -> None:
    """Python would only print the exception, and go on."""

    class Referred:
        pass

    referred = [Referred()]
    reference = weakref.ref(referred[0], lambda _: signal.raise_signal(number))

    def interrupted_in_a_callback() -> None:
        referred.clear()
        assert reference() is None
        time.sleep(_TIMEOUT)

    with pytest.raises(run._Interrupted) as interrupted, run._interruptible():
        interrupted_in_a_callback()
    assert interrupted.value.number == number


def programs(mark: str) -> list[processes.Process]:
    """Return the processes that carry a mark, without ptykill's helper processes."""
    return [each for each in processes.marked(mark) if not processes.our_own(each)]


def test_it_leaves_nothing_when_it_fails(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the midst of an teardown: everything is ended before it is raised."""
    seen = []

    def fail(*_: object) -> None:
        seen.extend(programs(mark))
        raise RuntimeError

    monkeypatch.setattr("ptykill.cli.demo.teardown.Observer", fail)
    with pytest.raises(RuntimeError):
        main(plain=True)
    assert len(seen) == len(SHELL.jobs)
    assert processes.left(mark) == []


def test_without_ptyprocess_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison is left out, and the rest is shown."""
    monkeypatch.setattr("ptykill.cli.demo.ptyprocess_peer.version", lambda: None)
    with only(SERVER):
        assert main(plain=True, grace=0.2) == 0
    text = capsys.readouterr().out
    assert "ptyprocess is not installed" in text
    assert "terminate(force=True)" not in text
    assert "alive after the 204: 0" in text


def test_without_its_libraries_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 2, and the name of the extra."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main() == 2
    assert "pip install 'ptykill[demo]'" in capsys.readouterr().err


@pytest.mark.parametrize("grace", [0.0, -1.0, 11.0, float("nan")])
def test_a_grace_that_shows_nothing_is_refused(
    grace: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 before anything is started."""
    assert main(grace=grace) == 2
    assert "grace of 0.2 to 10 seconds" in capsys.readouterr().err


# --- what it claims -------------------------------------------------------------------------------


def teardown(**changes: object) -> Teardown:
    """Return how the server's session should end, or differently."""
    verdict = Verdict(
        session_id="0" * 32,
        pid=1,
        outcome=Outcome.KILLED,
        empty=True,
        exit_status=ExitStatus(signal=9),
        deliveries=(),
        survivors=(),
        containment="session",
        caveats=frozenset(),
        took=1.1,
        grace=1.0,
        kill=0.1,
    )
    report = Report("0" * 32, 1.0, Response(204, "No Content", "", b"", 0.0, 1.1), verdict)
    bars = tuple(Bar(job.name, 1, 1.05, "SIGKILL", killed=True) for job in SERVER.jobs)
    right = Teardown(SERVER, bars, (), "204", 1.1, 1.1, 1.1, groups=1, saved=None, report=report)
    in_told = {name: changes.pop(name) for name in ("answer", "verdict") if name in changes}
    if "verdict" in in_told:
        in_told["verdict"] = dataclasses.replace(verdict, **in_told["verdict"])  # type: ignore[arg-type]
    return dataclasses.replace(right, report=dataclasses.replace(report, **in_told), **changes)  # type: ignore[arg-type]


def test_an_ending_as_it_should_be_is_no_problem() -> None:
    """No problem: a 204, an empty verdict, no survivor, SIGKILL for the deaf."""
    assert find_problems(teardown()) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"alive": (Bar("worker", 7, None),)}, "alive after the answer: worker (7)"),
        ({"answer": Response(500, "No", "", b"", 0.0, 1.1)}, "the answer was 500"),
        ({"verdict": {"empty": False}}, "something is left"),
        ({"bars": (Bar("server", 7, 0.1, "SIGHUP"),)}, "deaf to SIGHUP"),
        ({"scenario": EDITOR, "saved": CHAPTERS - 1}, f"saved {CHAPTERS - 1} of {CHAPTERS}"),
    ],
)
def test_what_was_claimed_and_not_seen_is_told(changes: dict[str, object], problem: str) -> None:
    """Each claim fails by itself."""
    (found,) = find_problems(teardown(**changes))
    assert problem in found


# --- how sessions are set up ----------------------------------------------------------------------


def test_a_session_that_ends_before_its_time_is_told() -> None:
    """It is not waited for."""
    program = subprocess.Popen(["true"], stdout=subprocess.DEVNULL)
    program.wait()
    silent = SimpleNamespace(send=lambda _: None, receive=lambda _: b"")
    with pytest.raises(DemoError, match="not set up"):
        prepare(SERVER, program.pid, silent)


# --- the timeline ---------------------------------------------------------------------------------


def drawn(width: int, now: float, *, terminal: bool = False) -> list[str]:
    """Return the lines of a chart of one second, with a polite process and a deaf one."""
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=terminal,
        color_system=None,
        legacy_windows=False,
    )
    bars = (Bar("bash", 11, 0.002, "SIGHUP"), Bar("deaf", 12, 1.0, "SIGKILL", killed=True))
    ticks = Tick(0.0, "HUP@session"), Tick(0.999, "KILL@all")
    console.print(Chart(Text("ptykill"), ticks, bars, 1.0, now))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_chart_fits(width: int) -> None:
    """No line is longer than the console is wide."""
    assert max(map(len, drawn(width, 1.0))) <= width


def test_a_chart_shows_who_died_when_and_of_what() -> None:
    """A bar ends where its process died; arrows stand where something was done."""
    title, ticks, bash, deaf, axis = drawn(80, 1.0)
    assert title == "ptykill"
    assert bash.endswith("SIGHUP        2.0 ms")
    assert deaf.endswith("SIGKILL    1000.0 ms")
    assert bash.index("|") == ticks.index("v HUP") == axis.index("0")
    assert deaf.index("|") == ticks.index("v KILL")


def test_a_chart_half_way_knows_nothing_of_what_comes() -> None:
    """At an earlier moment of the chart, later deaths and signals are not shown."""
    _, ticks, bash, deaf, _ = drawn(80, 0.5)
    assert "KILL" not in ticks + deaf
    assert "SIGHUP" in bash
    assert deaf.rstrip().endswith("=>")


def test_a_chart_on_a_terminal_is_drawn_with_lines() -> None:
    """Where there is a terminal, there are its glyphs."""
    _, ticks, _, deaf, _ = drawn(80, 1.0, terminal=True)
    assert "▼" in ticks
    assert "━╸" in deaf


@contextlib.contextmanager
def only(*scenarios: object) -> Iterator[None]:
    """Have fewer sessions shown."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "SCENARIOS", scenarios)
        yield
