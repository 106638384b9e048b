"""Read the process table, for tests, without using anything of ptykill.

The processes of a test carry a mark: a random word in their environment, or an argument if they
wipe their environment.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ptykill.testing.observer import Observer

__all__ = [
    "MARK",
    "Process",
    "children",
    "descendants",
    "end",
    "every_process",
    "kill_marked",
    "left",
    "look_up",
    "marked",
    "names",
    "observe_session",
    "our_own",
    "session_members",
    "session_pids",
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
    head, _, tail = _content(f"/proc/{pid}/stat").decode(errors="replace").rpartition(")")
    if not tail:
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
    return [found for pid in _every_pid() if (found := look_up(pid)) is not None]


def session_members(sid: int) -> list[Process]:
    """Return the living members of a POSIX session, in all process groups."""
    return [each for each in every_process() if each.session == sid and each.alive]


def descendants(pid: int) -> list[Process]:
    """Return the living descendants of a process: children, their children, and so on."""
    table = every_process()
    found: list[Process] = []
    parents = {pid}
    while parents:
        next_ones = [each for each in table if each.parent in parents]
        found += next_ones
        parents = {each.pid for each in next_ones}
    return [each for each in found if each.alive]


def spawned(pid: int) -> list[Process]:
    """Return the living descendants of a process, without ptykill's own helper processes."""
    return [each for each in descendants(pid) if not our_own(each)]


def marked(mark: str) -> list[Process]:
    """Return the living processes that carry a mark, without this process."""
    word = mark.encode()
    pids = [each for each in _every_pid() if word in _environment_and_arguments(each)]
    found = [each for pid in pids if (each := look_up(pid)) is not None]
    return [each for each in found if each.alive and each.pid != os.getpid()]


def left(mark: str, within: float = 2.0) -> list[str]:
    """Wait up to so many seconds until no process carries a mark; describe those that do then."""
    until = time.monotonic() + within
    while (found := marked(mark)) and time.monotonic() < until:
        time.sleep(0.01)
    return names(found)


def our_own(process: Process) -> bool:
    """Return whether a process is a helper of ptykill's: a warden or a keeper."""
    return process.name.startswith("ptykill-")


def _environment_and_arguments(pid: int) -> bytes:
    home = f"/proc/{pid}"
    data = _content(f"{home}/environ") + _content(f"{home}/cmdline")
    if not data:
        # A main thread that has exited has no environment in /proc; its living threads have it.
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"{home}/task"):
                task = f"{home}/task/{thread}"
                data += _content(f"{task}/environ") + _content(f"{task}/cmdline")
    return data


def _every_pid() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _content(path: str) -> bytes:
    """Read a file of /proc; empty if it is not there, or not for us.

    Tests read the whole process table often. With a `Path` for each file, that took six times as
    long, and a tenth of the processor time of all tests.
    """
    data = b""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return data
    try:
        while part := os.read(file, 65_536):
            data += part
    except OSError:  # ESRCH: the process has just ended.
        return data
    finally:
        os.close(file)
    return data


def names(processes: Iterable[Process]) -> list[str]:
    """Describe processes for a message to a person."""
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
    """Send SIGKILL to a process, and wait up to two seconds for its death."""
    with contextlib.suppress(OSError), Observer([pid]) as observer:
        observer.kill()
        observer.wait(2)


def kill_marked(mark: str, within: float = 5.0) -> list[Process]:
    """Send SIGKILL to all that carry a mark until none is left; return those left after that."""
    until = time.monotonic() + within
    while (found := marked(mark)) and time.monotonic() < until:
        for each in found:
            with contextlib.suppress(OSError), Observer([each.pid]) as observer:
                # The pid may have been reused between the look and the pidfd.
                if mark.encode() in _environment_and_arguments(each.pid):
                    observer.kill()
                    observer.wait(1)
    return found


def observe_session(leader: int) -> Observer:
    """Observe all that are in a session now, or descend from its leader."""
    known = {each.pid: None for each in (*session_members(leader), *descendants(leader))}
    return Observer(known)


def session_pids(leaders: Iterable[int]) -> list[int]:
    """Return the pids in the sessions of these processes, zombies included; cheap for many."""
    sessions: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                sessions.setdefault(os.getsid(int(entry.name)), []).append(int(entry.name))
    return [pid for leader in leaders for pid in sessions.get(os.getsid(leader), [])]


def children(pid: int) -> list[int]:
    """Return the pids of the children of all threads of a process; none if it has gone."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found
