"""``ptykill run`` as a job of a shell: in the background, stopped, and continued."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.client.seat import Here, Seat, eventually

Sit: TypeAlias = Callable[..., Seat]


@pytest.mark.parametrize("tostop", ["tostop", "-tostop"])
@pytest.mark.parametrize("by", ["a shell", "timeout"])
def test_in_the_background_a_signal_ends_it(sit: Sit, tostop: str, by: str, tmp_path: Path) -> None:
    """It is not stopped there, by whomever it was put there: a shell, or timeout(1)."""
    run = f'"$@" run -- sh -c "echo one; touch {tmp_path}/up; cat; sleep 99"'
    up = f"until [ -e {tmp_path}/up ]; do sleep 0.05; done; sleep 0.3"
    if by == "timeout":
        script = f"timeout -k 20 2 {run}; status=$?"
    else:
        script = f"set -m; {run} & {up}; kill $!; wait $!; status=$?"
    seat = sit(
        script=f"stty {tostop}; before=$(stty -g); {script};"
        ' [ "$before" = "$(stty -g)" ] && echo "restored $status."'
    )
    seat.read_until("restored 124." if by == "timeout" else "restored 143.")
    assert seat.wait() == 0


def test_in_the_background_it_leaves_the_terminal_alone(sit: Sit) -> None:
    """What is typed goes to the job in the foreground, and its output goes where it should."""
    script = (
        'set -m; "$@" run -- sh -c "echo ready; read word; echo heard \\$word" & '
        'read line; echo "line $line"; fg >/dev/null; echo "status $?"'
    )
    seat = sit(script=script)
    seat.read_until("ready")
    assert not seat.raw
    seat.type("hello\n")
    seat.read_until("line hello\r\n")
    eventually(lambda: seat.raw)
    seat.type("again\r")
    seat.read_until("heard again\r\n")
    seat.read_until("status 0\r\n")
    assert seat.wait() == 0
    assert seat.restored


def test_in_the_background_under_tostop_output_waits(sit: Sit, tmp_path: Path) -> None:
    """A job that may not write there in the background does so once it is in the foreground."""
    seat = sit(
        script=f'stty tostop; set -m; "$@" run -- sh -c "echo held; touch {tmp_path}/up; read x" &'
        f" until [ -e {tmp_path}/up ]; do sleep 0.05; done; sleep 0.5;"
        ' echo mine; fg >/dev/null; echo "status $?"'
    )
    assert "held" not in seat.read_until("mine\r\n")
    seat.read_until("held\r\n")
    eventually(lambda: seat.raw)
    seat.type("\r")
    seat.read_until("status 0\r\n")
    assert seat.wait() == 0


@pytest.mark.parametrize("command", ["run", "attach"])
@pytest.mark.parametrize("name", ["TSTP", "STOP"])
def test_it_is_stopped_and_continued(sit: Sit, here: Here, name: str, command: str) -> None:
    """A shell has its terminal meanwhile; continued in the foreground, it is raw again."""
    program = "echo ready; read word; echo heard $word; exit 5"
    session = f"attach {here.new(program)}" if command == "attach" else f"run -- sh -c '{program}'"
    script = (
        f'set -m; "$@" {session} & '
        ' echo "pid $!"; fg >/dev/null; echo "stopped $?"; read line; echo "line $line";'
        ' bg >/dev/null; read line; echo "line $line"; fg >/dev/null; echo "status $?"'
    )
    seat = sit(script=script, here=here)
    seat.read_until("pid ")
    pid = int(seat.read_until("\r\n"))
    seat.read_until("ready")
    eventually(lambda: seat.raw)
    os.kill(pid, signal.Signals[f"SIG{name}"])
    seat.read_until("stopped ")
    if name == "TSTP":
        assert seat.restored
    for line in "one", "two":
        eventually(lambda: not seat.raw)
        seat.type(f"{line}\n")
        seat.read_until(f"line {line}\r\n")
    eventually(lambda: seat.raw)
    seat.type("again\r")
    seat.read_until("heard again\r\n")
    seat.read_until("status 5\r\n")
    assert seat.wait() == 0
    assert seat.restored


def job(sit: Sit, here: Here, command: str, program: str) -> tuple[Seat, int]:
    """Run or attach to a shell program, as a job of `seat.SHELL`; return the job's pid as well."""
    words = (
        ["attach", here.new(program)] if command == "attach" else ["run", "--", "sh", "-c", program]
    )
    seat = sit(*words, plain=True, here=here)
    seat.read_until("pid ")
    pid = int(seat.read_until(".")[:-1])
    seat.read_until("ready")
    eventually(lambda: seat.raw)
    return seat, pid


@pytest.mark.parametrize("command", ["run", "attach"])
def test_a_stop_restores_the_terminal_first(sit: Sit, here: Here, command: str) -> None:
    """The modes are restored before the stop, each time, by ptykill and not by a shell."""
    seat, pid = job(sit, here, command, "echo ready; read word; echo heard $word; exit 5")
    for _ in range(2):
        os.kill(pid, signal.SIGTSTP)
        seat.read_until(f"stopped by {signal.SIGTSTP:d}.")
        assert seat.restored
        os.kill(pid, signal.SIGCONT)
        eventually(lambda: seat.raw)
    seat.type("again\r")
    seat.read_until("heard again\r\n")
    seat.read_until("status 5.")
    assert seat.wait() == 0
    assert seat.restored


@pytest.mark.parametrize("command", ["run", "attach"])
@pytest.mark.parametrize("name", ["SIGTTIN", "SIGTTOU"])
def test_the_terminals_turns_stop_nobody(sit: Sit, here: Here, name: str, command: str) -> None:
    """The kernel sends these if another job gets the terminal between a look and a read or write.

    A process that they stopped could not be ended by SIGTERM.
    """
    seat, pid = job(sit, here, command, "echo ready; read word; echo heard $word; sleep 99")
    os.kill(pid, signal.Signals[name])
    seat.type("on\r")
    seat.read_until("heard on\r\n")
    os.kill(pid, signal.SIGTERM)
    assert "stopped" not in seat.read_until(f"status {-signal.SIGTERM:d}.")
    assert seat.wait() == 0
    assert seat.restored


def test_without_input_the_terminal_keeps_its_mode(sit: Sit) -> None:
    """Nothing is read there, so Ctrl-C is the terminal's own, and ends it."""
    seat = sit("run", "-n", "--", "sh", "-c", "cat; echo over; sleep 99")
    seat.type("for the shell\n")
    seat.read_until("over")
    assert not seat.raw
    seat.type("\x03")
    assert seat.wait() == -signal.SIGINT
    assert seat.restored
