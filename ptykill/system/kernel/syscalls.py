"""The system calls that Python lacks, for Linux.

Those on pidfds, and memfd_create(2), it lacks only if it was built with headers, or a C library,
that do not know them: one that is to run everywhere may have been.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Callable

__all__ = [
    "P_PIDFD",
    "be_opened_up",
    "become_subreaper",
    "child_events",
    "detached_procfs",
    "die_with_parent",
    "file_system",
    "inherits_orphans",
    "nameless_file",
    "pidfd_open",
    "pidfd_send_signal",
    "set_name",
]

_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NAME = 1, 4, 15
_SET_CHILD_SUBREAPER, _GET_CHILD_SUBREAPER = 36, 37
"""<linux/prctl.h>"""
_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK  # As SFD_*: signalfd(2).
_SIGNAL_SET = 128
"""Bytes of the C library's sigset_t (glibc, musl)."""

_PIDFD_SEND_SIGNAL, _PIDFD_OPEN = 424, 434
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""On x86, ARM, POWER, RISC-V and s390: since Linux 5.1 numbers are given out for all at once."""
_FSOPEN_CLOEXEC, _FSCONFIG_CMD_CREATE, _FSMOUNT_CLOEXEC = 1, 6, 1
_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
"""<linux/mount.h>"""
P_PIDFD: int = getattr(os, "P_PIDFD", 3)
"""waitid(2): the child is named by a pidfd."""

_library = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Have every orphan among our descendants become our child (prctl(2), Linux 3.4)."""
    _checked(_library.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def inherits_orphans() -> bool:
    """Return whether an orphan among our descendants may become our child: as above, or process 1.

    The first process of a pid namespace gets those that no subreaper gets.
    """
    answer = ctypes.c_int(0)
    _checked(_library.prctl(_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0))
    return bool(answer.value) or os.getpid() == 1


def be_opened_up(allowed: bool) -> None:  # noqa: FBT001 - a switch
    """Say whether other processes of our user may open this one up (ptrace(2), PR_SET_DUMPABLE).

    If not, they can neither trace it, nor read its memory, nor take its descriptors
    (pidfd_getfd(2)); only root can. What is in /proc/PID is then root's, though most of it can be
    read by all. It is handed on by fork(2), and ends with execve(2).
    """
    _checked(_library.prctl(_SET_DUMPABLE, int(allowed), 0, 0, 0))


def die_with_parent(number: int) -> None:
    """Have a signal sent to us when our parent dies (prctl(2), PR_SET_PDEATHSIG).

    It is forgotten by a change of user or group, and by the exec of a set-user-ID program. A parent
    that has died before this is not noticed: ask for it afterwards.
    """
    _checked(_library.prctl(_SET_PDEATHSIG, number, 0, 0, 0))


def set_name(name: bytes) -> None:
    """Take a name, of at most 15 bytes, by which ps(1) and top(1) show this process."""
    _checked(_library.prctl(_SET_NAME, name, 0, 0, 0))


def child_events() -> int:
    """Return a descriptor that is readable when a child has died (signalfd(2)).

    SIGCHLD is blocked from then on, and has its default disposition: one that ignores it would have
    the kernel reap our children, and their statuses would be lost (wait(2)).
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    mask = ctypes.create_string_buffer(_SIGNAL_SET)
    _library.sigemptyset(mask)
    _library.sigaddset(mask, signal.SIGCHLD)
    return _checked(_library.signalfd(-1, mask, _CLOEXEC_NONBLOCK))


def nameless_file() -> int:
    """Return the descriptor of a new file, in memory if that can be had. Raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("ptykill")
    return os.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o700)  # noqa: S108 - it has no name there


def file_system(fd: int) -> int:
    """Return the number of the kind of file system that a file is on (statfs(2), f_type)."""
    told = ctypes.create_string_buffer(512)
    _checked(_library.fstatfs(fd, told))
    # Of four bytes, or of eight.
    short, long = (int.from_bytes(told.raw[:size], sys.byteorder) for size in (4, 8))
    return short or long


def detached_procfs() -> int:
    """Return the folder of a new procfs of our pid namespace, which is mounted nowhere.

    fsopen(2), fsmount(2): Linux 5.2. Needs CAP_SYS_ADMIN over the pid and mount namespaces. Raises
    OSError.
    """
    context = _called(_FSOPEN, b"proc", _FSOPEN_CLOEXEC)
    try:
        _called(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _called(_FSMOUNT, context, _FSMOUNT_CLOEXEC, _NOSUID_NODEV_NOEXEC)
    finally:
        os.close(context)


def _pidfd_open(pid: int) -> int:
    return _called(_PIDFD_OPEN, pid, 0)


def _pidfd_send_signal(pidfd: int, number: int, info: None = None, flags: int = 0) -> None:
    _called(_PIDFD_SEND_SIGNAL, pidfd, number, info, flags)


pidfd_open: Callable[[int], int] = getattr(os, "pidfd_open", _pidfd_open)
"""pidfd_open(2), Linux 5.3. Raises OSError; with ENOSYS if the system has none."""
pidfd_send_signal: Callable[..., None] = getattr(signal, "pidfd_send_signal", _pidfd_send_signal)
"""pidfd_send_signal(2), Linux 5.1. Raises OSError."""


def _called(number: int, *arguments: int | bytes | None) -> int:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    given = [
        ctypes.c_char_p(each) if isinstance(each, bytes) else ctypes.c_long(each or 0)
        for each in (number, *arguments)
    ]
    return _checked(_library.syscall(*given))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
