"""Ctrl-C while a command starts: it dies of SIGINT, and prints at most a sentence."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from tests.client.terminals import TIMEOUT

INTERRUPTED = """
import atexit, os, runpy, signal, sys

class Finder:
    # Sends SIGINT as the import of a module begins, when so many have been imported; or, if that
    # is -1, as a process is started.
    at, seen, own = int(sys.argv.pop(1)), 0, False

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        cls.own = cls.own or name == "ptykill.cli.main"
        cls.seen += cls.own
        if cls.own and cls.seen == cls.at:
            os.kill(os.getpid(), signal.SIGINT)

def interrupt_spawn(event, _):
    global spawned
    # While trio is imported it runs ldconfig(8), in Python 3.13 by posix_spawn(3) as well.
    if event == "os.posix_spawn" and not spawned and hasattr(sys.modules["trio"], "run"):
        spawned = True
        os.kill(os.getpid(), signal.SIGINT)

spawned = Finder.at != -1
sys.addaudithook(interrupt_spawn)
sys.meta_path.insert(0, Finder)
atexit.register(lambda: os.write(2, f"imported {Finder.seen}".encode()))
sys.argv[0] = "ptykill"
runpy.run_module("ptykill", run_name="__main__", alter_sys=True)
"""
INTERRUPTED_SENTENCE = re.compile(r"ptykill: interrupted.*\n")
POINTS = 6
COMMANDS = {
    "help": ("--help",),
    "run": ("run", "--", "true"),
    "kill": ("kill", "--all", "--url", "http://127.0.0.1:1"),
    "doctor": ("doctor", "--json"),
}


def interrupted(at: int, *arguments: str) -> tuple[int, str]:
    """Send SIGINT as a command begins its ``at``-th import; return its status and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(at), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupted_start(command: str) -> None:
    """Ctrl-C at any import: the process dies of SIGINT, without a traceback."""
    arguments = COMMANDS[command]
    imported = int(interrupted(0, *arguments)[1].rpartition("imported ")[2])
    for at in [1 + each * imported // POINTS for each in range(POINTS)]:
        status, told = interrupted(at, *arguments)
        assert status == -signal.SIGINT, (at, told)
        assert told == "" or INTERRUPTED_SENTENCE.fullmatch(told), at


def test_an_interrupt_once_it_has_started() -> None:
    """Once there may be sessions, they are ended, and a sentence is printed."""
    assert interrupted(-1, "doctor", "--json") == (
        -signal.SIGINT,
        "ptykill: interrupted\n",
    )


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    """SIGINT stays ignored, as a shell sets it for background commands."""
    command = [sys.executable, "-c", INTERRUPTED, "5", "run", "--", "sh", "-c", "exit 7"]
    script = "trap '' INT; exec \"$@\""
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 7
