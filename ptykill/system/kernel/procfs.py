"""Reads /proc: a process's fields, its parent, its children, and all its descendants.

A walk takes time: it misses processes that start behind its back. It serves to signal, never to
prove that no process is left.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from contextlib import suppress

from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.pidfd import Pidfd, open_pidfd
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.retry import again, close

__all__ = [
    "children",
    "descends",
    "foreground_of",
    "group_of",
    "in_other_pid_namespace",
    "is_child",
    "members",
    "parent",
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


def members(root: Pidfd) -> Iterator[Pidfd]:
    """Yield a handle on each living descendant of a process, parents before their children.

    A handle is good until the next is asked for; the children of its process were listed before it
    was yielded, so that its death does not hide them. ``root`` has to be held all along.
    """
    # Those whose children are being gone through. Each is held: what a process says of its parent
    # is believed only while that parent is known to have its number.
    above = {root.pid: root}
    rest = [_Family(root.pid)]
    seen = {root.pid}
    try:
        while rest:
            pid = rest[-1].next(seen)
            if pid is None:
                gone = rest.pop().pid
                if gone != root.pid:
                    above.pop(gone).close()
                continue
            seen.add(pid)
            process = _open(pid)
            if process is None:
                continue
            # Opened first, checked then: the pid may have been reused before it was opened.
            one = above.get(_parent_of(pid, rest[-1].pid))
            if one is None or not one.there() or process.dead():
                process.close()
                continue
            above[pid] = process
            rest.append(_Family(pid))
            yield process
    finally:
        for process in above.values():
            if process is not root:
                process.close()


class _Family:
    """Yields the children of one process; lists them again at the end of each list.

    While the list was being read, or later, an orphan may have become a child of this process. The
    children are listed a few times only, since new ones may come without end.
    """

    _LISTINGS = 4

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._listings = 0
        self._left = self._list()

    def next(self, seen: set[int]) -> int | None:
        """Return one that was not seen; None if there is none."""
        while True:
            for pid in self._left:
                if pid not in seen:
                    return pid
            if not self._any or self._listings == self._LISTINGS:
                return None
            self._left = self._list(seen)

    def _list(self, seen: Container[int] = ()) -> Iterator[int]:
        self._listings += 1
        found = [pid for pid in children(self.pid) if pid not in seen]
        self._any = bool(found)
        return iter(found)


def _open(pid: int) -> Pidfd | None:
    try:
        return open_pidfd(pid)
    except OSError:  # EMFILE, so deep down: those above are signalled first, and it comes up.
        return None


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
    return _parent_of(pid, of) == of


def _parent_of(pid: int, supposed: int) -> int:
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
