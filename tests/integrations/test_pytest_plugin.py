"""The pytest plugin, in real runs of pytest: what it ends, and what it reports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from ptykill.testing import processes
from tests.waiting import TIMEOUT, wait_until

pytest_plugins = ["pytester"]

_PLAIN = ("-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:faker")
_QUIET = (*_PLAIN, "-p", "no:anyio", "-p", "no:asyncio", "-p", "no:trio")


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pytest's summary lines as they are at a terminal: in CI they have the whole text."""
    for name in "CI", "BUILD_NUMBER":
        monkeypatch.delenv(name, raising=False)


def run(
    pytester: pytest.Pytester, text: str, *options: str, plugins: tuple[str, ...] = _QUIET
) -> pytest.RunResult:
    """Run pytest on one test module, in a process of its own, with warnings as errors."""
    pytester.makepyfile(test_it=text)
    return pytester.runpytest_subprocess("-W", "error", *plugins, *options, timeout=TIMEOUT)


def test_running_programs_are_ended_and_no_leaks(pytester: pytest.Pytester, mark: str) -> None:
    """A test may leave its programs to the fixture, however hard they are to end."""
    result = run(
        pytester,
        r"""
        import pytest

        DEAF = "trap '' HUP TERM; setsid sh -c 'trap \"\" HUP TERM; exec sleep 60' & "

        def test_runs_on(terminal):
            session = terminal.spawn(["sh", "-c", DEAF + "echo ready; exec sleep 60"])
            session.expect("ready")

        def test_ends_what_it_started(terminal):
            with terminal.spawn(["sh", "-c", "sleep 1000 & echo ready; wait"]) as session:
                session.expect("ready")
            session = terminal.spawn(["sh", "-c", "sleep 1000 & echo ready; wait"])
            session.expect("ready")
            assert session.terminate(grace=0.1).empty

        def test_a_child_that_takes_a_little_longer(terminal):
            child = "(trap '' HUP; echo deaf; sleep 0.2) & "
            session = terminal.spawn(["sh", "-c", child + "read line; exit 3"])
            session.expect("deaf")
            session.send("\n")
            assert session.wait().exit_status.code == 3

        def test_a_deadline(terminal):
            command = ["sh", "-c", "sleep 1000 & setsid sleep 1000 & wait"]
            assert terminal.run(command, timeout=0.3).reason == "lifetime"

        def test_kills_what_is_left_itself(terminal):
            session = terminal.spawn(["sh", "-c", "trap '' HUP; sleep 1000 & exit 0"])
            session.wait_exited()
            assert session.kill().empty

        @pytest.mark.terminal(leaks="end")
        def test_leaves_daemons_on_purpose(terminal):
            session = terminal.spawn(["sh", "-c", "setsid sleep 1000 & exit 0"])
            assert session.wait().took < 1

        @pytest.fixture
        def shell(terminal):
            session = terminal.spawn(["sh", "-c", "echo ready; read line; echo $line; exit 7"])
            session.expect("ready")
            yield session
            session.send("bye\n")
            assert session.wait_exited().code == 7

        def test_a_fixture_that_ends_its_program_itself(shell):
            assert shell.state == "running"

        def test_closes_it_all(terminal):
            terminal.spawn(["sleep", "1000"])
            terminal.close()
            terminal.host.close()
        """,
    )
    result.assert_outcomes(passed=8)
    assert "Captured terminal" not in result.stdout.str()
    assert processes.marked(mark) == []


