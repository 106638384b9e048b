"""A session's own cgroup (v2): the kernel knows who is in it, whatever they do, and kills them.

No controller is needed, so it works as well in a hierarchy that has none (a hybrid machine). A
keeper makes the cgroup before its embryo is anything, so the session is born inside. It holds a
lock on it (flock(2)) for as long as it lives: one that nobody has locked was left by the dead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ptykill.kernel.descent import read
from ptykill.kernel.handle import open_pidfd

__all__ = ["Cgroup", "place", "recover", "unusable"]

_PREFIX = "ptykill-"
_KILL = 9


class Cgroup:
    """One cgroup, by its path. `create` makes it, and holds it until this process ends."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._held: list[int] = []

    @classmethod
    def create(cls, path: str) -> Cgroup:
        """Make it, and lock it. Raises OSError."""
        self = cls(path)
        with _locked(os.path.dirname(path), fcntl.LOCK_SH):  # Or `recover` would take it for left.
            os.mkdir(path, 0o755)
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            self._held.append(folder)
            fcntl.flock(folder, fcntl.LOCK_EX)
        self._held.append(os.open(f"{path}/cgroup.events", os.O_RDONLY))
        return self

    @property
    def events(self) -> int:
        """The descriptor of ``cgroup.events``, which has POLLPRI when they change (cgroups(7))."""
        return self._held[-1]

    def take_in(self, pid: int) -> None:
        """Move a process, and all that it will ever start, into this cgroup. Raises OSError."""
        _write(f"{self.path}/cgroup.procs", str(pid))

    def let_out(self, pid: int) -> None:
        """Move a process out, to where this cgroup is. Raises OSError."""
        _write(f"{os.path.dirname(self.path)}/cgroup.procs", str(pid))

    def populated(self) -> bool:
        """Return whether any process in it, or below it, is alive."""
        if self._held:
            return b"populated 1" in os.pread(self.events, 4096, 0)
        return b"populated 1" in read(f"{self.path}/cgroup.events")

    def kill(self) -> None:
        """Kill all that are in it, those being born too (Linux 5.14)."""
        with suppress(OSError):  # ENOENT, ENODEV: it is gone, since it was empty.
            _write(f"{self.path}/cgroup.kill", "1")

    def kill_each(self) -> set[int]:
        """Send SIGKILL to each of them; return those that refused.

        `kill` does not do for one whose main thread has exited: the signal stays pending on the
        dead thread (Linux 6.18). One sent to the process does.
        """
        handles = [handle for pid in self.members() if (handle := open_pidfd(pid)) is not None]
        # Whoever is in it now, and had its handle opened before, is whom the handle is on.
        inside = set(self.members())
        refused = set()
        for handle in handles:
            if handle.pid in inside:
                try:
                    handle.send(_KILL)
                except PermissionError:
                    refused.add(handle.pid)
            handle.close()
        return refused

    def members(self) -> list[int]:
        """Return the pids of those that are in it, or below it."""
        found = []
        for folder, _, _ in os.walk(self.path):
            lines = read(f"{folder}/cgroup.procs").split()
            found += [pid for pid in map(int, lines) if pid]  # 0: in a pid namespace not ours.
        return found

    def oom(self) -> bool:
        """Return whether the kernel's out-of-memory killer has been here (memory controller)."""
        lines = read(f"{self.path}/memory.events").splitlines()
        return any(line.startswith(b"oom_kill ") and line.split()[1] != b"0" for line in lines)

    def remove(self) -> bool:
        """Remove it, and what was made below it; return whether it is gone."""
        for folder, _, _ in os.walk(self.path, topdown=False):
            with suppress(OSError):  # EBUSY: somebody is there.
                os.rmdir(folder)
        return not os.path.exists(self.path)


def place() -> str | None:
    """Return the folder of this process's own cgroup in the v2 hierarchy; None if it has none.

    The hierarchy may be mounted anywhere, and a part of it only (proc(5), mountinfo).
    """
    own = next((line[3:] for line in _lines("/proc/self/cgroup") if line.startswith("0::/")), None)
    if own is None or ".." in own:  # Outside of this cgroup namespace (cgroup_namespaces(7)).
        return None
    for line in _lines("/proc/self/mountinfo"):
        mount, _, kind = line.partition(" - ")
        if not kind.startswith("cgroup2 "):
            continue
        root, target = map(_unescaped, mount.split()[3:5])
        if f"{own}/".startswith(f"{root.rstrip('/')}/"):
            return os.path.normpath(f"{target}/{os.path.relpath(own, root)}")
    return None


def unusable() -> str | None:
    """Say why sessions can't have cgroups here; None if they can. Tries it."""
    parent = place()
    if parent is None:
        return "no cgroup v2 hierarchy is mounted"
    try:
        cgroup = Cgroup(new_path(parent))
        os.mkdir(cgroup.path)
    except OSError as error:
        return f"no cgroup can be made in {parent}: {error.strerror}"
    try:
        if not os.path.exists(f"{cgroup.path}/cgroup.kill"):
            return "cgroup.kill is missing: it came with Linux 5.14"
        if not os.access(f"{parent}/cgroup.procs", os.W_OK):
            return f"no process may be moved out of {parent}: its cgroup.procs can't be written"
        if read(f"{cgroup.path}/cgroup.type").strip() != b"domain":
            return f"{parent} is a threaded cgroup, or has some"
    finally:
        cgroup.remove()
    return None


def new_path(parent: str) -> str:
    """Return the path of a cgroup that does not exist yet."""
    return f"{parent}/{_PREFIX}{secrets.token_hex(8)}"


def recover(parent: str) -> list[str]:
    """End what dead keepers have left: kill all in their cgroups, and remove these.

    Returns their paths. Those that can't be removed yet are left for the next time.
    """
    found = []
    try:
        names = [name for name in os.listdir(parent) if name.startswith(_PREFIX)]
        with _locked(parent, fcntl.LOCK_EX):
            for name in names:
                cgroup = Cgroup(f"{parent}/{name}")
                if _left(cgroup.path):
                    found.append(cgroup.path)
                    cgroup.kill()
                    cgroup.kill_each()
                    cgroup.remove()
    except OSError:
        pass
    return found


def _left(path: str) -> bool:
    """Return whether nobody has locked it."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            raise
        return False
    else:
        return True
    finally:
        os.close(folder)


@contextmanager
def _locked(path: str, how: int) -> Iterator[None]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, how)
        yield
    finally:
        os.close(folder)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _lines(path: str) -> list[str]:
    return read(path).decode(errors="surrogateescape").splitlines()


def _unescaped(path: str) -> str:
    for code, character in ("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"):
        path = path.replace(code, character)
    return path
