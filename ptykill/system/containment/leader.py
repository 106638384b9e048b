"""The session leader: a child of ours, whose death is seen before it is reaped.

As long as the leader is not reaped, its pid can't be given to another process, and with it the
numbers of its process group and of the session (credentials(7)). So: sweep first, reap last. The
host's SIGCHLD is neither used nor needed; a host that ignores it, or reaps all children,
takes the status away, which is noticed (`pinned`).
"""

from __future__ import annotations

import errno
import functools
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import trio

from ptykill.errors import SpawnError
from ptykill.rules.usage import Usage
from ptykill.rules.verdict import ExitStatus
from ptykill.system.containment.process import PidfdProcess, Process, open_process
from ptykill.system.containment.process_times import usage_of_child
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.retry import again

__all__ = ["Leader"]

_PIDFD_SIGNAL_PROCESS_GROUP = 4
"""pidfd_send_signal(2), Linux 6.9: the signal goes to the process group of that number."""


class Leader:
    """A child that leads a session, alive or a zombie; or gone, if other code reaped it."""

    def __init__(self, pid: int) -> None:
        """Take a child just spawned. Raises `SpawnError` if the system has no handle on it."""
        self.pid: int = pid
        self.pinned: bool = True
        """The leader is unreaped, so its numbers are its own."""
        self.reaped_by_others: bool = False
        """Other code of the host, or the kernel where SIGCHLD is ignored, reaped it."""
        self._status: ExitStatus | None = None
        self._usage = Usage()
        self._process: Process | None
        try:
            self._process = open_process(pid, spare=False)
        except OSError as error:
            with suppress(ProcessLookupError, ChildProcessError):  # The host ignores SIGCHLD.
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            number = error.errno or errno.EIO
            raise SpawnError(number, os.strerror(number), "exec", f"pid {pid}") from error
        # Where the host ignores SIGCHLD the pid may be a stranger's by now.
        self._wait_id(os.WNOWAIT | os.WNOHANG)
        if self._process is None:
            self.pinned, self.reaped_by_others = False, True
        elif not self.pinned:
            self._process.close()
            self._process = None

    @classmethod
    def of_another(cls, process: PidfdProcess) -> Leader:
        """Return a leader that is the child of another process, which reaps it."""
        self = cls.__new__(cls)
        self.pid = process.pid
        self.pinned, self.reaped_by_others = False, True
        self._status = None
        self._usage = Usage()
        self._process = PidfdProcess(
            process.pid, reserve.use(lambda: again(lambda: os.dup(process.fd)))
        )
        return self

    def send(self, number: int) -> bool:
        """Send a signal only to the leader; return False if it is gone."""
        return self._process is not None and self._process.send(number)

    def send_group(self, number: int) -> bool:
        """Send a signal to the leader's process group; return False if that is empty."""
        if isinstance(self._process, PidfdProcess) and _knows_groups():
            try:
                syscalls.pidfd_send_signal(
                    self._process.fd, number, None, _PIDFD_SIGNAL_PROCESS_GROUP
                )
            except ProcessLookupError:
                return False
            return True
        if not self.pinned:
            return False  # The number may be another group's.
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def dead(self) -> bool:
        """Return whether it has exited."""
        return self._process is None or self._process.dead()

    def wait_exited(self) -> Coroutine[Any, Any, None]:
        """Wait until it has exited, without reaping it."""
        # The coroutine is returned, not awaited: a frame less to go through when the leader dies.
        if isinstance(self._process, PidfdProcess):
            return self._process.wait_dead()
        return self._wait_in_a_thread()

    async def _wait_in_a_thread(self) -> None:
        if self._process is not None:
            await trio.to_thread.run_sync(
                self._wait_id, os.WNOWAIT, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )

    def status(self) -> ExitStatus | None:
        """Return its status if it has exited, without reaping it; None if unknown."""
        return self._wait_id(os.WNOWAIT | os.WNOHANG) if self.pinned else self._status

    def unreaped(self) -> bool:
        """Return whether it is not reaped, so that its numbers are its own."""
        self._wait_id(os.WNOWAIT | os.WNOHANG)
        return self.pinned

    def reapable(self) -> bool:
        """Return whether `reap` would succeed, or is no longer needed.

        A zombie that a stranger traces is not shown to its parent before the tracer lets it go
        (ptrace(2)): never wait for it without a deadline.
        """
        return self._wait_id(os.WNOWAIT | os.WNOHANG) is not None or not self.pinned

    def reap(self) -> ExitStatus | None:
        """Reap it, if that is not done and can be, and return its status; None if unknown.

        Afterwards its numbers are its members', as long as there are any; then they may be reused.
        """
        if self.pinned and (status := self.status()) is not None:
            # By its pid: waitid(2) gives no usage to Python. The pid is still its own, even if the
            # host reaps it just now: to come by it again, the kernel has to go through all others.
            self._status = status
            try:
                found, _, used = os.wait4(self.pid, os.WNOHANG)
            except ChildProcessError:
                self.pinned, self.reaped_by_others = False, True
                return status
            if found:
                self._usage = Usage(user_seconds=used.ru_utime, system_seconds=used.ru_stime)
                self.pinned = False
        return self._status

    def usage(self) -> Usage:
        """Return what it has used, with the processes that it has waited for, as far as known."""
        return usage_of_child(self.pid) if self.pinned else self._usage

    def close(self) -> None:
        """Close the handle."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _wait_id(self, how: int) -> ExitStatus | None:
        """Call waitid(2) on the child, by pidfd where there is one (Linux 5.4)."""
        if not self.pinned:
            return None
        by_pidfd = isinstance(self._process, PidfdProcess)
        try:
            if by_pidfd:
                assert isinstance(self._process, PidfdProcess)
                fd = self._process.fd
                found = again(lambda: os.waitid(syscalls.P_PIDFD, fd, os.WEXITED | how))
            else:
                found = again(lambda: os.waitid(os.P_PID, self.pid, os.WEXITED | how))
        except ChildProcessError:
            self.pinned, self.reaped_by_others = False, True
            return None
        if found is None:
            return None
        if found.si_code == os.CLD_EXITED:
            return ExitStatus(code=found.si_status)
        return ExitStatus(signal=found.si_status, core_dumped=found.si_code == os.CLD_DUMPED)


@functools.cache
def _knows_groups() -> bool:
    """Return whether this kernel can signal a process group by pidfd."""
    fd = syscalls.pidfd_open(os.getpid())
    try:
        syscalls.pidfd_send_signal(fd, 0, None, _PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
