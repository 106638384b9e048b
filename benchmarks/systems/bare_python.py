"""The system calls of ``floor.c`` in Python, without a loop: the rest is the interpreter's cost.

With the argument "session": the system calls by which ptykill's session tier ends a session that
consists of its leader, and proves that; but for two of each session, which look whether the leader
is dead. The rest of ptykill's time is its own code, and trio's.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from benchmarks.systems import Program, Session, Span, System, read_terminal
from benchmarks.systems.posix_spawn import spawn as spawn_bare

__all__ = ["systems"]

VERIFIED = "Python, session of one verified"


def systems(whole: str = "") -> list[System]:
    """Return the system that ends the leaders only, or that of the sessions of one process."""
    name, end = (VERIFIED, end_verified) if whole else ("Python, leader only", end_all)
    return [System(name, lambda: nullcontext(spawn), end, blocking=True)]


async def spawn(program: Program) -> Session:
    """Spawn by posix_spawn(3), and hold a pidfd."""
    bare = await spawn_bare(program)
    return BareLeader(bare.pid, bare.master, os.pidfd_open(bare.pid))


async def end_all(sessions: Sequence[Session], grace: float) -> Span:
    """Signal all, and wait for them in the order in which they die."""
    leaders = [each for each in sessions if isinstance(each, BareLeader)]
    start = time.perf_counter_ns()
    signal_each(leaders, signal.SIGHUP, signal.SIGCONT)
    left = reap(leaders, grace)
    signal_each(left, signal.SIGKILL)
    reap(left, None)
    stop = time.perf_counter_ns()
    for each in leaders:
        os.close(each.pidfd)
        os.close(each.master)
    return Span(start, stop)


async def end_verified(sessions: Sequence[Session], grace: float) -> Span:
    """Do as `end_all`, and verify that each leader was alone; raise RuntimeError if it was not."""
    leaders = [each for each in sessions if isinstance(each, BareLeader)]
    pids, probe = os.open("/proc/sys/kernel/ns_last_pid", os.O_RDONLY), os.open("/", os.O_RDONLY)
    start = time.perf_counter_ns()
    for each in leaders:
        os.pread(pids, 16, 0)
        if children(each.pid):
            msg = f"{each.pid} has children"
            raise RuntimeError(msg)
        signal_each([each], signal.SIGHUP, signal.SIGCONT)
        for action in termios.TCOOFF, termios.TCOON:
            termios.tcflow(each.master, action)
    left = reap(leaders, grace)
    for each in leaders:
        os.pread(pids, 16, 0)
        with suppress(ProcessLookupError):
            fcntl.fcntl(probe, fcntl.F_SETOWN, each.pid)
            left.append(each)
    stop = time.perf_counter_ns()
    for fd in (pids, probe, *(fd for each in leaders for fd in (each.pidfd, each.master))):
        os.close(fd)
    if left:
        msg = f"not over: {[each.pid for each in left]}"
        raise RuntimeError(msg)
    return Span(start, stop)


def children(pid: int) -> bytes:
    """Return the pids of a process's children, if it has one thread."""
    folder = f"/proc/{pid}/task"
    os.stat(folder)  # noqa: PTH116 - the system call alone is measured, as for all others
    fd = os.open(f"{folder}/{pid}/children", os.O_RDONLY)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class BareLeader:
    """A leader's pid and pidfd, and its terminal's master."""

    pid: int
    master: int
    pidfd: int

    async def read(self, within: float) -> bytes:
        """Read the master."""
        return read_terminal(self.master, within)

    async def end(self, grace: float) -> Span:
        """End this one."""
        return await end_all([self], grace)


def signal_each(leaders: Sequence[BareLeader], *numbers: int) -> None:
    """Send these signals to each."""
    for each in leaders:
        for number in numbers:
            signal.pidfd_send_signal(each.pidfd, number)


def reap(leaders: Sequence[BareLeader], grace: float | None) -> list[BareLeader]:
    """Reap the leaders that die within so many seconds (None: all); return the others."""
    left = {each.pidfd: each for each in leaders}
    poll = select.epoll(max(len(left), 1))
    for fd in left:
        poll.register(fd, select.EPOLLIN)
    until = None if grace is None else time.monotonic() + grace
    while left:
        dead = poll.poll(None if until is None else max(0.0, until - time.monotonic()))
        if not dead:
            break
        for fd, _ in dead:
            os.waitid(os.P_PIDFD, fd, os.WEXITED)
            poll.unregister(fd)
            del left[fd]
    poll.close()
    return list(left.values())
