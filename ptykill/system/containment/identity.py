"""Describes a survivor in the words of ps(1): name, state, user, command, and why it lives.

A survivor is often one that the kernel holds up, and then its command line can't be read either:
see `_Words`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pwd
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from ptykill.rules.verdict import Survivor
from ptykill.system.kernel.pidfd import Signallable
from ptykill.system.kernel.proc_folder import open_folder
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import read_proc, stat
from ptykill.system.kernel.ticks import TICKS

__all__ = ["identify"]

T = TypeVar("T")

_READ_BOUND = 0.05
"""Seconds for which the loop waits for a command line and a user's name."""
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
    """Describe a process that is alive; what can't be read stays ``?``. Takes 50 ms at most."""
    if proc.folder < 0:
        return _identify_by_psutil(pid, process)
    fields = stat(pid)
    if not fields:  # It is gone, or hidden (proc(5), hidepid).
        return Survivor(pid, why=_why("", pid, process))
    state, uid = fields[0].decode(), _status(pid, b"Uid")
    words = _read_words(pid, uid)
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return Survivor(
        pid,
        name=read_proc(f"{pid}/comm").decode(errors="replace").strip() or "?",
        state=state,
        user=words.user or ("?" if uid is None else str(uid)),
        command=words.command,
        started=round(boot + int(fields[19]) / TICKS, 2),
        why=_why(state, pid, process),
    )


def _why(state: str, pid: int, process: Signallable) -> str:
    """Say what kept a process alive, as far as other processes can see it."""
    try:
        process.send(0)
    except PermissionError:
        return "not permitted to signal it"
    if state == "Z":
        tracer = _status(pid, b"TracerPid")
        if tracer:
            return f"dead, but held by the process that traces it, {tracer}"
        return "dead, and not reaped yet"
    if state == "D":
        return "in uninterruptible sleep"
    return "unknown"


def _status(pid: int, name: bytes) -> int | None:
    """Return the first number of a line of its ``status`` (proc(5)); None if there is none."""
    for line in read_proc(f"{pid}/status").splitlines():
        if line.startswith(name + b":"):
            return int(line.split()[1])
    return None


# --- what may take for ever -----------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Words:
    """A command line and the name of a user, as far as they were read in time.

    A command line is in the memory of the process. To read it takes the lock of that memory (Linux
    get_mm_cmdline, mmap_lock), which another thread of the process may hold while a file system
    does not answer: the process is in uninterruptible sleep then, and outlives its kill. A name may
    be asked for over a network (nsswitch.conf(5)).
    """

    user: str = ""
    command: str = ""

    def read(self, pid: int, uid: int | None) -> None:
        """Read both; this may take for ever."""
        with contextlib.suppress(KeyError):
            self.user = "" if uid is None else pwd.getpwuid(uid).pw_name
        with contextlib.suppress(OSError):
            folder = open_folder(pid)
            if folder is not None:
                with contextlib.closing(folder):
                    words = folder.command().rstrip(b"\0").replace(b"\0", b" ")
                self.command = words.decode(errors="replace")


_reader = threading.Thread()
"""The last thread that has read words. While it is held up, no second one is started."""


def _read_words(pid: int, uid: int | None) -> _Words:
    """Read a command line and a user's name in a thread, and wait for it no longer than a bound."""
    global _reader  # noqa: PLW0603 - one for the whole process, since so is the number of threads
    words = _Words()
    if not _reader.is_alive():
        reader = threading.Thread(target=words.read, args=(pid, uid), daemon=True)
        with contextlib.suppress(RuntimeError):  # There are as many threads as there may be.
            reader.start()
            _reader = reader
            reader.join(_READ_BOUND)
    return dataclasses.replace(words)


# --- systems without /proc ------------------------------------------------------------------------


def _identify_by_psutil(pid: int, process: Signallable) -> Survivor:
    with contextlib.suppress(psutil.Error):
        known = psutil.Process(pid)
        with known.oneshot():
            state = _LETTERS.get(_read_or_none(known.status) or "", "?")
            return Survivor(
                pid,
                name=_read_or_none(known.name) or "?",
                state=state,
                user=_read_or_none(known.username) or "?",
                command=" ".join(_read_or_none(known.cmdline) or []),
                started=_read_or_none(known.create_time),
                why=_why(state, pid, process),
            )
    return Survivor(pid, why=_why("", pid, process))


def _read_or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (psutil.Error, KeyError):
        return None
