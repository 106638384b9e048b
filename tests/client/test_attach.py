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

from tests.client.seat import CATCHES, PATIENCE, Here, Seat, eventually

Sit: TypeAlias = Callable[..., Seat]

ASKS = "stty size; echo ready; read line; echo heard $line; exit 7"
STAYS = "echo ready; while read line; do echo heard $line; done"
SIZES = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"


def test_what_is_typed_goes_in_and_the_exit_status_comes_out(here: Here, sit: Sit) -> None:
    """A session has this window's size, takes what is typed, and the command ends as it does."""
    seat = sit("new", "--", "sh", "-c", ASKS, here=here, rows=33, cols=99)
    assert "33 99" in seat.read_until("ready\r\n")
    assert seat.raw
    seat.type("good\r")
    seat.read_until("heard good\r\n")
    assert seat.wait() == 7
    assert seat.restored


def test_keys_are_the_sessions(here: Here, sit: Sit) -> None:
    """Ctrl-C interrupts what runs there, not the client."""
    seat = sit("new", "sh", "-c", CATCHES, here=here)
    seat.read_until("ready\r\n")
    seat.type("\x03")
    seat.read_until("caught")
    assert seat.wait() == 5


def test_the_window_is_followed(here: Here, sit: Sit) -> None:
    """When the window changes its size, so does the session's."""
    seat = sit("new", "--", "sh", "-c", SIZES, here=here)
    seat.read_until("ready\r\n")
    seat.resize(31, 101)
    seat.read_until("31 101")
    seat.type("\x1d")
    assert seat.wait() == 0


@pytest.mark.parametrize(
    ("options", "key"),
    [([], "\x1d"), ([], "\x1b[93;5u"), (["--detach-key", "ctrl-a"], "\x01")],
)
def test_detaching_and_coming_back(here: Here, sit: Sit, options: list[str], key: str) -> None:
    """The detach key leaves the session running, and `attach` needs its id alone to come back."""
    seat = sit("new", *options, "--", "sh", "-c", STAYS, here=here)
    seat.read_until("ready\r\n")
    seat.type(f"one\r{key}")
    assert seat.wait() == 0
    assert seat.restored
    seat.read_until("ptykill attach ")
    session_id = seat.seen.strip()
    assert here.get(session_id)["is_alive"]
    seat = sit("attach", session_id, here=here)
    seat.type("two\r")
    seat.read_until("heard two")
    seat.type("\x04")
    assert seat.wait() == 0
    assert here.ask("attach", session_id).returncode == 1  # Its token went with it.


def test_coming_back_draws_anew(here: Here, sit: Sit) -> None:
    """A program that draws at a change of size draws when one attaches, though it is the same."""
    session_id = here.new(SIZES)
    for _ in range(2):
        seat = sit("attach", session_id, here=here)
        seat.read_until("24 80")
        seat.type("\x1d")
        assert seat.wait() == 0


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT"])
def test_a_signal_ends_the_client_alone(here: Here, sit: Sit, name: str) -> None:
    """The terminal is as it was, the client has died of the signal, and the session goes on."""
    session_id = here.new(STAYS)
    seat = sit("attach", session_id, here=here)
    seat.read_until("ready\r\n")
    seat.process.send_signal(signal.Signals[f"SIG{name}"])
    assert seat.wait() == -signal.Signals[f"SIG{name}"]
    assert seat.restored
    assert here.get(session_id)["is_alive"]


def test_the_death_of_the_daemon(daemon: subprocess.Popen[str], here: Here, sit: Sit) -> None:
    """A daemon that is gone is one sentence, and the terminal is as it was."""
    seat = sit("new", "--", "sh", "-c", STAYS, here=here)
    seat.read_until("ready\r\n")
    daemon.kill()
    assert seat.wait() == 1
    assert seat.restored
    assert "ptykill: the daemon went away" in seat.seen
    assert "Traceback" not in seat.seen


def test_the_end_of_the_daemon(daemon: subprocess.Popen[str], here: Here, sit: Sit) -> None:
    """A daemon that is stopped ends the session first, and the client tells."""
    seat = sit("new", "--", "sh", "-c", STAYS, here=here)
    seat.read_until("ready\r\n")
    daemon.terminate()
    assert seat.wait() == 129
    assert seat.restored
    assert "the session was ended" in seat.seen


