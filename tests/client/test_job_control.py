"""``ptykill run`` as a job of a shell: in the background, stopped, and continued."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.client.terminals import Cli, Terminal, eventually

Start: TypeAlias = Callable[..., Terminal]


@pytest.mark.parametrize("tostop", ["tostop", "-tostop"])
@pytest.mark.parametrize("by", ["a shell", "timeout"])
def test_in_the_background_a_signal_ends_it(
    start: Start, tostop: str, by: str, tmp_path: Path
) -> None:
    """A background job, of a shell or of timeout(1), is not stopped, and a signal ends it."""
    run = f'"$@" run -- sh -c "echo one; touch {tmp_path}/up; cat; sleep 99"'
    up = f"until [ -e {tmp_path}/up ]; do sleep 0.05; done; sleep 0.3"
    if by == "timeout":
        script = f"timeout -k 20 2 {run}; status=$?"
    else:
        script = f"set -m; {run} & {up}; kill $!; wait $!; status=$?"
    terminal = start(
        script=f"stty {tostop}; before=$(stty -g); {script};"
        ' [ "$before" = "$(stty -g)" ] && echo "restored $status."'
    )
    terminal.read_until("restored 124." if by == "timeout" else "restored 143.")
    assert terminal.wait() == 0


def test_in_the_background_it_leaves_the_terminal_alone(start: Start) -> None:
    """Input goes to the job in the foreground, and output to the terminal."""
    script = (
        'set -m; "$@" run -- sh -c "echo ready; read word; echo heard \\$word" & '
        'read line; echo "line $line"; fg >/dev/null; echo "status $?"'
    )
    terminal = start(script=script)
    terminal.read_until("ready")
    assert not terminal.raw
    terminal.type("hello\n")
    terminal.read_until("line hello\r\n")
    eventually(lambda: terminal.raw)
    terminal.type("again\r")
    terminal.read_until("heard again\r\n")
    terminal.read_until("status 0\r\n")
    assert terminal.wait() == 0
    assert terminal.restored


def test_in_the_background_under_tostop_output_waits(start: Start, tmp_path: Path) -> None:
    """A job that may not write in the background does so once it is in the foreground."""
    terminal = start(
        script=f'stty tostop; set -m; "$@" run -- sh -c "echo held; touch {tmp_path}/up; read x" &'
        f" until [ -e {tmp_path}/up ]; do sleep 0.05; done; sleep 0.5;"
        ' echo mine; fg >/dev/null; echo "status $?"'
    )
    assert "held" not in terminal.read_until("mine\r\n")
    terminal.read_until("held\r\n")
    eventually(lambda: terminal.raw)
    terminal.type("\r")
    terminal.read_until("status 0\r\n")
    assert terminal.wait() == 0


@pytest.mark.parametrize("command", ["run", "attach"])
@pytest.mark.parametrize("name", ["TSTP", "STOP"])
def test_it_is_stopped_and_continued(start: Start, cli: Cli, name: str, command: str) -> None:
    """The shell has the terminal meanwhile; a job continued in the foreground sets raw mode."""
    program = "echo ready; read word; echo heard $word; exit 5"
    session = f"attach {cli.new(program)}" if command == "attach" else f"run -- sh -c '{program}'"
    script = (
        f'set -m; "$@" {session} & '
        ' echo "pid $!"; fg >/dev/null; echo "stopped $?"; read line; echo "line $line";'
        ' bg >/dev/null; read line; echo "line $line"; fg >/dev/null; echo "status $?"'
    )
    terminal = start(script=script, cli=cli)
    terminal.read_until("pid ")
    pid = int(terminal.read_until("\r\n"))
    terminal.read_until("ready")
    eventually(lambda: terminal.raw)
    os.kill(pid, signal.Signals[f"SIG{name}"])
    terminal.read_until("stopped ")
    if name == "TSTP":
        assert terminal.restored
    for line in "one", "two":
        eventually(lambda: not terminal.raw)
        terminal.type(f"{line}\n")
        terminal.read_until(f"line {line}\r\n")
    eventually(lambda: terminal.raw)
    terminal.type("again\r")
    terminal.read_until("heard again\r\n")
    terminal.read_until("status 5\r\n")
    assert terminal.wait() == 0
    assert terminal.restored


def job(start: Start, cli: Cli, command: str, program: str) -> tuple[Terminal, int]:
    """Run or attach to a program, as a job of `terminals.SHELL`; return the job's pid as well."""
    words = (
        ["attach", cli.new(program)] if command == "attach" else ["run", "--", "sh", "-c", program]
    )
    terminal = start(*words, plain=True, cli=cli)
    terminal.read_until("pid ")
    pid = int(terminal.read_until(".")[:-1])
    terminal.read_until("ready")
    eventually(lambda: terminal.raw)
    return terminal, pid


@pytest.mark.parametrize("command", ["run", "attach"])
def test_a_stop_restores_the_terminal_first(start: Start, cli: Cli, command: str) -> None:
    """The modes are restored before the stop, each time, by ptykill and not by a shell."""
    terminal, pid = job(start, cli, command, "echo ready; read word; echo heard $word; exit 5")
    for _ in range(2):
        os.kill(pid, signal.SIGTSTP)
        terminal.read_until(f"stopped by {signal.SIGTSTP:d}.")
        assert terminal.restored
        os.kill(pid, signal.SIGCONT)
        eventually(lambda: terminal.raw)
    terminal.type("again\r")
    terminal.read_until("heard again\r\n")
    terminal.read_until("status 5.")
    assert terminal.wait() == 0
    assert terminal.restored


@pytest.mark.parametrize("command", ["run", "attach"])
@pytest.mark.parametrize("name", ["SIGTTIN", "SIGTTOU"])
def test_the_terminals_turns_stop_nobody(start: Start, cli: Cli, name: str, command: str) -> None:
    """SIGTTIN and SIGTTOU do not stop it. They come if another job gets the terminal in between.

    A process that they stopped could not be ended by SIGTERM.
    """
    terminal, pid = job(start, cli, command, "echo ready; read word; echo heard $word; sleep 99")
    os.kill(pid, signal.Signals[name])
    terminal.type("on\r")
    terminal.read_until("heard on\r\n")
    os.kill(pid, signal.SIGTERM)
    assert "stopped" not in terminal.read_until(f"status {-signal.SIGTERM:d}.")
    assert terminal.wait() == 0
    assert terminal.restored


def test_without_input_the_terminal_keeps_its_mode(start: Start) -> None:
    """Without input, raw mode is not set, so Ctrl-C sends SIGINT, which ends the command."""
    terminal = start("run", "-n", "--", "sh", "-c", "cat; echo over; sleep 99")
    terminal.type("for the shell\n")
    terminal.read_until("over")
    assert not terminal.raw
    terminal.type("\x03")
    assert terminal.wait() == -signal.SIGINT
    assert terminal.restored
