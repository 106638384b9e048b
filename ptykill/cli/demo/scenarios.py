"""The sessions that are ended."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from pathlib import Path

__all__ = ["CHAPTERS", "PROMPT", "SCENARIOS", "Job", "Scenario"]

_JOURNAL = "journal"
"""The file, in the session's working directory, where a clean-up writes what it did."""
CHAPTERS = 5
"""So many steps its clean-up has."""

PROMPT = "demo$ "
"""How the shell says that it reads."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A process of a session: what it is called, and the state in which it awaits the end."""

    name: str
    program: str | None = None
    """As the kernel names it, once it has been executed."""
    deaf: bool = False
    """It ignores SIGHUP."""
    stopped: bool = False
    escaped: bool = False
    """It has left the session, so it gets SIGTERM."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """A session: the command, what is typed into it, and the processes that it then has."""

    name: str
    about: str
    command: tuple[str, ...]
    shown: tuple[str, ...]
    """The command or what is typed, as a person would write it."""
    jobs: tuple[Job, ...]
    """The leader first, then in the order in which the marker names them."""
    typed: tuple[str, ...] = ()
    typed_then: tuple[str, ...] = ()
    """Typed once all that has been started has been executed."""
    saves: bool = False
    """It cleans up, and its journal tells how far it came."""
    escapes: bool = False
    """Some of it leaves the session and loses its parent."""

    @property
    def marker(self) -> re.Pattern[bytes]:
        """What the session prints when its processes are there: their pids, but the leader's."""
        # Wherever in a line: what nohup has to say may have got in before it.
        return re.compile(rb"pids:" + rb" (\d+)" * (len(self.jobs) - 1) + rb"\n")

    def environment(self, mark: str, grace: float) -> dict[str, str]:
        """Return what is laid over the environment; ``mark`` is how strays are found."""
        return {
            "PTYKILL_DEMO": mark,
            "PTYKILL_DEMO_PAUSE": str(grace / 2 / CHAPTERS),
            "PS1": PROMPT,
            "PS2": "",
            "PROMPT_COMMAND": "",
            "HISTFILE": os.devnull,
            "INPUTRC": os.devnull,
            "TERM": "dumb",
        }

    def saved(self, directory: Path) -> int | None:
        """Return how many chapters the clean-up saved; None if there is none to be made."""
        if not self.saves:
            return None
        journal = directory / _JOURNAL
        return len(journal.read_text().splitlines()) if journal.exists() else 0


_SHELL = (
    "sleep 60 &",
    "sleep 60 &",
    "nohup sleep 60 &",
    "(trap '' HUP INT TERM QUIT; exec sleep 60) &",
)
_STOP = ("kill -STOP %2",)

_EDITOR = f"""
import os, signal, time

def clean_up(number, frame):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for chapter in range(1, {CHAPTERS} + 1):
        time.sleep(float(os.environ["PTYKILL_DEMO_PAUSE"]))
        with open("{_JOURNAL}", "a") as journal:
            journal.write(f"saved chapter {{chapter}}\\n")
    raise SystemExit(0)

signal.signal(signal.SIGHUP, clean_up)
print("pids:", flush=True)
time.sleep(60)
"""

_DAEMON = """(setsid sh -c "trap '' HUP; echo pids: \\$\\$; exec sleep 60" &); exec sleep 60"""

_SERVER = "trap '' HUP; sleep 60 & echo pids: $!; wait"

SCENARIOS = (
    Scenario(
        name="a shell with jobs",
        about="Every job has a process group of its own, out of reach of a kill of the shell's.",
        command=("bash", "--norc", "--noprofile", "-i"),
        shown=tuple(f"$ {line}" for line in (*_SHELL, *_STOP)),
        typed=_SHELL,
        typed_then=_STOP,
        jobs=(
            Job("bash -i", "bash"),
            Job("background sleep", "sleep"),
            Job("stopped sleep", "sleep", stopped=True),
            Job("nohup sleep", "sleep", deaf=True),
            Job("deaf sleep", "sleep", deaf=True),
        ),
    ),
    Scenario(
        name="an editor that saves",
        about="On SIGHUP it saves five chapters, which takes it half of the grace.",
        command=(sys.executable, "-I", "-S", "-c", _EDITOR),
        shown=("signal.signal(signal.SIGHUP, save_five_chapters)",),
        jobs=(Job("editor"),),
        saves=True,
    ),
    Scenario(
        name="a deaf server",
        about="It ignores SIGHUP altogether, and so does the worker that it has started.",
        command=("sh", "-c", _SERVER),
        shown=("trap '' HUP; sleep 60 & wait",),
        jobs=(Job("server (sh)", "sh", deaf=True), Job("worker (sleep)", "sleep", deaf=True)),
    ),
    Scenario(
        name="a daemon that got away",
        about="It has left the session and lost its parent; SIGTERM finds it all the same.",
        command=("sh", "-c", _DAEMON),
        shown=("(setsid sleep 60 &); exec sleep 60",),
        jobs=(
            Job("leader (sleep)", "sleep"),
            Job("daemon (sleep)", "sleep", deaf=True, escaped=True),
        ),
        escapes=True,
    ),
)