def test_a_kill_from_elsewhere(here: Here, sit: Sit) -> None:
    """A session that is killed ends those who are attached, with its exit status."""
    session_id = here.new(STAYS)
    seats = [sit("attach", session_id, here=here) for _ in range(2)]
    for seat in seats:
        eventually(partial(getattr, seat, "raw"))
    seats[0].type("x\r")
    for seat in seats:
        seat.read_until("heard x")
    assert here.ask("kill", session_id).returncode == 0
    assert [seat.wait() for seat in seats] == [129, 129]
    assert all(seat.restored for seat in seats)


def test_after_a_stop_the_terminal_is_taken_again(here: Here, sit: Sit) -> None:
    """A shell sets its own modes while the client is stopped; they are ours again afterwards."""
    seat = sit("new", "--", "sh", "-c", STAYS, here=here)
    seat.read_until("ready\r\n")
    seat.process.send_signal(signal.SIGSTOP)
    termios.tcsetattr(seat.slave, termios.TCSANOW, seat.before)
    seat.process.send_signal(signal.SIGCONT)
    eventually(lambda: seat.raw)
    seat.type("\x1d")
    assert seat.wait() == 0
    assert seat.restored


def test_what_a_screenful_program_set_is_turned_back(here: Here, sit: Sit) -> None:
    """The alternate screen, the mouse and a hidden cursor do not outlast the attachment."""
    program = r"printf '\033[?1049h\033[?25l\033[?1000;1006hready'; sleep 1000"
    seat = sit("new", "--", "sh", "-c", program, here=here)
    seat.read_until("ready")
    seat.type("\x1d")
    assert seat.wait() == 0
    for undone in ("[?1049l", "[?25h", "[?1000l", "[?1006l"):
        assert f"\x1b{undone}" in seat.seen


def test_without_a_terminal(here: Here) -> None:
    """What comes from a pipe is typed, and the session is looked on at until it ends."""
    session_id = here.new("read line; sleep 0.5; echo heard $line; exit 3")
    done = here.ask("attach", session_id, stdin="hello\n")
    assert done.returncode == 3
    assert "heard hello" in done.stdout
    assert here.new("exit 0")  # `new` does not attach then.


@pytest.mark.parametrize("longest", [4095, 4096])
def test_a_line_that_is_too_long_for_a_terminal_is_told(here: Here, longest: int) -> None:
    """A terminal that reads lines cuts it without a word, so the client says it, once."""
    session_id = here.new("read line; read line; echo length ${#line}; exit 3")
    done = here.ask("attach", session_id, stdin=f"short\n{longest * 'x'}\n{longest * 'y'}\n")
    assert done.returncode == 3
    assert "length 4095" in done.stdout
    assert done.stderr.count("longer than 4095 bytes") == (longest > 4095)


def test_much_output_comes_through(here: Here) -> None:
    """All of it, in its order."""
    session_id = here.new("read go; seq 100000; exit 4")
    done = here.ask("attach", session_id, stdin="\n")
    assert done.returncode == 4
    assert done.stdout.split("\n", 1)[1].split() == [str(each) for each in range(1, 100_001)]


def test_nobody_reads(here: Here) -> None:
    """When what it is piped into has gone, the client goes as well, and the session stays."""
    session_id = here.new("while :; do echo y; sleep 0.01; done")
    script = 'exec "$@" | head -n 1; echo ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-m", "ptykill", "attach", session_id],
        env=os.environ | here.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.split() == ["y", "141"]
    assert here.get(session_id)["is_alive"]


def test_over_a_unix_socket(on_a_socket: Here, sit: Sit) -> None:
    """A daemon on a UNIX socket is asked, and talked to, as any other."""
    seat = sit("new", "--", "sh", "-c", ASKS, here=on_a_socket)
    seat.read_until("ready\r\n")
    seat.type("you\r")
    seat.read_until("heard you")
    assert seat.wait() == 7
    session_id = on_a_socket.new(STAYS)
    assert on_a_socket.ask("kill", session_id).returncode == 0


@pytest.mark.parametrize("options", [["--token", "wrong"], []])
def test_a_wrong_token_or_none(here: Here, sit: Sit, options: list[str]) -> None:
    """Whoever has not the token is told so, and the terminal is as it was."""
    session_id = here.new(STAYS)
    name = "not-an-id" if not options else session_id
    seat = sit("attach", *options, name, here=here)
    assert seat.wait() == 1
    assert seat.restored
    assert "token" in seat.seen
    assert "Traceback" not in seat.seen


def test_an_unknown_session(here: Here, sit: Sit) -> None:
    """A session that is not there is one sentence."""
    seat = sit("attach", "--token", "x", "nowhere", here=here)
    assert seat.wait() == 1
    assert "ptykill: there is no such session" in seat.seen
