"""A handle on one process that can be waited for; on other systems than Linux too."""

from __future__ import annotations

import errno
import functools
import os
import signal
from typing import Protocol

import psutil
import trio

from ptykill.rules.protocols import Signalled
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.pidfd import Pidfd, Signallable, deliver
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.retry import again
from ptykill.system.readiness import readable

__all__ = ["NumberedProcess", "PidfdProcess", "Process", "open_process", "signal_process"]

_POLL_FIRST, _POLL_LONGEST = 0.002, 0.05


class Process(Signallable, Protocol):
    """A process, and whether it is dead (see `Pidfd`)."""

    def dead(self) -> bool:
        """Return whether it is dead now."""

    async def wait_dead(self) -> None:
        """Wait until it is dead."""

    def close(self) -> None:
        """Close the handle."""


class PidfdProcess(Pidfd):
    """By pidfd."""

    __slots__ = ()

    async def wait_dead(self) -> None:
        """Wait until it is dead: an event, no polling, if there is any way to have it."""
        while not await readable(self.fd):
            if self.dead():
                return


class NumberedProcess:
    """By pid and start time, where there is no pidfd to be had (another system, EMFILE).

    The start time is compared before every signal (psutil does), which leaves a race of some
    microseconds.
    """

    __slots__ = ("_process", "pid")

    def __init__(self, pid: int, process: psutil.Process) -> None:
        self.pid: int = pid
        self._process = process

    def send(self, number: int) -> bool:
        """Send a signal; return False if the process is gone."""
        try:
            self._process.send_signal(number)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied as error:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM)) from error
        return True

    def dead(self) -> bool:
        """Return whether it is dead now."""
        try:
            if not self._process.is_running():
                return True
            status = self._process.status()
            return status == psutil.STATUS_ZOMBIE and self._process.num_threads() <= 1
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False

    async def wait_dead(self) -> None:
        """Wait until it is dead, by looking again and again: this is the only way left."""
        pause = _POLL_FIRST
        while not self.dead():
            await trio.sleep(pause)
            pause = min(pause * 2, _POLL_LONGEST)
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close nothing: no descriptor is held."""


def open_process(pid: int, *, spare: bool = True) -> Process | None:
    """Return a handle on the process that has this pid now; None if there is none.

    ``spare`` allows the descriptors that are kept back for a kill to be used for it (`reserve`).
    Check *after* this which process it is: the handle then refers to that process for ever.
    """
    opening = functools.partial(syscalls.pidfd_open, pid)
    try:
        return PidfdProcess(pid, reserve.use(lambda: again(opening)) if spare else again(opening))
    except OSError as error:
        # ESRCH: gone. EINVAL, ENOENT: a thread, not a process (pidfd_open(2)).
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        # An old kernel, or a sandbox's. /proc has the start time, if it is of our own pids.
        if error.errno not in (errno.ENOSYS, errno.EPERM) or not proc.at_proc:
            raise
    try:
        return NumberedProcess(pid, psutil.Process(pid))
    except psutil.NoSuchProcess:
        return None


def signal_process(
    number: int, process: Signallable, signalled: Signalled, *, resume: bool = True
) -> None:
    """Send a signal, and SIGCONT after it; note in ``signalled`` who got it or refused it.

    Without ``resume``, SIGCONT does not follow.
    """
    try:
        if deliver(number, process.send) if resume else process.send(number):
            signalled.reached.add(process.pid)
    except PermissionError:
        signalled.refused.add(process.pid)
    except OSError:
        if number != signal.SIGKILL:
            raise
        # The other members are killed all the same, and this one in the next round.
