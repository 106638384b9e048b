"""The system calls of ``floor.c`` in Python, without a loop: the rest is the interpreter's cost."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from benchmarks.systems import Program, Session, Span, System, read_terminal
from benchmarks.systems.posix_spawn import spawn as spawn_bare

__all__ = ["systems"]


def systems() -> list[System]:
    """Return the one system."""
    return [System("Python, leader only", lambda: nullcontext(spawn), end_all, blocking=True)]


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
