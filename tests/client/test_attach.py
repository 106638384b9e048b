"""``ptykill new`` and ``attach`` at a real terminal, with a real daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import pytest

from tests.client.terminals import CATCHES, TIMEOUT, Cli, Terminal, eventually
from tests.waiting import IDLE_LOOP

Start: TypeAlias = Callable[..., Terminal]

ASKS = "stty size; echo ready; read line; echo heard $line; exit 7"
STAYS = "echo ready; while read line; do echo heard $line; done"
SIZES = f"trap 'stty size' WINCH; echo ready; {IDLE_LOOP}"


def test_what_is_typed_goes_in_and_the_exit_status_comes_out(cli: Cli, start: Start) -> None:
    """The session has the window's size and gets the input; its exit status is the command's."""
    terminal = start("new", "--", "sh", "-c", ASKS, cli=cli, rows=33, cols=99)
    assert "33 99" in terminal.read_until("ready\r\n")
    assert terminal.raw
    terminal.type("good\r")
    terminal.read_until("heard good\r\n")
    assert terminal.wait() == 7
    assert terminal.restored


def test_keys_are_the_sessions(cli: Cli, start: Start) -> None:
    """Ctrl-C interrupts the session's program, not the client."""
    terminal = start("new", "sh", "-c", CATCHES, cli=cli)
    terminal.read_until("ready\r\n")
    terminal.type("\x03")
    terminal.read_until("caught")
    assert terminal.wait() == 5


def test_the_window_is_followed(cli: Cli, start: Start) -> None:
    """The session's size follows the window's."""
    terminal = start("new", "--", "sh", "-c", SIZES, cli=cli)
    terminal.read_until("ready\r\n")
    terminal.resize(31, 101)
    terminal.read_until("31 101")
    terminal.type("\x1d")
    assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("options", "key"),
    [([], "\x1d"), ([], "\x1b[93;5u"), (["--detach-key", "ctrl-a"], "\x01")],
)
def test_detaching_and_coming_back(cli: Cli, start: Start, options: list[str], key: str) -> None:
    """The detach key leaves the session running, and `attach` needs only its id to return."""
    terminal = start("new", *options, "--", "sh", "-c", STAYS, cli=cli)
    terminal.read_until("ready\r\n")
    terminal.type(f"one\r{key}")
    assert terminal.wait() == 0
    assert terminal.restored
    terminal.read_until("ptykill attach ")
    session_id = terminal.seen.strip()
    assert cli.get(session_id)["is_alive"]
    terminal = start("attach", session_id, cli=cli)
    terminal.type("two\r")
    terminal.read_until("heard two")
    terminal.type("\x04")
    assert terminal.wait() == 0
    # Its token was removed with it: the daemon issues another one to whoever has the key.
    assert "heard two" in cli.ask("attach", session_id).stdout


def test_coming_back_draws_anew(cli: Cli, start: Start) -> None:
    """An attach makes a program redraw that does so on SIGWINCH, though the size is the same."""
    session_id = cli.new(SIZES)
    for _ in range(2):
        terminal = start("attach", session_id, cli=cli)
        terminal.read_until("24 80")
        terminal.type("\x1d")
        assert terminal.wait() == 0


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT"])
def test_a_signal_ends_the_client_alone(cli: Cli, start: Start, name: str) -> None:
    """A signal ends the client, which restores the terminal first; the session goes on."""
    session_id = cli.new(STAYS)
    terminal = start("attach", session_id, cli=cli)
    terminal.read_until("ready\r\n")
    terminal.process.send_signal(signal.Signals[f"SIG{name}"])
    assert terminal.wait() == -signal.Signals[f"SIG{name}"]
    assert terminal.restored
    assert cli.get(session_id)["is_alive"]


def test_the_death_of_the_daemon(daemon: subprocess.Popen[str], cli: Cli, start: Start) -> None:
    """If the daemon dies, the client prints one sentence and restores the terminal."""
    terminal = start("new", "--", "sh", "-c", STAYS, cli=cli)
    terminal.read_until("ready\r\n")
    daemon.kill()
    assert terminal.wait() == 1
    assert terminal.restored
    assert "ptykill: the daemon went away" in terminal.seen
    assert "Traceback" not in terminal.seen


def test_the_end_of_the_daemon(daemon: subprocess.Popen[str], cli: Cli, start: Start) -> None:
    """A daemon that gets SIGTERM ends the session first, and the client says so."""
    terminal = start("new", "--", "sh", "-c", STAYS, cli=cli)
    terminal.read_until("ready\r\n")
    daemon.terminate()
    assert terminal.wait() == 129
    assert terminal.restored
    assert "the session was ended" in terminal.seen


