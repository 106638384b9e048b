"""``ptykill run``: one command, at a terminal and between pipes; no process of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO, TypeAlias, cast

import pytest

from ptykill.system.containment import why_not
from ptykill.system.kernel import cgroup_place
from ptykill.testing import processes
from tests.client.terminals import CATCHES, TIMEOUT, Terminal, ask, eventually
from tests.real.test_choice import made_by_the_dead
from tests.waiting import IDLE_LOOP

Start: TypeAlias = Callable[..., Terminal]

DEAF = f"trap '' HUP INT TERM; echo ready; {IDLE_LOOP}"
QUICK = ("--plan", "HUP@session 300ms, KILL 15s")


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a command between pipes, and wait until it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ptykill", "run", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "ready" not in cast(IO[str], process.stdout).readline():
        assert process.poll() is None
    return process


def left(mark: str) -> list[processes.Process]:
    """Return the living processes of a test's sessions; a keeper may take a moment to exit."""
    return [each for each in processes.marked(mark) if not processes.our_own(each)]


# --- exit statuses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["true"], 0),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["there-is-no-such-command"], 127),
        (["/etc/passwd"], 126),
        (["--", "ls", "--no-such-option"], 2),
    ],
)
def test_the_exit_status_is_the_commands(command: list[str], status: int) -> None:
    """It is the code, 128 plus the signal, or a shell's for a command that can't be run."""
    assert ask("run", *command).returncode == status


@pytest.mark.parametrize("options", [["--plan", "HUP@nobody 2s, KILL"], ["--grace", "-1"]])
def test_a_plan_that_can_not_be_read_is_told(options: list[str]) -> None:
    """An invalid plan is reported, and no command is run."""
    assert ask("run", *options, "true").returncode == 2


@pytest.mark.parametrize("containment", ["session", "keeper"])
def test_the_containment_is_the_one_asked_for(containment: str) -> None:
    """``--containment`` takes each containment by its name."""
    assert ask("run", "--containment", containment, "--", "sh", "-c", "exit 3").returncode == 3


# --- between pipes --------------------------------------------------------------------------------


def test_a_pipe_is_typed_and_its_end_is_the_end_of_input() -> None:
    """A reader gets exactly the bytes of the pipe, with or without a newline at the end.

    And it is not shown as if it had been typed.
    """
    for given, got in [("one\ntwo\n", "one\r\ntwo\r\n"), ("one\ntwo", "one\r\ntwo"), ("", "")]:
        done = subprocess.run(
            [sys.executable, "-m", "ptykill", "run", "cat"],
            input=given.encode(),
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        )
        assert done.stdout.decode() == got


def test_all_output_comes_through_a_slow_pipe() -> None:
    """A program waits for its reader, however slow; no output is lost."""
    script = "\"$@\" </dev/null | (sleep 3; tr -d '\\r' | cksum); seq 400000 | cksum"
    command = [sys.executable, "-m", "ptykill", "run", "seq", "400000"]
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=True,
    )
    got, wanted = done.stdout.split("\n")[:2]
    assert got == wanted


def test_nobody_reads() -> None:
    """If the reader of its output exits, the command is ended, and ptykill dies of SIGPIPE."""
    script = '"$@" </dev/null | head -n 1; echo ${PIPESTATUS[0]}'
    command = [sys.executable, "-m", "ptykill", "run", "yes"]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout.split() == ["y", "141"]


def test_standard_input_may_be_closed() -> None:
    """Standard input may be closed, as for programs that some daemons start."""
    script = '"$@" <&-; echo $?'
    command = [sys.executable, "-m", "ptykill", "run", "sh", "-c", "exit 3"]
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout.split() == ["3"]


# --- nothing is left ------------------------------------------------------------------------------


def test_what_it_leaves_behind_is_ended(mark: str) -> None:
    """Jobs, daemons and deaf processes are ended when the command exits, before ptykill exits."""
    leftovers = (
        "sleep 1000 &",
        "setsid sleep 1000 &",
        f"({DEAF}) &",
        "nohup sleep 1000 >/dev/null 2>&1 &",
    )
    for leftover in leftovers:
        done = ask("run", *QUICK, "sh", "-c", f"{leftover}\nsleep 0.2; exit 5")
        assert done.returncode == 5
        assert done.stderr == ""
        assert left(mark) == []


@pytest.mark.skipif(why_not("cgroup") is not None, reason="no cgroup can be made here")
@pytest.mark.parametrize("command", [("run", "true"), ("run", "-v", "true"), ("doctor", "--json")])
def test_log_events_are_for_those_who_ask(command: tuple[str, ...]) -> None:
    """A killed host's cgroup is recovered; only with ``--verbose`` the warning is shown."""
    place = cgroup_place.own_cgroup()
    assert place is not None
    left = made_by_the_dead(place)
    done = ask(*command)
    assert done.returncode == 0
    assert not left.exists()
    if "-v" in command:
        assert f"ptykill: event='cgroup.recovered' path='{left}'" in done.stderr.splitlines()
    else:
        assert done.stderr == ""


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT"])
def test_a_signal_ends_the_session_by_the_plan(mark: str, name: str) -> None:
    """The session is ended, by SIGKILL if necessary, before ptykill dies of that signal."""
    process = start(*QUICK, "sh", "-c", f"setsid sleep 1000 & {DEAF}")
    process.send_signal(signal.Signals[f"SIG{name}"])
    _, told = process.communicate(timeout=TIMEOUT)
    assert process.returncode == -signal.Signals[f"SIG{name}"]
    assert left(mark) == []
    assert "Traceback" not in told


