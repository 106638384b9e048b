"""Describes a survivor in the words of ps(1): name, state, user, command, and why it lives."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import TypeVar

import psutil

from ptykill.rules.verdict import Survivor
from ptykill.system.kernel.pidfd import Signallable
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import read_proc, stat

__all__ = ["identify"]

T = TypeVar("T")

_LETTERS = {
    psutil.STATUS_RUNNING: "R",
    psutil.STATUS_SLEEPING: "S",
    psutil.STATUS_DISK_SLEEP: "D",
    psutil.STATUS_STOPPED: "T",
    psutil.STATUS_TRACING_STOP: "t",
    psutil.STATUS_ZOMBIE: "Z",
    psutil.STATUS_DEAD: "X",
    psutil.STATUS_IDLE: "I",
}


def identify(pid: int, process: Signallable) -> Survivor:
    """Describe a process that is alive; what can't be read stays ``?``."""
    survivor = Survivor(pid, why=_why(pid, process))
    if not proc.at_proc:  # psutil reads /proc.
        return _identify_without_psutil(survivor)
    with contextlib.suppress(psutil.Error):
        known = psutil.Process(pid)
        with known.oneshot():
            survivor = Survivor(
                pid,
                name=_read_or_none(known.name) or "?",
                state=_LETTERS.get(_read_or_none(known.status) or "", "?"),
                user=_read_or_none(known.username) or "?",
                command=" ".join(_read_or_none(known.cmdline) or []),
                started=_read_or_none(known.create_time),
                why=survivor.why,
            )
    return survivor


def _why(pid: int, process: Signallable) -> str:
    """Say what kept a process alive, as far as other processes can see it."""
    try:
        process.send(0)
    except PermissionError:
        return "not permitted to signal it"
    tracer = _tracer(pid)
    state = _state(pid)
    if state == psutil.STATUS_ZOMBIE and tracer:
        return f"dead, but held by the process that traces it, {tracer}"
    if state == psutil.STATUS_DISK_SLEEP:
        return "in uninterruptible sleep"
    return "unknown"


def _state(pid: int) -> str | None:
    if not proc.at_proc:
        letter = b"".join(stat(pid)[:1]).decode()
        return next((status for status, each in _LETTERS.items() if each == letter), None)
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status()
    return None


def _identify_without_psutil(survivor: Survivor) -> Survivor:
    pid = survivor.pid
    return dataclasses.replace(
        survivor,
        name=read_proc(f"{pid}/comm").decode(errors="replace").strip() or "?",
        state=_LETTERS.get(_state(pid) or "", "?"),
        command=read_proc(f"{pid}/cmdline").decode(errors="replace").strip("\0").replace("\0", " "),
    )


def _tracer(pid: int) -> int:
    """Return the pid of its tracer (proc(5), TracerPid); 0 if it is not traced."""
    for line in read_proc(f"{pid}/status").splitlines():
        if line.startswith(b"TracerPid:"):
            return int(line.split()[1])
    return 0


def _read_or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (psutil.Error, KeyError):
        return None
