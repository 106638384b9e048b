"""A session's own cgroup (v2): the kernel lists its processes, and can kill them all.

No controller is needed, so a hierarchy without one will do (a hybrid machine). A keeper makes the
cgroup, and enters it, before it starts the leader: so the session starts inside.

The cgroup's name says which process made it. If that process is dead, the cgroup was abandoned. A
lock can't show that: it would be on the folder, which all users may read, and so lock (flock(2)).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress

from ptykill.system.kernel.pidfd import Pidfd, open_pidfd
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import read_file, stat
from ptykill.system.kernel.retry import close

__all__ = [
    "Cgroup",
    "end_abandoned",
    "recover",
    "started_before",
    "write",
]

_NAME = re.compile(
    r"ptykill-(?P<numbering>[0-9.]+)-(?P<pid>[0-9]{1,9})-(?P<start>[0-9]+)-[0-9a-f]{16}"
)
_KILL = 9
_BATCH = 64
"""So many members are held at once: a keeper has as many descriptors as its host may have."""


class Cgroup:
    """One cgroup, by its path. `create` makes it, for this process."""

    def __init__(self, path: str, refuge: str | None = None) -> None:
        self.path: str = path
        self._refuge = os.path.dirname(path) if refuge is None else refuge
        """Where a process goes that is moved out: the parent, unless that may have none."""
        self.events: int = -1
        """The descriptor of ``cgroup.events``, which has POLLPRI when they change (cgroups(7)); of
        a cgroup that was created here."""

    @classmethod
    def create(cls, parent: str, refuge: str | None = None) -> Cgroup:
        """Make one in a folder, for as long as this process lives. Raises OSError."""
        self = cls(new_path(parent), refuge)
        os.mkdir(self.path, 0o755)
        try:
            self.events = os.open(f"{self.path}/cgroup.events", os.O_RDONLY)
        except OSError:
            os.rmdir(self.path)
            raise
        return self

    def close(self) -> None:
        """Close the descriptor."""
        if self.events >= 0:
            close(self.events)
            self.events = -1

    def add_process(self, pid: int) -> None:
        """Move a process, and all that it will ever start, into this cgroup. Raises OSError."""
        write(f"{self.path}/cgroup.procs", str(pid))

    def remove_process(self, pid: int) -> None:
        """Move a process out. Raises OSError."""
        write(f"{self._refuge}/cgroup.procs", str(pid))

    def populated(self) -> bool:
        """Return whether any process in it, or below it, is alive; True if that can't be read."""
        try:
            if self.events >= 0:
                events = os.pread(self.events, 4096, 0)
            else:
                events = _read(f"{self.path}/cgroup.events")
        except OSError as error:
            return not _gone(error)
        return b"populated 0" not in events

    def kill(self) -> None:
        """Kill every process in it, strangers and forks under way too (Linux 5.14).

        Anybody who may write to the cgroup can have moved a stranger into it. So look first, and
        use this only for processes that can't be killed one by one, when no member is left that
        could move a stranger in.
        """
        with suppress(OSError):  # ENOENT, ENODEV: it is gone, since it was empty.
            write(f"{self.path}/cgroup.kill", "1")

    def kill_each(self, ours: Callable[[int], bool] = lambda _: True) -> set[int]:
        """Send SIGKILL to each process in it that is ours; return the pids that refused it.

        This process itself is left out. `ours` is asked about a pid while a handle on its process
        is held. ``cgroup.kill`` would not do for a process whose main thread has exited: the signal
        stays pending on the dead thread (Linux 6.18). A signal to the process works.
        """
        refused = set()
        with suppress(OSError):  # It can't be read: the next round may do better.
            rest = [pid for pid in self.members() if pid != os.getpid()]
            while rest:
                handles, rest = _hold(rest)
                # A pid that is in it now, after its handle was opened, is the handle's process.
                inside = set(self.members())
                for handle in handles:
                    if handle.pid in inside and ours(handle.pid):
                        try:
                            handle.send(_KILL)
                        except PermissionError:
                            refused.add(handle.pid)
                    handle.close()
        return refused

    def any_of_ours(self, ours: Callable[[int], bool]) -> bool:
        """Return whether a process of ours is in it, or below it; True if that can't be read."""
        if not self.populated():
            return False
        try:
            return any(map(ours, self.members()))
        except OSError:
            return True

    def members(self) -> list[int]:
        """Return the pids of all processes in it, or below it. Raises OSError."""
        found: list[int] = []
        for folder, _, _ in os.walk(self.path, onerror=_raise_unless_gone):
            try:
                lines = _read(f"{folder}/cgroup.procs").split()
            except OSError as error:
                _raise_unless_gone(error)
            else:
                found += [pid for pid in map(int, lines) if pid]  # 0: in another pid namespace.
        return found

    def thaw(self) -> None:
        """Thaw it, and the cgroups below it (cgroups(7), cgroup.freeze)."""
        for folder, _, _ in os.walk(self.path):
            if read_file(f"{folder}/cgroup.freeze").startswith(b"1"):
                with suppress(OSError):
                    write(f"{folder}/cgroup.freeze", "0")

    @property
    def began(self) -> int:
        """When its maker started, in clock ticks since boot (proc(5), starttime): by its name.

        Every process of the session started later.
        """
        words = _NAME.fullmatch(os.path.basename(self.path))
        return int(words["start"]) if words is not None else 0

    def oom(self) -> bool:
        """Return whether the out-of-memory killer has killed in it (memory controller)."""
        lines = read_file(f"{self.path}/memory.events").splitlines()
        return any(line.startswith(b"oom_kill ") and line.split()[1] != b"0" for line in lines)

    def processor_time(self) -> int:
        """Return the processor time of all that has ever run in it or below it, in microseconds.

        0 before Linux 4.15, where ``cpu.stat`` needs a controller.
        """
        for line in read_file(f"{self.path}/cpu.stat").splitlines():
            if line.startswith(b"usage_usec "):
                return int(line.split()[1])
        return 0

    def remove(self) -> bool:
        """Remove it, and the cgroups below it; return whether it is gone.

        Strangers that are still in it are moved out.
        """
        with suppress(OSError):
            for pid in self.members() if self.populated() else ():
                with suppress(OSError):
                    self.remove_process(pid)
        for folder, _, _ in os.walk(self.path, topdown=False):
            with suppress(OSError):  # EBUSY: a process is inside.
                os.rmdir(folder)
        return not os.path.exists(self.path)