def test_a_process_left_behind_is_an_error(pytester: pytest.Pytester, mark: str) -> None:
    """It is named, with its command and what ended it; the output is in the report."""
    result = run(
        pytester,
        r"""
        def test_job(terminal):
            command = "trap '' HUP; sleep 1001 & sleep 0.1; echo started"
            session = terminal.spawn(["sh", "-c", command])
            session.wait_exited()

        def test_daemon(terminal):
            terminal.run(["sh", "-c", "setsid sleep 1002 & sleep 0.1"])

        def test_in_a_block(terminal):
            with terminal.spawn(["sh", "-c", "setsid sleep 1003 & sleep 0.1"]) as session:
                session.wait_exited()

        def test_spared(terminal):
            command = ["sh", "-c", "trap '' HUP; sleep 600 & sleep 0.1; echo $!"]
            assert terminal.run(command, leftovers="spare").verdict.outcome == "spared"
        """,
    )
    result.assert_outcomes(passed=4, errors=4)
    text = result.stdout.str()
    assert re.search(r"\(pid \d+, exited with 0\)\n    pid \d+, sleep 1001: it outlived", text)
    assert "sleep 1001: it outlived the program in the program's session; SIGKILL" in text
    assert "sleep 1002: it outlived the program in a session of its own; a signal ended it" in text
    assert "sleep 1003: it outlived the program in a session of its own; a signal ended it" in text
    assert re.search(r"pid \d+, sleep 600: it lives on in state [A-Z]", text)
    assert "Captured terminal teardown" in text
    assert re.search(r"--- sh -c .* \(pid \d+, exited with 0\)\nstarted\n", text)
    (spared,) = (each for each in processes.marked(mark) if not processes.our_own(each))
    processes.end(spared.pid)
    assert processes.left(mark, TIMEOUT) == []