def test_the_plan_is_polite() -> None:
    """A command that cleans up has its grace, and its output then is shown."""
    process = start("sh", "-c", f"trap 'echo cleaned; exit 0' HUP; echo ready; {IDLE_LOOP}")
    process.terminate()
    out, _ = process.communicate(timeout=TIMEOUT)
    assert "cleaned" in out
    assert process.returncode == -signal.SIGTERM


def test_a_second_signal_kills(mark: str) -> None:
    """A second signal ends the grace."""
    process = start("--grace", "600", "sh", "-c", DEAF)
    process.terminate()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    # If both come at once, the kernel does not say which was first.
    assert process.returncode in (-signal.SIGTERM, -signal.SIGINT)
    assert left(mark) == []


def test_a_hangup_that_is_ignored_stays_so() -> None:
    """Under nohup(1) SIGHUP does not end it."""
    process = start("sh", "-c", "echo ready; read line; exit 4")
    process.communicate("\n", timeout=TIMEOUT)
    assert process.returncode == 4
    command = [sys.executable, "-m", "ptykill", "run", "sh", "-c", "echo ready; read line; exit 4"]
    process = subprocess.Popen(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "ready" in cast(IO[str], process.stdout).readline()
    process.send_signal(signal.SIGHUP)
    process.communicate("\n", timeout=TIMEOUT)
    assert process.returncode == 4


def test_its_own_death_leaves_nothing(mark: str) -> None:
    """If ptykill is killed, its session is ended."""
    process = start(*QUICK, "sh", "-c", f"setsid sleep 1000 & {DEAF}")
    process.kill()
    process.communicate(timeout=TIMEOUT)
    eventually(lambda: left(mark) == [])


# --- at a terminal --------------------------------------------------------------------------------


def test_at_a_terminal(start: Start) -> None:
    """The command has the terminal's size and gets every key; the modes are restored."""
    terminal = start("run", "sh", "-c", f"stty size; {CATCHES}", rows=30)
    assert "30 80" in terminal.read_until("ready\r\n")
    assert terminal.raw
    terminal.type("\x03")
    terminal.read_until("caught")
    assert terminal.wait() == 5
    assert terminal.restored


def test_the_window_is_followed(start: Start) -> None:
    """The command's terminal follows the window's size."""
    terminal = start("run", "sh", "-c", f"trap 'stty size' WINCH; echo ready; {IDLE_LOOP}")
    terminal.read_until("ready\r\n")
    terminal.resize(31, 101)
    terminal.read_until("31 101")
    terminal.process.terminate()
    assert terminal.wait() == -signal.SIGTERM
    assert terminal.restored


def test_a_stuck_terminal_holds_nothing_up(start: Start, mark: str) -> None:
    """A signal ends the session, and then ptykill, although nobody reads the terminal."""
    terminal = start("run", *QUICK, "yes")
    terminal.read_until("y\r\n")
    terminal.process.terminate()
    # Nothing is read here: `wait` would.
    assert terminal.process.wait(TIMEOUT) == -signal.SIGTERM
    assert terminal.restored
    assert left(mark) == []


def test_a_terminal_that_goes_away(mark: str) -> None:
    """When the terminal is hung up, the session is ended."""
    terminal = Terminal("run", *QUICK, "sh", "-c", DEAF)
    try:
        terminal.read_until("ready")
        os.close(terminal.master)
        assert terminal.process.wait(TIMEOUT) == -signal.SIGHUP
        assert left(mark) == []
    finally:
        terminal.process.kill()
        os.close(terminal.slave)


EXTRAS = {"httpx", "msgspec", "rich", "structlog", "trio_websocket", "uvicorn", "wsproto"}
"""Libraries of other commands."""
WEB = {"asyncio", "concurrent.futures", "ptykill.http", "ptykill.embedding.host", "tomllib"}


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [
        (("-m", "ptykill", "run", "-n", "--", "true"), EXTRAS | WEB),
        (("-m", "ptykill", "--help"), EXTRAS | WEB | {"trio", "psutil"}),
        (("-m", "ptykill", "run", "--help"), EXTRAS | WEB | {"trio", "psutil"}),
        (("-m", "ptykill", "list", "--help"), EXTRAS | WEB | {"trio", "psutil"}),
        (("-c", "import ptykill"), EXTRAS | WEB | {"click", "trio", "psutil", "ptykill.errors"}),
        (("-c", "import ptykill; ptykill.Supervisor"), EXTRAS | WEB | {"click"}),
    ],
)
def test_a_command_imports_what_it_needs(arguments: tuple[str, ...], needless: set[str]) -> None:
    """A command imports only its own modules: imports are most of its start-up time."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    modules = {line.rpartition("|")[2].strip() for line in lines}
    assert "ptykill" in modules
    assert not needless & modules
