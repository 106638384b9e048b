"""Finds all living descendants of a process, each by its pidfd: to signal them.

A walk takes time: it misses processes that start behind its back. It serves to signal, never to
prove that no process is left.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Container, Iterator, Sequence

from ptykill.system.kernel import syscalls
from ptykill.system.kernel.pidfd import Pidfd, open_pidfd
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import children, parent_of
from ptykill.system.kernel.retry import close

__all__ = ["members"]

_AT_ONCE = 64
"""So many processes are held at once, apart from those whose children are being gone through."""
_SPARE = 2
"""Descriptors that are left free: for a child, and to read a list. If there are fewer, handles that
are held only to save time are closed, before those are used that are kept back for a kill."""
_GONE = (errno.ESRCH, errno.EINVAL, errno.ENOENT)
"""As in `open_pidfd`."""


def members(root: Pidfd) -> Iterator[Pidfd]:
    """Yield a handle on each living descendant of a process, parents before their children.

    A handle is good until the next is asked for; the children of its process were listed before it
    was yielded, so that its death does not hide them. ``root`` has to be held all along.
    """
    walk = _Walk(root)
    try:
        walk.add(root)
        while walk.families:
            process = walk.families[-1].next()
            if process is None:
                walk.end_family()
                continue
            held = walk.add(process)
            yield process
            if not held:
                process.close()
    finally:
        walk.close()


class _Walk:
    """How far a walk has come."""

    def __init__(self, root: Pidfd) -> None:
        self._root = root
        self.seen: set[int] = {root.pid}
        self.above: dict[int, Pidfd] = {}
        """Those whose children are being gone through. Each is held: what a process says of its
        parent is believed only while that parent is known to have its number."""
        self.families: list[_Family] = []
        self.held: int = 0
        """How many handles the families hold, of processes that were not yielded."""

    def add(self, process: Pidfd) -> bool:
        """List the children of a process, to go through them next; return whether it has any."""
        listed = children(process.pid)
        if not listed:
            return False
        self.above[process.pid] = process
        self.families.append(_Family(self, process, listed))
        return True

    def end_family(self) -> None:
        """Go back to the family above."""
        parent = self.families.pop().parent
        if parent is not self._root:
            self.above.pop(parent.pid).close()

    def release(self) -> None:
        """Close all handles on processes that were not yielded: they will be opened again."""
        if self.held:
            for family in self.families:
                family.release()

    def close(self) -> None:
        """Close all handles."""
        self.release()
        for process in self.above.values():
            if process is not self._root:
                process.close()


class _Family:
    """Yields the children of one process; lists them again at the end of each list.

    While the list was being read, or later, an orphan may have become a child of this process. The
    children are listed a few times only, since new ones may come without end.
    """

    _LISTINGS = 4

    def __init__(self, walk: _Walk, parent: Pidfd, listed: list[int]) -> None:
        self.parent = parent
        self._walk = walk
        self._listings = 1
        self._left = listed[::-1]
        """The pids that were not tried, the last one first."""
        self._proved: list[Pidfd] = []
        """Handles on children of this process, the last one first."""

    def next(self) -> Pidfd | None:
        """Return a child that was not seen, and close it later; None if there is none."""
        while not self._proved:
            if not self._left:
                if self._listings == self._LISTINGS:
                    return None
                self._listings += 1
                seen = self._walk.seen
                listed = [pid for pid in children(self.parent.pid) if pid not in seen]
                if not listed:
                    return None
                self._left = listed[::-1]
            self._prove(self._open_some())
        self._walk.held -= 1
        return self._proved.pop()

    def _open_some(self) -> list[Pidfd]:
        """Open handles on children that are left, as many as may be held."""
        walk = self._walk
        opened: list[Pidfd] = []
        if walk.held and not _are_free(_SPARE):
            walk.release()
        # Without such lists, one is a look at all processes, and proves no more than one of them.
        most = max(1, _AT_ONCE - walk.held) if proc.tells_children else 1
        while self._left and len(opened) < most:
            pid = self._left.pop()
            if pid in walk.seen:
                continue
            try:
                process: Pidfd | None = Pidfd(pid, syscalls.pidfd_open(pid))
            except OSError as error:
                if error.errno not in _GONE and opened:
                    self._left.append(pid)
                    break
                process = None if error.errno in _GONE else _open(pid)
            walk.seen.add(pid)
            if process is not None:
                opened.append(process)
        if len(opened) > 1 and not _are_free(_SPARE):
            walk.release()
            self._give_back(opened, min(_SPARE, len(opened) - 1))
        return opened

    def _prove(self, opened: list[Pidfd]) -> None:
        """Keep those that are children of this process, or of another above, and live."""
        # Opened first, checked then: the pids may have been reused before they were opened. One
        # list proves all: what is on it is a child of this process, if this one is there, and is
        # the process that was opened, if that has not been reaped since.
        listed: Container[int] = ()
        if len(opened) > 1:
            listed = {*children(self.parent.pid)}
            if not self.parent.there():
                listed = ()
        others = {each for each in opened if each.pid not in listed and not self._is_ours(each)}
        dead = _dead(opened)
        while opened:
            process = opened.pop()
            if process in others or process.fd in dead:
                process.close()
            else:
                self._proved.append(process)
        self._walk.held += len(self._proved)

    def _is_ours(self, process: Pidfd) -> bool:
        """Return whether a process says that its parent is one of those above, which is there.

        An orphan may be another's child than it was when it was listed; a list may lack children
        while some of them end (proc(5)).
        """
        one = self._walk.above.get(parent_of(process.pid, self.parent.pid))
        return one is not None and one.there()

    def release(self) -> None:
        """Close the handles on children that were not yielded; they have to be opened again."""
        self._walk.held -= len(self._proved)
        self._give_back(self._proved[::-1], len(self._proved))
        self._proved.clear()

    def _give_back(self, opened: list[Pidfd], count: int) -> None:
        """Close the last of these handles; their processes come first the next time."""
        for _ in range(count):
            process = opened.pop()
            self._left.append(process.pid)
            self._walk.seen.discard(process.pid)
            process.close()


def _open(pid: int) -> Pidfd | None:
    try:
        return open_pidfd(pid)
    except OSError:  # EMFILE, so deep down: those above are signalled first, and it comes up.
        return None


def _are_free(count: int) -> bool:
    """Return whether so many descriptors are free."""
    opened: list[int] = []
    try:
        opened.extend(os.dup(proc.folder) for _ in range(count))
    except OSError:
        return False
    finally:
        for fd in opened:
            close(fd)
    return True


def _dead(processes: Sequence[Pidfd]) -> set[int]:
    """Return the descriptors of those that are dead."""
    poll = select.poll()
    for process in processes:
        poll.register(process.fd, select.POLLIN)
    try:
        return {fd for fd, _ in poll.poll(0)}
    except OSError:  # EINVAL: see `Pidfd.dead`.
        return {process.fd for process in processes if process.dead()}
