"""A process by its folder in /proc, held open: what is read from it is that process's for ever.

A held folder stands for the process, not for its pid (Linux proc_pid_lookup: the inode refers to
``struct pid``). Once the process is reaped, every read fails with ESRCH or ENOENT, whoever has the
pid then. So a pid that is reused can't mix two processes.

None of this takes the descriptors that are kept back for a kill (`fd_reserve`).
"""

from __future__ import annotations

import os

from ptykill.system.kernel import syscalls
from ptykill.system.kernel.pidfd import Pidfd
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.retry import close

__all__ = ["ProcFolder", "hidden_child", "open_folder"]

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_STAT = 1024
"""Bytes: some 50 numbers, most of them short (proc(5))."""
_FIELDS = 22
"""So many fields are taken apart; nobody needs the others."""
_COMMAND = 4096
"""Bytes of a command line that are read."""
_CHUNK = 16_384
_FULL = 4_000
"""A read that gives fewer bytes was the last: as in `procfs`."""


class ProcFolder:
    """One process, and what `read` has read of it.

    ``name`` is its name, ``fields`` are those of its ``stat`` from the third to the 24th, and the
    others as one (proc(5)); both are empty if they may not be read. ``parent``, ``group`` and
    ``session`` are numbers.
    """

    __slots__ = ("fd", "fields", "group", "name", "parent", "pid", "session")

    def __init__(self, pid: int, fd: int) -> None:
        self.pid: int = pid
        self.fd: int = fd
        self.name: bytes = b""
        self.fields: list[bytes] = []
        self.parent: int = -1
        self.group: int = -1
        self.session: int = -1

    def read(self) -> bool:
        """Read its ``stat``; return False if it is gone. Raises `PermissionError`, and OSError."""
        try:
            data = _read("stat", self.fd, _STAT)
        except (FileNotFoundError, ProcessLookupError):
            return False
        # The name, in parentheses, may itself hold spaces and parentheses (proc(5)).
        start, end = data.index(b"("), data.rindex(b")")
        self.name = data[start + 1 : end]
        self.fields = fields = data[end + 2 :].split(b" ", _FIELDS)
        self.parent, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        return True

    def there(self) -> bool:
        """Return whether it has not been reaped, so that its pid is its own."""
        try:
            os.stat("comm", dir_fd=self.fd)
        except PermissionError:
            return True
        except OSError:
            return False
        return True

    def children(self) -> list[int]:
        """Return the pids of its children, of all its threads; none if they can't be read."""
        try:
            if self.fields and self.fields[17] == b"1":
                return _numbers(f"task/{self.pid}/children", self.fd)
            fd = os.open("task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.fd)
            try:
                threads = os.listdir(fd)
            finally:
                close(fd)
        except OSError:
            return []
        found: list[int] = []
        for thread in threads:
            try:
                found += _numbers(f"task/{thread}/children", self.fd)
            except OSError:  # The thread has ended.
                continue
        return found

    def user(self) -> int | None:
        """Return the number of its effective user; None if it is gone or hidden."""
        try:
            # Of the folder: the files in it are root's if the process is not dumpable (proc(5)).
            return os.fstat(self.fd).st_uid
        except OSError:
            return None

    def command(self) -> bytes:
        """Return the start of its command line; ``b""`` if it has none, or is gone.

        This may wait for ever: for the lock of the process's memory (Linux get_mm_cmdline,
        mmap_lock), which another of its threads holds while a file system does not answer.
        """
        try:
            return _read("cmdline", self.fd, _COMMAND)
        except OSError:
            return b""

    def copy(self) -> ProcFolder:
        """Return another one of the same process, to be closed as well. Raises OSError."""
        other = ProcFolder(self.pid, os.dup(self.fd) if self.fd >= 0 else -1)
        other.name, other.fields = self.name, self.fields
        other.parent, other.group, other.session = self.parent, self.group, self.session
        return other

    def close(self) -> None:
        """Close the folder. May be called again."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            close(fd)


def open_folder(pid: int) -> ProcFolder | None:
    """Return the folder of the process that has this pid now; None if there is none, or hidden.

    Check *after* this which process it is. Raises OSError if no descriptor is left.
    """
    try:
        return ProcFolder(pid, os.open(f"{pid}", _FOLDER, dir_fd=proc.folder))
    except (FileNotFoundError, ProcessLookupError):
        return None


def hidden_child(pid: int, parent: ProcFolder) -> ProcFolder | None:
    """Return what is known of a child that /proc hides (proc(5), hidepid); None if it is gone.

    The list of its parent's children has it, and getpgid(2) and getsid(2) answer for any process.
    """
    try:
        handle = Pidfd(pid, syscalls.pidfd_open(pid))
    except OSError:  # ESRCH.
        return None
    try:
        child = ProcFolder(pid, -1)
        child.parent = parent.pid
        child.group, child.session = os.getpgid(pid), os.getsid(pid)
        # Asked last: what has the pid now is the parent's child, and had it all along.
        return child if pid in parent.children() and handle.there() else None
    except OSError:
        return None
    finally:
        handle.close()


def _read(name: str, folder: int, most: int) -> bytes:
    fd = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        return os.read(fd, most)
    finally:
        os.close(fd)


def _numbers(path: str, folder: int) -> list[int]:
    fd = os.open(path, os.O_RDONLY, dir_fd=folder)
    try:
        data = more = os.read(fd, _CHUNK)
        while len(more) >= _FULL:
            more = os.read(fd, _CHUNK)
            data += more
    finally:
        os.close(fd)
    return [int(each) for each in data.split()] if data else []