def new_path(parent: str) -> str:
    """Return the path of a cgroup that does not exist yet, for this process to make."""
    pid = os.getpid()
    return f"{parent}/ptykill-{_numbering()}-{pid}-{_start(stat(pid))}-{os.urandom(8).hex()}"


def recover(
    parent: str,
    spared: Callable[[int], bool] = lambda _: False,
    refuge: str | None = None,
) -> list[str]:
    """End the cgroups of dead keepers: kill their processes, but no strangers, and remove them.

    A process that is older than the keeper is a stranger that was moved in, and so is one for which
    ``spared`` returns True: it is moved to ``refuge``, by default the parent. Returns the cgroups'
    paths. One that can't be removed yet stays.
    """
    found: list[str] = []
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(parent)
    for name in filter(_left, names):
        with suppress(OSError):  # Another host has just removed it. Go on with the others.
            cgroup = Cgroup(f"{parent}/{name}", refuge)
            found.append(cgroup.path)
            end_abandoned(cgroup, spared)
    return found


def end_abandoned(cgroup: Cgroup, spared: Callable[[int], bool]) -> None:
    """Kill the processes in an abandoned cgroup, but no strangers, and remove it.

    It stays if a process needs time to die: this function does not wait.
    """

    def ours(pid: int) -> bool:
        return not started_before(pid, cgroup.began) and not spared(pid)

    refused = cgroup.kill_each(ours)
    with suppress(OSError):
        if refused and refused.issuperset(cgroup.members()):
            cgroup.kill()
    if not cgroup.any_of_ours(ours):
        cgroup.remove()


def started_before(pid: int, ticks: int) -> bool:
    """Return whether a process started before a time, in clock ticks since boot."""
    start = _start(stat(pid))
    return bool(start) and int(start) < ticks


def _left(name: str) -> bool:
    """Return whether a cgroup of that name was made by a process that is dead."""
    words = _NAME.fullmatch(name)
    if words is None or words["numbering"] != _numbering():
        return False  # Not ours; or of other pids than those that are shown to us.
    pid = int(words["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # Another user's, which /proc may hide (proc(5), hidepid).
        pass
    fields = stat(pid)
    # A keeper has one thread, so a zombie is dead; in a container it may never be reaped.
    return bool(fields) and (fields[0] in b"ZX" or _start(fields) != words["start"])


def _numbering() -> str:
    """Name the pid and time namespaces of this process: numbers of others mean nothing here.

    ``none`` where no procfs shows this process's own numbers: nothing can be looked up there.
    """
    try:
        kinds = [kind for kind in ("pid", "time") if proc.exists(f"self/ns/{kind}")]
        numbers = [str(proc.stat(f"self/ns/{kind}").st_ino) for kind in kinds]
    except OSError:
        return "none"
    return ".".join(numbers) or "none"


def _start(fields: list[bytes]) -> str:
    """Return when a process started: with its pid, that is no other process (/proc/PID/stat)."""
    return fields[19].decode() if len(fields) > 19 else ""


def _hold(pids: list[int]) -> tuple[list[Pidfd], list[int]]:
    """Open handles on as many as may be held at once; return them, and the pids that are left."""
    held: list[Pidfd] = []
    for number, pid in enumerate(pids[:_BATCH]):
        try:
            handle = open_pidfd(pid)
        except OSError:  # EMFILE. To look who is inside takes one, so the last is given back.
            rest = pids[number:]
            if not held:
                return [], rest[1:]
            last = held.pop()
            last.close()
            return held, [last.pid, *rest] if held else rest
        if handle is not None:
            held.append(handle)
    return held, pids[_BATCH:]


def _read(path: str) -> bytes:
    """Return what a file says, all of it. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        data = b""
        while more := os.read(fd, 16_384):
            data += more
        return data
    finally:
        os.close(fd)


def _gone(error: OSError) -> bool:
    """Return whether a cgroup was removed, which it can only be when it is empty."""
    return error.errno in (errno.ENOENT, errno.ENODEV)


def _raise_unless_gone(error: OSError) -> None:
    if not _gone(error):
        raise error


def write(path: str, text: str) -> None:
    """Write to a file of the kernel's, in one call. Raises OSError."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
