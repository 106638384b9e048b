"""A handle on one process that pid reuse can't turn into a handle on another one."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable
from typing import Protocol

from ptykill.system.kernel import syscalls
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.retry import again, close

__all__ = ["Pidfd", "Signallable", "deliver", "open_pidfd"]

_SELECT_LIMIT = 1024
"""FD_SETSIZE: Python's select(2) takes only lower descriptors."""
_NO_CONT = {
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGKILL,
    signal.SIGCONT,
}
"""SIGCONT does not follow these: they stop, need no help, or are SIGCONT."""


class Signallable(Protocol):
    """A process that can be sent a signal."""

    @property
    def pid(self) -> int:
        """Its number."""

    def send(self, number: int, /) -> bool:
        """Send a signal; False if the process is gone. Raises `PermissionError`."""


class Pidfd:
    """A process by its pidfd (Linux 5.3), which is readable when the process is dead.

    Dead means that its last thread has gone: a zombie whose main thread has exited while others
    run is alive, and a zombie that is not reaped is dead.
    """

    __slots__ = ("_poll", "fd", "pid")

    def __init__(self, pid: int, fd: int) -> None:
        self.pid: int = pid
        self.fd: int = fd
        self._poll: select.poll | None = None

    def send(self, number: int) -> bool:
        """Send a signal; False if the process is gone. Raises `PermissionError`."""
        if self.fd < 0:
            return False
        try:
            syscalls.pidfd_send_signal(self.fd, number)
        except ProcessLookupError:
            return False
        except OSError:
            return self._send_again(number)
        return True

    def _send_again(self, number: int) -> bool:
        """Send a signal that failed once more; by the pid if pidfd_send_signal(2) is refused.

        A sandbox may refuse pidfd_send_signal(2), by EPERM too, and allow kill(2).
        """
        try:
            syscalls.pidfd_send_signal(self.fd, number)
        except ProcessLookupError:
            return False
        except OSError:
            # Asked last: for the number to be another's, the process would have to die and be
            # reaped, and all other numbers be given out, between this and the signal.
            if not self._has_number():
                raise
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return False
        return True

    def _has_number(self) -> bool:
        """Return whether the kernel says that this process has our number for it (proc(5))."""
        try:
            # Of our own pid namespace (`proc_view`), so the number is the one that we would signal.
            # Bytes: a codec may have to be imported, which a host in a chroot(2) can't.
            with open(proc.open(f"self/fdinfo/{self.fd}"), "rb") as about:
                return self.pid > 0 and b"Pid:\t%d\n" % self.pid in about
        except OSError:
            return False

    def there(self) -> bool:
        """Return whether it has not been reaped, so that its number is its own."""
        try:
            return self.send(0)
        except PermissionError:
            return True

    def dead(self) -> bool:
        """Return whether it is dead now; if it has been closed, that is not asked any more."""
        if self.fd < 0:
            return True
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.fd, select.POLLIN)
        try:
            return bool(self._poll.poll(0))
        except OSError:
            if self.fd < _SELECT_LIMIT:
                # EINVAL: our limit of descriptors is below one (poll(2)), set by a session of our
                # own user, say. select(2) does not ask for it. ENOMEM: it needs none for so few.
                return bool(select.select([self.fd], [], [], 0)[0])
            return bool(self._poll.poll(0))  # See `again`.

    def close(self) -> None:
        """Close the descriptor. May be called again."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            close(fd)


def open_pidfd(pid: int) -> Pidfd | None:
    """Return a handle on the process that has this pid now; None if there is none.

    Check *after* this which process it is: the handle then refers to that process for ever.
    """
    try:
        return Pidfd(pid, reserve.use(lambda: again(lambda: syscalls.pidfd_open(pid))))
    except OSError as error:
        # ESRCH: gone. EINVAL, ENOENT: a thread, not a process (pidfd_open(2)).
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        raise


def deliver(number: int, send: Callable[[int], bool]) -> bool:
    """Send a signal, and SIGCONT after it, since a stopped process acts on no other (signal(7)).

    Returns False if there is no such process. Raises `PermissionError`.
    """
    reached = send(number)
    if reached and number not in _NO_CONT:
        send(signal.SIGCONT)
    return reached
