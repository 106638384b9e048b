"""An independent view of the process table, for tests: nothing of ptykill is used here.

Who belongs to a test is known by a mark, a random word in the environment of its processes; those
that wipe their environment carry it as an argument.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

__all__ = [
    "MARK",
    "Census",
    "Process",
    "descendants",
    "end",
    "every_process",
    "left",
    "look_up",
    "marked",
    "names",
    "our_own",
    "session_members",
    "spawned",
]

MARK = "PTYKILL_TEST_MARK"
"""The environment variable whose value says which test a process belongs to."""


class Process(NamedTuple):
    """One line of the process table (proc(5), ``/proc/PID/stat``)."""

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int
    terminal: int
    foreground: int
    threads: int

    @property
    def alive(self) -> bool:
        """A zombie is dead, unless it is only the main thread that has exited."""
        return self.state not in "ZX" or self.threads > 1


def look_up(pid: int) -> Process | None:
    """Return what the process table says of a process; None if there is none."""
    try:
        head, _, tail = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return None
    fields = tail.split()
    parent, group, session, terminal, foreground = map(int, fields[1:6])
    return Process(
        pid=pid,
        name=head.partition("(")[2],
        state=fields[0],
        parent=parent,
        group=group,
        session=session,
        terminal=terminal,
        foreground=foreground,
        threads=int(fields[17]),
    )


def every_process() -> list[Process]:
    """Return the whole process table."""
    found = (look_up(int(each.name)) for each in Path("/proc").iterdir() if each.name.isdigit())
    return [process for process in found if process is not None]


def session_members(sid: int) -> list[Process]:
    """Return those of a POSIX session that are alive, whatever their process groups."""
    return [each for each in every_process() if each.session == sid and each.alive]


def descendants(pid: int) -> list[Process]:
    """Return those that are alive among the children of a process, their children, and so on."""
    table = every_process()
    found: list[Process] = []
    parents = {pid}
    while parents:
        born = [each for each in table if each.parent in parents]
        found += born
        parents = {each.pid for each in born}
    return [each for each in found if each.alive]


def spawned(pid: int) -> list[Process]:
    """Return the living descendants of a process but those that ptykill itself has there."""
    return [each for each in descendants(pid) if not our_own(each)]


def marked(mark: str) -> list[Process]:
    """Return the living processes, but this one, that carry a mark."""
    word = mark.encode()
    return [
        each
        for each in every_process()
        if each.alive and each.pid != os.getpid() and word in _environment_and_arguments(each)
    ]


def left(mark: str, within: float = 2.0) -> list[str]:
    """Describe who carries a mark after so many seconds, or as soon as that is nobody."""
    until = time.monotonic() + within
    while (found := marked(mark)) and time.monotonic() < until:
        time.sleep(0.01)
    return names(found)


def our_own(process: Process) -> bool:
    """Return whether it is one of those that ptykill has beside a host."""
    return process.name.startswith("ptykill-")


def _environment_and_arguments(process: Process) -> bytes:
    home = Path(f"/proc/{process.pid}")
    folders = [home]
    if process.state == "Z":
        # A main thread that has exited shows nothing of its own; the threads that live still do.
        with contextlib.suppress(OSError):
            folders = [*(home / "task").iterdir()]
    data = b""
    for folder in folders:
        for file in "environ", "cmdline":
            with contextlib.suppress(OSError):
                data += (folder / file).read_bytes()
    return data


def names(processes: Iterable[Process]) -> list[str]:
    """Describe processes for a message that a person will read."""
    described = []
    for each in processes:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{each.pid}/cmdline").read_bytes().split(b"\0")
            command = b" ".join(words).decode(errors="replace")[:80]
            described.append(
                f"{each.pid} {each.name} ({each.state}, child of {each.parent}) {command}"
            )
    return described


def end(pid: int) -> None:
    """Send SIGKILL to a process, and wait a little for its death."""
    with contextlib.suppress(OSError), _Handle(pid) as process:
        signal.pidfd_send_signal(process.fd, signal.SIGKILL)
        process.dead(within=2)


class _Handle:
    """A pidfd: it stays with its process, whoever gets the number later."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.fd = os.pidfd_open(pid)

    def dead(self, *, within: float = 0.0) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


class Census:
    """Everybody who is in a session now, or descends from its leader, each held by a pidfd.

    So what is asked later is asked of these processes, and of no others with their numbers.
    """

    def __init__(self, leader: int) -> None:
        self._handles: list[_Handle] = []
        self._names: dict[int, str] = {}
        known = {each.pid: each for each in (*session_members(leader), *descendants(leader))}
        for pid, process in known.items():
            with contextlib.suppress(ProcessLookupError):
                self._handles.append(_Handle(pid))
                self._names[pid] = process.name

    def __len__(self) -> int:
        return len(self._handles)

    @property
    def pids(self) -> set[int]:
        """The numbers of all that were counted."""
        return {handle.pid for handle in self._handles}

    def living(self) -> list[str]:
        """Return the pids and names of those that still live."""
        return [
            f"{handle.pid} {self._names[handle.pid]}"
            for handle in self._handles
            if not handle.dead()
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the pidfds."""
        for handle in self._handles:
            os.close(handle.fd)
