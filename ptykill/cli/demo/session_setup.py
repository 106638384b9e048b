"""Set a session up, and wait until its output and the kernel say that it is ready."""

from __future__ import annotations

import dataclasses
import re
import signal
import time
from pathlib import Path
from typing import Protocol

from ptykill.cli.demo.scenarios import PROMPT, Job, Scenario

__all__ = ["DemoError", "Terminal", "prepare"]

_TIMEOUT = 30.0
"""Seconds within which a session has to be set up, on the slowest of machines."""


class DemoError(Exception):
    """The demo can't continue; the message says why."""


class Terminal(Protocol):
    """A session's terminal, of ptykill or of ptyprocess."""

    def send(self, data: bytes) -> None:
        """Type into it."""

    def receive(self, timeout: float) -> bytes:
        """Return some output; ``b""`` if none came in ``timeout`` seconds, or at its end."""


def prepare(scenario: Scenario, leader: int, terminal: Terminal) -> list[int]:
    """Type what the scenario types; return the pids of its jobs, in order, once all are ready."""
    until = time.monotonic() + _TIMEOUT
    console = _Console(leader, terminal, until)
    if scenario.typed:
        console.wait_for(re.compile(re.escape(PROMPT.encode())))
        console.type_in(*scenario.typed, "echo pids: $(jobs -p)")
    pids = [leader, *map(int, console.wait_for(scenario.marker).groups())]
    jobs = dict(zip(pids, scenario.jobs, strict=True))
    if scenario.typed_then:
        for pid, job in jobs.items():
            _wait_ready(dataclasses.replace(job, stopped=False), pid, until)
        console.type_in(*scenario.typed_then)
    for pid, job in jobs.items():
        _wait_ready(job, pid, until)
    return pids


class _Console:
    """Types into the terminal, and keeps the output."""

    def __init__(self, leader: int, terminal: Terminal, until: float) -> None:
        self._leader = leader
        self._terminal = terminal
        self._until = until
        self._output = b""

    def type_in(self, *lines: str) -> None:
        for line in lines:
            self._terminal.send(line.encode() + b"\n")

    def wait_for(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        # A terminal ends its lines with CR LF.
        while not (match := pattern.search(self._output.replace(b"\r", b""))):
            if time.monotonic() > self._until or _in_state("Z", _status(self._leader)):
                tail = self._output[-200:].decode(errors="replace")
                raise DemoError(f"a session was not set up, and last said {tail!r}")
            self._output += self._terminal.receive(0.2)
        return match


def _wait_ready(job: Job, pid: int, until: float) -> None:
    while not _is_ready(job, pid):
        if time.monotonic() > until:
            raise DemoError(f"{job.name} ({pid}) did not become ready")
        time.sleep(0.002)


def _is_ready(job: Job, pid: int) -> bool:
    """Return whether a process is in the state of its job."""
    status = _status(pid)
    if _in_state("Z", status):
        raise DemoError(f"{job.name} ({pid}) has ended before its time")
    ignored = int(status["SigIgn"], 16) >> (signal.SIGHUP - 1) & 1
    return (
        job.program in (None, status["Name"].strip())
        and bool(ignored) is job.deaf
        and _in_state("T", status) is job.stopped
    )


def _status(pid: int) -> dict[str, str]:
    """Return the fields of /proc/PID/status (proc_pid_status(5)); none if the process has gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(line.split(":", 1) for line in text.splitlines())


def _in_state(letter: str, status: dict[str, str]) -> bool:
    return status.get("State", "Z").strip().startswith(letter)
