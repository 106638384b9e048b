"""Reads /proc: a process's fields, its parent, and its children."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.retry import again, close

__all__ = [
    "children",
    "descends",
    "foreground_of",
    "group_of",
    "in_other_pid_namespace",
    "is_child",
    "parent",
    "parent_of",
    "read_file",
    "read_proc",
    "session_of",
    "stat",
]


_DEEPEST = 100_000
"""More generations than there are: parents may change while they are gone through."""
_ONE_THREAD = 3
"""Links of a ``task`` folder: two, and one for each thread."""
_FULL = 4_000
"""A read that gives fewer bytes was the last. The kernel gives whole records, a page at the most
(seq_file): of numbers, at most 11 bytes each, so a page that is not the last has more than this."""


def children(pid: int) -> list[int]:
    """Return the pids of a process's children, of all its threads (proc(5))."""
    if not proc.tells_children:
        return [each for each in pids() if parent(each) == pid]
    folder = f"{pid}/task"
    try:
        if proc.stat(folder).st_nlink == _ONE_THREAD:
            return _numbers(f"{folder}/{pid}/children")
        threads = reserve.use(lambda: _listed(folder))
    except OSError:
        return []
    return [child for thread in threads for child in _numbers(f"{folder}/{thread}/children")]


def _numbers(path: str) -> list[int]:
    return [int(each) for each in read_proc(path).split()]


def parent(pid: int) -> int | None:
    """Return the pid of a process's parent; None if there is no such process."""
    fields = stat(pid)
    return int(fields[1]) if fields else None


def descends(pid: int, *roots: int) -> bool:
    """Return whether a process is one of ``roots``, or descends from one now."""
    for _ in range(_DEEPEST):
        if pid in roots:
            return True
        pid = parent(pid) or 0
        if pid == 0:
            break
    return False


def in_other_pid_namespace(pid: int) -> bool:
    """Return whether a process is in a pid namespace below that of /proc (proc(5), NSpid)."""
    for line in read_proc(f"{pid}/status").splitlines():
        if line.startswith(b"NSpid:"):
            return len(line.split()) > 2  # The word, and a number for each.
    return False


def is_child(pid: int, of: int) -> bool:
    """Return whether a process is a child of another, which is there."""
    return parent_of(pid, of) == of


def parent_of(pid: int, supposed: int) -> int:
    """Return the pid of a process's parent; 0 if it is gone.

    A process's own files may be hidden (proc(5), hidepid: it has another user, or is not dumpable),
    but the list of its parent's children still has it.
    """
    found = parent(pid)
    if found is None and pid in children(supposed):
        return supposed
    return found or 0


def foreground_of(pid: int) -> int:
    """Return the foreground process group of a process's terminal; -1 if it has none."""
    fields = stat(pid)
    return int(fields[5]) if fields else -1


def session_of(pid: int) -> int:
    """Return the session of a process; -1 if there is no such process."""
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def group_of(pid: int) -> int:
    """Return the process group of a process; -1 if there is no such process."""
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def pids() -> Iterator[int]:
    """Return the pids of all processes that /proc shows."""
    try:
        names = reserve.use(lambda: _listed("."))
    except FileNotFoundError:  # /proc has gone since it was looked at.
        return iter(())
    return (int(name) for name in names if name.isdigit())


def _listed(folder: str) -> list[str]:
    return again(lambda: proc.list(folder))


def stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third on; none if there is no such process."""
    # The second, the name in parentheses, may itself hold spaces and parentheses (proc(5)).
    return read_proc(f"{pid}/stat").rpartition(b")")[2].split()


def read_proc(path: str, full: int = _FULL) -> bytes:
    """Return what a file of /proc says, by its path below that; as `read_file`."""
    return read_file(path, full, proc.folder)


def read_file(path: str, full: int = _FULL, folder: int | None = None) -> bytes:
    """Return what a file of the kernel's says, as far as it can be read; b"" if it can't.

    ``full`` is 1 for a file whose records are long: a page ends early where the next would not fit.
    """
    try:
        return _read(path, full, folder)
    except (FileNotFoundError, ProcessLookupError):  # There is no such process.
        return b""
    except OSError:
        with suppress(OSError):  # It was no lasting failure: see `again`.
            return _read(path, full, folder)
    return b""


def _read(path: str, full: int, folder: int | None) -> bytes:
    data = b""
    fd = reserve.open(path, folder)
    try:
        while more := os.read(fd, 16_384):
            data += more
            if len(more) < full:
                break
    except OSError:
        if not data:
            raise
    finally:
        close(fd)
    return data