def test_a_kill_from_elsewhere(cli: Cli, start: Start) -> None:
    """If a session is killed, an attached client exits with its exit status."""
    session_id = cli.new(STAYS)
    terminals = [start("attach", session_id, cli=cli) for _ in range(2)]
    for terminal in terminals:
        eventually(partial(getattr, terminal, "raw"))
    terminals[0].type("x\r")
    for terminal in terminals:
        terminal.read_until("heard x")
    assert cli.ask("kill", session_id).returncode == 0
    assert [terminal.wait() for terminal in terminals] == [129, 129]
    assert all(terminal.restored for terminal in terminals)


def test_after_a_stop_the_terminal_is_taken_again(cli: Cli, start: Start) -> None:
    """While the client is stopped the shell sets its own modes; SIGCONT sets the client's again."""
    terminal = start("new", "--", "sh", "-c", STAYS, cli=cli)
    terminal.read_until("ready\r\n")
    terminal.process.send_signal(signal.SIGSTOP)
    termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.before)
    terminal.process.send_signal(signal.SIGCONT)
    eventually(lambda: terminal.raw)
    terminal.type("\x1d")
    assert terminal.wait() == 0
    assert terminal.restored


def test_what_a_screenful_program_set_is_turned_back(cli: Cli, start: Start) -> None:
    """Detaching resets the alternate screen, the mouse and a hidden cursor."""
    program = r"printf '\033[?1049h\033[?25l\033[?1000;1006hready'; sleep 1000"
    terminal = start("new", "--", "sh", "-c", program, cli=cli)
    terminal.read_until("ready")
    terminal.type("\x1d")
    assert terminal.wait() == 0
    for undone in ("[?1049l", "[?25h", "[?1000l", "[?1006l"):
        assert f"\x1b{undone}" in terminal.seen


def test_without_a_terminal(cli: Cli) -> None:
    """Input from a pipe is typed, and the client shows output until the session ends."""
    session_id = cli.new("read line; sleep 0.5; echo heard $line; exit 3")
    done = cli.ask("attach", session_id, stdin="hello\n")
    assert done.returncode == 3
    assert "heard hello" in done.stdout
    assert cli.new("exit 0")  # `new` does not attach then.


@pytest.mark.parametrize("longest", [4095, 4096])
def test_a_line_that_is_too_long_for_a_terminal_is_told(cli: Cli, longest: int) -> None:
    """The client warns once of a line that the terminal cuts in canonical mode (termios(3))."""
    session_id = cli.new("read line; read line; echo length ${#line}; exit 3")
    done = cli.ask("attach", session_id, stdin=f"short\n{longest * 'x'}\n{longest * 'y'}\n")
    assert done.returncode == 3
    assert "length 4095" in done.stdout
    assert done.stderr.count("longer than 4095 bytes") == (longest > 4095)


def test_much_output_comes_through(cli: Cli) -> None:
    """All output arrives, in order."""
    session_id = cli.new("read go; seq 100000; exit 4")
    done = cli.ask("attach", session_id, stdin="\n")
    assert done.returncode == 4
    assert done.stdout.split("\n", 1)[1].split() == [str(each) for each in range(1, 100_001)]


def test_nobody_reads(cli: Cli) -> None:
    """If the reader of its output exits, the client exits too, and the session stays."""
    session_id = cli.new("while echo y; do sleep 0.01; done")
    script = 'exec "$@" | head -n 1; echo ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-m", "ptykill", "attach", session_id],
        env=os.environ | cli.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout.split() == ["y", "141"]
    assert cli.get(session_id)["is_alive"]


def test_over_a_unix_socket(on_a_socket: Cli, start: Start) -> None:
    """The commands work with a daemon on a UNIX socket."""
    terminal = start("new", "--", "sh", "-c", ASKS, cli=on_a_socket)
    terminal.read_until("ready\r\n")
    terminal.type("you\r")
    terminal.read_until("heard you")
    assert terminal.wait() == 7
    session_id = on_a_socket.new(STAYS)
    assert on_a_socket.ask("kill", session_id).returncode == 0


def test_a_wrong_token(cli: Cli, start: Start) -> None:
    """With a wrong token the client says so, and restores the terminal."""
    terminal = start("attach", "--token", "wrong", cli.new(STAYS), cli=cli)
    assert terminal.wait() == 1
    assert terminal.restored
    assert "token" in terminal.seen
    assert "Traceback" not in terminal.seen


def test_an_unknown_session(cli: Cli, start: Start) -> None:
    """For an unknown session the client prints one sentence."""
    terminal = start("attach", "--token", "x", "nowhere", cli=cli)
    assert terminal.wait() == 1
    assert "ptykill: there is no such session" in terminal.seen
