"""The Linux system calls that Python lacks.

Python has those on pidfds, and memfd_create(2), unless it was built with headers or a C library
that do not know them, as portable builds may have been.
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
    "anonymous_file",
    "become_subreaper",
    "child_events",
    "detached_procfs",
    "die_with_parent",
    "file_system",
    "inherits_orphans",
    "pidfd_open",
    "pidfd_send_signal",
    "set_dumpable",
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
    """Make every orphan among this process's descendants its child (prctl(2), Linux 3.4)."""
    _checked(_library.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def inherits_orphans() -> bool:
    """Return whether orphans may become children of this process: it is a subreaper, or pid 1.

    The first process of a pid namespace gets the orphans that no subreaper gets.
    """
    answer = ctypes.c_int(0)
    _checked(_library.prctl(_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0))
    return bool(answer.value) or os.getpid() == 1


def set_dumpable(allowed: bool) -> None:  # noqa: FBT001 - a switch
    """Say whether other processes of this user may trace this one (prctl(2), PR_SET_DUMPABLE).

    If not, they can neither trace it, nor read its memory, nor take its descriptors
    (pidfd_getfd(2)); only root can. The files in /proc/PID then belong to root, though most can
    be read by all. fork(2) inherits the setting, execve(2) resets it.
    """
    _checked(_library.prctl(_SET_DUMPABLE, int(allowed), 0, 0, 0))


def die_with_parent(number: int) -> None:
    """Get a signal when the parent dies (prctl(2), PR_SET_PDEATHSIG).

    A change of user or group resets it, and so does the exec of a set-user-ID program. It does not
    notice a parent that has died before: ask for the parent afterwards.
    """
    _checked(_library.prctl(_SET_PDEATHSIG, number, 0, 0, 0))


def set_name(name: bytes) -> None:
    """Set the name that ps(1) and top(1) show, of at most 15 bytes."""
    _checked(_library.prctl(_SET_NAME, name, 0, 0, 0))


def child_events() -> int:
    """Return a descriptor that is readable when a child has died (signalfd(2)).

    SIGCHLD is blocked from then on, and has its default disposition: were it ignored, the kernel
    would reap the children, and their statuses would be lost (wait(2)).
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    mask = ctypes.create_string_buffer(_SIGNAL_SET)
    _library.sigemptyset(mask)
    _library.sigaddset(mask, signal.SIGCHLD)
    return _checked(_library.signalfd(-1, mask, _CLOEXEC_NONBLOCK))


def anonymous_file() -> int:
    """Return the descriptor of a new file without a name, in memory if possible. Raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("ptykill")
    return os.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o700)  # noqa: S108 - it has no name there


def file_system(fd: int) -> int:
    """Return the type of the file system that a file is on (statfs(2), f_type)."""
    told = ctypes.create_string_buffer(512)
    _checked(_library.fstatfs(fd, told))
    # Of four bytes, or of eight.
    short, long = (int.from_bytes(told.raw[:size], sys.byteorder) for size in (4, 8))
    return short or long


def detached_procfs() -> int:
    """Return a new procfs of this pid namespace that is mounted nowhere, as a descriptor.

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
