"""The sessions that the demo ends."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from pathlib import Path

__all__ = ["CHAPTERS", "PROMPT", "SCENARIOS", "Job", "Scenario"]

_JOURNAL = "journal"
"""The file, in the session's working directory, where a clean-up writes each step."""
CHAPTERS = 5
"""The steps of that clean-up."""

PROMPT = "demo$ "
"""The prompt of the shell."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A process of a session: its name in the demo, and its state before the teardown."""

    name: str
    program: str | None = None
    """The kernel's name for it, once the program was executed."""
    deaf: bool = False
    """It ignores SIGHUP."""
    stopped: bool = False
    escaped: bool = False
    """It has left the session: it gets SIGTERM instead of SIGHUP."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """A session: its command, what the demo types into it, and its processes then."""

    name: str
    about: str
    command: tuple[str, ...]
    shown: tuple[str, ...]
    """The command or the input, as a person would write it."""
    jobs: tuple[Job, ...]
    """The leader first, then in the order of the pids in the marker."""
    typed: tuple[str, ...] = ()
    typed_then: tuple[str, ...] = ()
    """Typed once all jobs have executed their programs."""
    saves: bool = False
    """It cleans up, and writes a journal of that."""
    escapes: bool = False
    """A process of it leaves the session and loses its parent."""

    @property
    def marker(self) -> re.Pattern[bytes]:
        """The line that the session prints once its processes exist: their pids, but the leader's.

        It may come after other output on the same line, such as nohup's message.
        """
        return re.compile(rb"pids:" + rb" (\d+)" * (len(self.jobs) - 1) + rb"\n")

    def environment(self, mark: str, grace: float) -> dict[str, str]:
        """Return the variables of the session; all its processes carry ``mark``."""
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
        """Return how many chapters the clean-up has saved; None if there is no clean-up."""
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
        about="Every job has its own process group, which a signal to the shell's does not reach.",
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
        about="On SIGHUP it saves five chapters, which takes half of the grace.",
        command=(sys.executable, "-I", "-S", "-c", _EDITOR),
        shown=("signal.signal(signal.SIGHUP, save_five_chapters)",),
        jobs=(Job("editor"),),
        saves=True,
    ),
    Scenario(
        name="a deaf server",
        about="It ignores SIGHUP, and so does the worker that it has started.",
        command=("sh", "-c", _SERVER),
        shown=("trap '' HUP; sleep 60 & wait",),
        jobs=(Job("server (sh)", "sh", deaf=True), Job("worker (sleep)", "sleep", deaf=True)),
    ),
    Scenario(
        name="a daemon that got away",
        about="It has left the session and lost its parent; it is found, and gets SIGTERM.",
        command=("sh", "-c", _DAEMON),
        shown=("(setsid sleep 60 &); exec sleep 60",),
        jobs=(
            Job("leader (sleep)", "sleep"),
            Job("daemon (sleep)", "sleep", deaf=True, escaped=True),
        ),
        escapes=True,
    ),
)
