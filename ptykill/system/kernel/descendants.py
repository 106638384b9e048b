"""The descendants of a process, zombies too, each by its folder in /proc: to list, not to kill.

A kill walks by pidfds (`members.members`), and passes the dead over. Here each process costs a
folder and the files that are read of it, and no pidfd.
"""

from __future__ import annotations

from collections.abc import Iterator

from ptykill.system.kernel.proc_folder import ProcFolder, hidden_child, open_folder
from ptykill.system.kernel.proc_view import proc

__all__ = ["descendants"]

_LISTINGS = 4
"""The children of a process are listed so often at most, since new ones may come without end."""
_AT_ONCE = 16
"""So many children are opened before their parent is checked: each takes a descriptor."""


def descendants(root: ProcFolder) -> Iterator[ProcFolder]:
    """Yield each descendant of a process, parents before their children. The caller closes them.

    A process is yielded only if it is proved to be a descendant: its parent is one, and still had
    its pid after the process had named that as its parent's. ``root`` has to be open all along.

    An orphan may become the child of a process above whose children have been listed before. So the
    children of each are listed again when their own descendants have been gone through.

    Raises OSError if no descriptor is left.
    """
    seen = {root.pid}
    families = [_Family(root, root.children(), seen)]
    try:
        while families:
            child = families[-1].next()
            if child is None:
                families.pop().close()
                continue
            try:
                listed = child.children() if child.fd >= 0 else []
                if listed:
                    families.append(_Family(child.copy(), listed, seen))
            except BaseException:
                child.close()
                raise
            yield child
    finally:
        for family in families:
            family.close()


class _Family:
    """The children of one process, and when they were looked at."""

    def __init__(self, parent: ProcFolder, listed: list[int], seen: set[int]) -> None:
        self._parent = parent
        self._seen = seen
        self._listings = 1
        self._listed = [pid for pid in listed if pid not in seen]
        self._proved: list[ProcFolder] = []

    def next(self) -> ProcFolder | None:
        """Return a child that was not seen; None if there is none."""
        while not self._proved:
            if not self._listed:
                if self._listings == _LISTINGS:
                    return None
                self._listings += 1
                seen = self._seen
                self._listed = [pid for pid in self._parent.children() if pid not in seen]
                if not self._listed:
                    return None
            self._prove(self._listed[:_AT_ONCE])
            del self._listed[:_AT_ONCE]
        return self._proved.pop()

    def _prove(self, pids: list[int]) -> None:
        """Open these children, and keep those that are this parent's."""
        opened: list[ProcFolder] = []
        try:
            for pid in pids:
                child = self._open(pid)
                if child is not None:
                    opened.append(child)
        finally:
            # A parent that is reaped may have had its pid reused: then its children are another's.
            there = self._parent.there()
            for child in reversed(opened):
                if there and child.parent == self._parent.pid:
                    self._seen.add(child.pid)
                    self._proved.append(child)
                else:
                    child.close()

    def _open(self, pid: int) -> ProcFolder | None:
        child = open_folder(pid)
        if child is None:
            return hidden_child(pid, self._parent) if proc.hides else None
        try:
            if child.read():
                return child
        except PermissionError:
            child.close()
            return hidden_child(pid, self._parent)
        except BaseException:
            child.close()
            raise
        child.close()
        # hidepid=2 says that its files are not there, though the folder can be opened.
        return hidden_child(pid, self._parent) if proc.hides else None

    def close(self) -> None:
        """Close the parent's folder, and those of children that nobody has asked for."""
        self._parent.close()
        for child in self._proved:
            child.close()
        self._proved.clear()
