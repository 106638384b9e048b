"""Finds this process's own cgroup, and checks whether sessions can have cgroups below it."""

from __future__ import annotations

import os

from ptykill.system.kernel.cgroup import Cgroup, new_path
from ptykill.system.kernel.procfs import read_file, read_proc

__all__ = ["can_leave", "move_here", "own_cgroup", "why_unusable"]


def own_cgroup() -> str | None:
    """Return the folder of this process's own cgroup in the v2 hierarchy; None if it has none.

    The hierarchy may be mounted anywhere, and a part of it only (proc(5), mountinfo).
    """
    own = next((line[3:] for line in _lines("self/cgroup") if line.startswith("0::/")), None)
    if own is None or ".." in own:  # Outside of this cgroup namespace (cgroup_namespaces(7)).
        return None
    for line in _lines("self/mountinfo"):
        mount, _, kind = line.partition(" - ")
        if not kind.startswith("cgroup2 "):
            continue
        root, target = map(_unescaped, mount.split()[3:5])
        if f"{own}/".startswith(f"{root.rstrip('/')}/"):
            return os.path.normpath(f"{target}/{os.path.relpath(own, root)}")
    return None


def move_here(pid: int) -> None:
    """Move a process into this one's cgroup, which thaws it if it was frozen. Raises OSError."""
    parent = own_cgroup()
    if parent is not None:
        Cgroup(parent).add_process(pid)


def can_leave(parent: str, uid: int) -> bool:
    """Return whether a user may move its processes out of a cgroup that is below that one.

    To do that it has to write to the ``cgroup.procs`` of a cgroup above both (cgroups(7)).
    """
    if uid == 0:
        return True
    while os.path.exists(procs := f"{parent}/cgroup.procs"):
        about = os.stat(procs)
        if about.st_uid == uid or about.st_mode & 0o022:
            return True
        parent = os.path.dirname(parent)
    return False


def why_unusable() -> str | None:
    """Say why sessions can't have cgroups here; None if they can. Tries to make one."""
    parent = own_cgroup()
    if parent is None:
        return "no cgroup v2 hierarchy is mounted"
    try:
        cgroup = Cgroup(new_path(parent))
        os.mkdir(cgroup.path, 0o755)
    except OSError as error:
        return f"no cgroup can be made in {parent}: {error.strerror}"
    try:
        if not os.path.exists(f"{cgroup.path}/cgroup.kill"):
            return "cgroup.kill is missing: it came with Linux 5.14"
        if not os.access(f"{parent}/cgroup.procs", os.W_OK):
            return f"no process may be moved out of {parent}: its cgroup.procs can't be written"
        if read_file(f"{cgroup.path}/cgroup.type").strip() != b"domain":
            return f"{parent} is a threaded cgroup, or has some"
    finally:
        cgroup.remove()
    return None


def _lines(path: str) -> list[str]:
    return read_proc(path, 1).decode(errors="surrogateescape").splitlines()


def _unescaped(path: str) -> str:
    for code, character in ("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"):
        path = path.replace(code, character)
    return path