def test_a_process_that_can_not_be_ended_is_an_error(pytester: pytest.Pytester) -> None:
    """A verdict that is not empty fails the test, whatever the test permits."""
    result = run(
        pytester,
        r"""
        import math
        import pytest
        from ptykill.testing import FakeTier, Member

        @pytest.mark.terminal(
            leaks="end",
            containment=FakeTier(members=[Member(dies_of={"KILL": math.inf})]),
            plan="KILL 100ms",
        )
        def test_stuck(terminal):
            terminal.spawn(["fake"])
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    assert re.search(r"fake \(pid \d+, .*\)\n +pid \d+, .*: it lives on", result.stdout.str())


def test_a_failed_test_shows_the_output_of_its_terminals(pytester: pytest.Pytester) -> None:
    """As plain text, and not all of a very long one; other options of pytest apply to it."""
    text = r"""
        def test_two(terminal):
            for word in "one", "two":
                terminal.run(["sh", "-c", f"printf '\033[31mred %s\033[0m\n' {word}"])
            terminal.spawn(["sh", "-c", "echo three; read line"]).expect("three")
            assert not terminal

        def test_long(terminal):
            terminal.run(["seq", "100000"])
            assert not terminal
        """
    result = run(pytester, text)
    result.assert_outcomes(failed=2)
    result.stdout.re_match_lines(
        [
            r"-+ Captured terminal call -+",
            r"--- sh -c .* \(pid \d+, exited with 0\)",
            r"red one",
            r"--- sh -c .*",
            r"red two",
            r"--- sh -c 'echo three; read line' \(pid \d+, running\)",
            r"three",
            r"1",
            r"\[\.\.\. \d+ bytes \.\.\.\]",
            r"100000",
        ]
    )
    assert len(result.outlines) < 20_000
    hidden = run(pytester, text, "--show-capture=no")
    assert "red one" not in hidden.stdout.str()


_ASYNC = r"""
    async def test_shell(async_terminal):
        session = await async_terminal.spawn(["sh", "-c", "echo ready; read x; echo got $x"])
        await session.expect("ready")
        await session.send("it\n")
        assert (await session.expect("got it")).text == "got it"
        assert (await session.wait()).exit_status.code == 0
        assert (await async_terminal.run(["echo", "hello"])).ok
        async with await async_terminal.spawn(["sleep", "1000"]) as session:
            pass
        assert session.verdict.empty

    async def test_left_to_the_fixture(async_terminal):
        session = await async_terminal.spawn(["sh", "-c", "sleep 1000 & echo ready; wait"])
        await session.expect("ready")

    async def test_leak(async_terminal):
        await async_terminal.run(["sh", "-c", "setsid sleep 1004 & sleep 0.1"])
    """
_ASYNCIO = (
    *("-p", "no:trio", "-p", "no:anyio", "-o", "asyncio_mode=auto"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),
)
_ANYIO = "\n    import pytest\n    pytestmark = pytest.mark.anyio\n"


@pytest.mark.parametrize(
    ("options", "before", "times"),
    [
        pytest.param(("-p", "no:asyncio", "-p", "no:anyio", "-o", "trio_mode=true"), "", 1),
        pytest.param(_ASYNCIO, "", 1),
        pytest.param(("-p", "no:trio", "-p", "no:asyncio"), _ANYIO, 2),
    ],
    ids=["pytest-trio", "pytest-asyncio", "anyio"],
)
def test_async_tests(
    pytester: pytest.Pytester, mark: str, options: tuple[str, ...], before: str, times: int
) -> None:
    """One fixture works with each plugin for async tests; with anyio's, on both its backends."""
    result = run(pytester, before + _ASYNC, plugins=(*_PLAIN, *options))
    result.assert_outcomes(passed=3 * times, errors=times)
    assert result.stdout.str().count("sleep 1004: it outlived") == times
    assert processes.marked(mark) == []


_MANY = r"""
    import threading
    import pytest

    @pytest.mark.parametrize("number", range(8))
    def test_many(terminal, number):
        def work():
            session = terminal.spawn(["sh", "-c", "setsid sleep 1000 & echo ready; wait"])
            session.expect("ready")
            told.append(terminal.run(["echo", str(number)], plain=True).text)

        told = []
        threads = [threading.Thread(target=work) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert told == [f"{number}\n"] * 4

    def test_leak(terminal):
        terminal.run(["sh", "-c", "setsid sleep 1005 & sleep 0.1"])

    def test_fails(terminal):
        terminal.run(["echo", "this was printed"])
        assert not terminal
    """


def test_in_parallel(pytester: pytest.Pytester, mark: str) -> None:
    """In two processes, each with threads, no test meets another's programs."""
    result = run(pytester, _MANY, "-n", "2")
    result.assert_outcomes(passed=9, failed=1, errors=1)
    assert "sleep 1005: it outlived" in result.stdout.str()
    assert "this was printed" in result.stdout.str()
    assert processes.marked(mark) == []


def test_a_killed_worker_leaves_nobody(pytester: pytest.Pytester, mark: str) -> None:
    """Neither does a pytest that crashes: the keepers end its programs."""
    result = run(
        pytester,
        r"""
        import os, signal

        def test_crash(terminal):
            deaf = "trap '' HUP TERM; setsid sh -c 'trap \"\" TERM; sleep 1000' & "
            session = terminal.spawn(["sh", "-c", deaf + "echo ready; sleep 1000"])
            session.expect("ready")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        "-n",
        "1",
        "--max-worker-restart=0",
    )
    assert "crashed" in result.stdout.str()
    assert processes.left(mark, TIMEOUT) == []


def test_an_interrupt_ends_all(pytester: pytest.Pytester, mark: str) -> None:
    """Ctrl-C in a test that waits for a program ends that program."""
    pytester.makepyfile(
        test_it="""
        def test_waits(terminal):
            open("begun", "w").close()
            terminal.spawn(["sh", "-c", "setsid sleep 1000 & sleep 1000"]).wait()
        """
    )
    command = [sys.executable, "-m", "pytest", "-q", *_QUIET]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: os.path.exists("begun") and bool(_sleeping(mark)))  # noqa: PTH110
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, text
    assert processes.marked(mark) == []


def _sleeping(mark: str) -> list[processes.Process]:
    return [each for each in processes.marked(mark) if each.name == "sleep"]


def test_a_run_that_does_not_use_it_imports_nothing(pytester: pytest.Pytester) -> None:
    """An installed plugin costs one small module, and no run gets slower by trio's import."""
    result = run(
        pytester,
        """
        import sys

        def test_modules():
            ours = {each for each in sys.modules if each.partition(".")[0] == "ptykill"}
            assert ours == {
                "ptykill", "ptykill.integrations", "ptykill.integrations.pytest_plugin"
            }
            assert not {"trio", "psutil", "structlog"} & sys.modules.keys()
        """,
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("options", ["leaks='no'", "colour=1"])
def test_a_wrong_mark_is_an_error(pytester: pytest.Pytester, options: str) -> None:
    """It names the option, and no program is started."""
    result = run(
        pytester,
        f"""
        import pytest

        @pytest.mark.terminal({options})
        def test_it(terminal):
            terminal.spawn(["sleep", "1000"])
        """,
    )
    result.assert_outcomes(errors=1)
    assert ("leaks is" if "leaks" in options else "colour") in result.stdout.str()
