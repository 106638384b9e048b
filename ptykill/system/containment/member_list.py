"""Describes the members of a session, as ps(1) does.

Which process it is, and its state, are read in the loop: the kernel answers at once. A command line
is in the memory of the process, so reading it can take for ever (`ProcFolder.command`). So can a
look-up of a user's name.
Both are done in a thread, and waited for no longer than a bound.
"""

from __future__ import annotations

import itertools
import math
import os
import pwd
import time
from collections.abc import Generator, Sequence
from contextlib import closing, suppress

import trio

from ptykill.rules.member import Member
from ptykill.system.kernel.proc_folder import ProcFolder
from ptykill.system.kernel.ticks import TICKS

__all__ = ["MemberList"]

_AT_ONCE = 128
"""So many members are held at once: each takes a descriptor until its command line is read."""
_READ_BOUND = 0.5
"""Seconds that all command lines and names of users may take."""
_PAGE: int = os.sysconf("SC_PAGESIZE")


class MemberList:
    """Describes the members of one session, as often as it is asked."""

    def __init__(self) -> None:
        self._reading: _Reading | None = None
        """The last one. A thread may still be in it, and there is never a second one."""
        self._one_by_one = trio.Lock()

    async def describe(
        self, found: Generator[ProcFolder], leader: int, foreground: int | None
    ) -> tuple[Member, ...]:
        """Describe these processes, the oldest first, and close their folders.

        ``leader`` is the leader's pid, ``foreground`` the terminal's foreground process group.
        Raises OSError if no descriptor is left.
        """
        await trio.lowlevel.checkpoint()
        boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        until = trio.current_time() + _READ_BOUND
        members: list[Member] = []
        with closing(found):
            while held := _next(found):
                reading = _Reading(held)
                await self._read(reading, until)
                members += [_member(each, reading, leader, foreground, boot) for each in held]
        members.sort(key=lambda each: (each.started_at or math.inf, each.pid))
        return tuple(members)

    async def _read(self, reading: _Reading, until: float) -> None:
        """Read command lines and names, unless the thread of an earlier reading is held up."""
        try:
            # RuntimeError: no thread can be started, since there are as many as there may be.
            with trio.move_on_at(until), suppress(RuntimeError):
                async with self._one_by_one:
                    if self._reading is None or self._reading.done:
                        self._reading = reading
                        await trio.to_thread.run_sync(
                            reading.run, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
                        )
        finally:
            reading.cancel()


class _Reading:
    """Command lines and users of some processes, which are read in a thread."""

    def __init__(self, folders: Sequence[ProcFolder]) -> None:
        self.uids: dict[int, int | None] = {each.pid: each.user() for each in folders}
        self.users: dict[int, str] = {}
        self.commands: dict[int, bytes] = {}
        self.done: bool = False
        self._folders = [folders]
        """One takes them out of the list, and closes them: the thread, or else the loop."""

    def run(self) -> None:
        """Read all, and close the folders."""
        try:
            folders = self._folders.pop()
        except IndexError:
            return
        try:
            for uid in set(self.uids.values()):
                if uid is not None:
                    with suppress(KeyError):
                        self.users[uid] = pwd.getpwuid(uid).pw_name
            for folder in folders:
                self.commands[folder.pid] = folder.command()
        finally:
            for folder in folders:
                folder.close()
            self.done = True

    def cancel(self) -> None:
        """Close the folders if no thread has begun to read."""
        with suppress(IndexError):
            for folder in self._folders.pop():
                folder.close()
            self.done = True


def _next(found: Generator[ProcFolder]) -> list[ProcFolder]:
    """Return the next processes, as many as may be held; close them if that fails."""
    held: list[ProcFolder] = []
    try:
        held.extend(itertools.islice(found, _AT_ONCE))
    except BaseException:
        for folder in held:
            folder.close()
        raise
    return held


def _member(
    process: ProcFolder, reading: _Reading, leader: int, foreground_group: int | None, boot: float
) -> Member:
    """Describe one process; ``boot`` is when the system was booted, in seconds since the epoch."""
    pid, fields = process.pid, process.fields
    parent = process.parent if process.parent >= 0 else None
    uid = reading.uids[pid]
    user = None if uid is None else reading.users.get(uid) or str(uid)
    foreground, escaped = process.group == foreground_group, process.session != leader
    # By position, since a list has many.
    if not fields:
        return Member(pid, parent, None, None, None, user, None, None, foreground, escaped)
    return Member(
        pid,
        parent,
        fields[0].decode(),
        round(boot + int(fields[19]) / TICKS, 2),
        _text(process.name, reading.commands.get(pid, b"")),
        user,
        (int(fields[11]) + int(fields[12])) / TICKS,
        int(fields[21]) * _PAGE,
        foreground,
        escaped,
    )


def _text(name: bytes, command: bytes) -> str:
    """Return a command line as text; the name in brackets if there is none, as ps(1) does."""
    words = command.rstrip(b"\0") or b"[%s]" % name
    return words.replace(b"\0", b" ").decode("utf-8", "replace")
