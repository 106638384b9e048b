"""Chooses the procfs that is read: one of this process's own pid namespace, or none.

A pid that is read from a procfs of another pid namespace is another process's number here, so a
signal to it would reach a stranger. `ProcView.find` decides once, when a tier is opened and when a
warden or a keeper starts, what everything else reads:

1. ``/proc``, if it is a procfs of our own pid namespace;
2. or else a procfs of our own, which is mounted nowhere (fsmount(2), Linux 5.2), if this process
   may mount one: it is reached by its descriptor alone, and ends with it;
3. or else nothing: each file is then missing, and no session is spawned.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from contextlib import suppress

from ptykill.system.kernel import syscalls
from ptykill.system.kernel.retry import again

__all__ = ["ProcView", "proc"]

_PROCFS = 0x9FA0
"""<linux/magic.h>, PROC_SUPER_MAGIC."""
_PIDS = re.compile(rb"^(?:NSpid|Pid):((?:\s+[0-9]+)+)$", re.MULTILINE)
_CAPABILITIES = re.compile(rb"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)
_SYS_PTRACE = 1 << 19
"""<linux/capability.h>"""
_HIDEPID = re.compile(rb"\bhidepid=(?:invisible|ptraceable|2)\b")
"""Shown as a number before Linux 5.8, which has the words, and to which ``ptraceable`` is new."""
_GID = re.compile(rb"\bgid=([0-9]+)\b")
_REMEDY = "mount -t proc proc /proc"
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class ProcView:
    """The procfs that is read. One for the whole process, since so is its pid namespace.

    Its folder is held open: whatever is mounted over ``/proc`` later, or taken from there, what is
    read stays the same.
    """

    def __init__(self) -> None:
        self.lacking: str | None = None
        """Why nothing is read; None if something is."""
        self.hides: bool = False
        """Whether some processes may be hidden from us (proc(5), hidepid)."""
        self.at_proc: bool = True
        """Whether it is the one at ``/proc``, so that others may read it there."""
        self._tells_children: bool | None = None
        self.folder: int = -1
        """An open descriptor of the procfs; -1 if nothing is read."""
        with suppress(OSError):
            self.folder = _opened()

    def find(self) -> str | None:
        """Choose what is read from now on; return why that is nothing, or None.

        Raises OSError, and changes nothing, if it could not be looked at.
        """
        # A descriptor that the host has closed, behind our back, may be any other file by now.
        if self.folder < 0 or _why_not_ours(self.folder) is not None:
            self.lacking = self._find_another()
        self.at_proc = self.lacking is None and _is_at_proc(self.folder)
        if self.at_proc:
            self.hides = _hides()
        self._tells_children = None
        return self.lacking

    def _find_another(self) -> str | None:
        self.hides = False
        folder = -1
        lacking: str | None = f"there is no /proc: {_REMEDY}"
        try:
            folder = _opened()
            lacking = _why_not_ours(folder)
        except OSError as error:
            if error.errno in _SCARCE:
                raise
        if lacking is not None:
            if folder >= 0:
                os.close(folder)
            try:
                folder, lacking = syscalls.detached_procfs(), None
            except OSError as error:  # EPERM, mostly; ENOSYS before Linux 5.2.
                if error.errno in _SCARCE:
                    raise
                folder = -1
        self.folder = folder
        return lacking

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """Open a file, by its path below /proc. Raises OSError."""
        return os.open(path, flags, dir_fd=self._at(path))

    def list(self, path: str = ".") -> list[str]:
        """Return the names in a folder. Raises OSError."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def stat(self, path: str) -> os.stat_result:
        """Return a file's attributes. Raises OSError."""
        return os.stat(path, dir_fd=self._at(path))

    def exists(self, path: str) -> bool:
        """Return whether there is such a file."""
        try:
            self.stat(path)
        except OSError:
            return False
        return True

    @property
    def tells_children(self) -> bool:
        """Whether this kernel has CONFIG_PROC_CHILDREN."""
        if self._tells_children is None:
            self._tells_children = self.exists(f"self/task/{os.getpid()}/children")
        return self._tells_children

    def _at(self, path: str) -> int:
        if self.folder < 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.folder


def _opened() -> int:
    folder = os.open("/proc", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    if folder > 2:
        return folder
    try:
        # One of the standard ones was closed, and is the host's to open.
        return fcntl.fcntl(folder, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(folder)


def _why_not_ours(folder: int) -> str | None:
    """Say why a folder is no procfs of our own pid namespace; None if it is one."""
    status = b""
    try:
        if syscalls.file_system(folder) != _PROCFS:
            return f"/proc is not mounted: {_REMEDY}"
        status = again(lambda: _read("self/status", folder))
    except OSError as error:
        if error.errno in _SCARCE:
            raise
    # One number for each namespace, from the procfs's down to our own (proc(5), NSpid). So one that
    # is of a namespace above ours says more than one, even where the numbers coincide; and one
    # that is not above ours has no "self" for us. Without NSpid there are no such namespaces.
    told = [line.split() for line in _PIDS.findall(status)]
    if told and all(numbers == [b"%d" % os.getpid()] for numbers in told):
        return None
    return f"/proc shows another pid namespace than that of this program: {_REMEDY}"


def _is_at_proc(folder: int) -> bool:
    """Return whether a procfs is the one that is mounted at /proc."""
    try:
        return os.stat("/proc").st_dev == os.fstat(folder).st_dev
    except OSError:
        return False


def _hides() -> bool:
    """Return whether /proc may hide processes from us that live."""
    options = b""
    for line in _read("/proc/self/mountinfo").splitlines():
        mount, _, kind = line.partition(b" - ")
        if kind.startswith(b"proc ") and mount.split()[4] == b"/proc":
            options = kind  # The last one covers the others.
    if not options:
        return not os.path.exists("/proc/1")
    if not _HIDEPID.search(options):
        return False
    capable = _CAPABILITIES.search(_read("/proc/self/status"))
    if capable is not None and int(capable[1], 16) & _SYS_PTRACE:
        return False
    allowed = _GID.search(options)
    ptraceable = b"hidepid=ptraceable" in options
    ours = {os.getegid(), *os.getgroups()}
    return allowed is None or ptraceable or int(allowed[1]) not in ours


def _read(path: str, folder: int | None = None) -> bytes:
    fd = os.open(path, os.O_RDONLY, dir_fd=folder)
    try:
        data = b""
        while more := os.read(fd, 65_536):
            data += more
        return data
    finally:
        os.close(fd)


proc: ProcView = ProcView()
