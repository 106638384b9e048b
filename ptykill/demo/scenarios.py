"""The sessions that are ended, and how each is known to be set up."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Protocol

__all__ = ["SCENARIOS", "DemoError", "Job", "Scenario", "Terminal", "set_up"]

JOURNAL = "journal"
"""The file, in the session's working directory, where a clean-up writes what it did."""
CHAPTERS = 5

_PATIENCE = 30.0
"""Seconds within which a session has to be set up, on the slowest of machines."""
_PROMPT = "demo$ "


class DemoError(Exception):
    """The demo can't go on; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A process of a session: what it is called, and the state in which it awaits the end."""

    name: str
    program: str | None = None
    """As the kernel names it, once it has been executed."""
    deaf: bool = False
    """It ignores SIGHUP."""
    stopped: bool = False


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

    @property
    def marker(self) -> re.Pattern[bytes]:
        """What the session prints when its processes are there: their pids, but the leader's."""
        return re.compile(rb"(?m)^pids:" + rb" (\d+)" * (len(self.jobs) - 1) + rb"\s*$")

    def environment(self, mark: str, grace: float) -> dict[str, str]:
        """Return what is laid over the environment; ``mark`` is how strays are found."""
        return {
            "PTYKILL_DEMO": mark,
            "PTYKILL_DEMO_PAUSE": str(grace / 2 / CHAPTERS),
            "PS1": _PROMPT,
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
        journal = directory / JOURNAL
        return len(journal.read_text().splitlines()) if journal.exists() else 0


class Terminal(Protocol):
    """A session's terminal, whoever holds it."""

    def send(self, data: bytes) -> None:
        """Type into it."""

    def receive(self, timeout: float) -> bytes:
        """Return some output; ``b""`` if there was none for ``timeout`` seconds, or is no more."""


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
        with open("{JOURNAL}", "a") as journal:
            journal.write(f"saved chapter {{chapter}}\\n")
    raise SystemExit(0)

signal.signal(signal.SIGHUP, clean_up)
print("pids:", flush=True)
time.sleep(60)
"""

_SERVER = "trap '' HUP; sleep 60 & echo pids: $!; wait"

SCENARIOS = (
    Scenario(
        name="a shell with jobs",
        about="Each job has a process group of its own: no signal to the shell's reaches them.",
        command=("bash", "--norc", "--noprofile", "-i"),
        shown=tuple(f"$ {line}" for line in (*_SHELL, *_STOP)),
        typed=_SHELL,
        typed_then=_STOP,
        jobs=(
            Job("bash -i", "bash"),
            Job("sleep, background", "sleep"),
            Job("sleep, stopped", "sleep", stopped=True),
            Job("sleep, nohup", "sleep", deaf=True),
            Job("sleep, deaf", "sleep", deaf=True),
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
        jobs=(Job("sh, server", "sh", deaf=True), Job("sleep, worker", "sleep", deaf=True)),
    ),
)


def set_up(scenario: Scenario, leader: int, terminal: Terminal) -> list[int]:
    """Make the session what it is to be, and return the pids of its jobs, in their order."""
    until = time.monotonic() + _PATIENCE
    heard = b""

    def wait_for(pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        nonlocal heard
        # A terminal ends its lines with CR LF.
        while not (match := pattern.search(heard.replace(b"\r", b""))):
            if time.monotonic() > until:
                tail = heard[-200:].decode(errors="replace")
                raise DemoError(f"{scenario.name}: not set up in {_PATIENCE:.0f} s: {tail!r}")
            heard += terminal.receive(0.2)
        return match

    def type_in(*lines: str) -> None:
        for line in lines:
            terminal.send(line.encode() + b"\n")

    if scenario.typed:
        wait_for(re.compile(re.escape(_PROMPT.encode())))
        type_in(*scenario.typed, "echo pids: $(jobs -p)")
    pids = [leader, *map(int, wait_for(scenario.marker).groups())]
    jobs = dict(zip(pids, scenario.jobs, strict=True))
    if scenario.typed_then:
        for pid, job in jobs.items():
            _wait_until(dataclasses.replace(job, stopped=False), pid, until)
        type_in(*scenario.typed_then)
    for pid, job in jobs.items():
        _wait_until(job, pid, until)
    return pids


def _wait_until(job: Job, pid: int, until: float) -> None:
    while not _is(job, pid):
        if time.monotonic() > until:
            raise DemoError(f"{job.name} ({pid}) did not become what it is to be")
        time.sleep(0.002)


def _is(job: Job, pid: int) -> bool:
    """Ask the kernel (proc(5), /proc/PID/status) whether a process is in its state."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        raise DemoError(f"{job.name} ({pid}) has ended before its time") from None
    status = dict(line.split(":", 1) for line in text.splitlines())
    ignored = int(status["SigIgn"], 16) >> (signal.SIGHUP - 1) & 1
    return (
        job.program in (None, status["Name"].strip())
        and bool(ignored) is job.deaf
        and status["State"].strip().startswith("T") is job.stopped
    )
