"""Finds the cgroup below which sessions with limits get theirs, and enables its controllers.

A cgroup with processes gives no memory or pids controller to cgroups below it (cgroups(7), "no
internal processes"). The host is in its own cgroup, so the place is that one's parent. Only the
root of the whole hierarchy may have both.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress

from ptykill.errors import LimitsUnavailable
from ptykill.system.kernel.cgroup import write
from ptykill.system.kernel.cgroup_place import own_cgroup
from ptykill.system.kernel.limited_cgroup import CONTROLLERS
from ptykill.system.kernel.procfs import read_file, read_proc

__all__ = ["HOST", "find_place", "leave_room", "why_no_limits"]

HOST = "ptykill-host"
"""The name of the cgroup that `leave_room` moves this process to."""
_DELEGATED = ("user.delegate", "trusted.delegate")
"""systemd sets one on a cgroup that it leaves to a unit's processes (cgroup delegation)."""
_SYSTEMD = "/run/systemd/system"
"""There if systemd manages the machine's cgroups (sd_booted(3))."""


def find_place(controllers: Sequence[str]) -> str:
    """Return the cgroup below which sessions can have limits by these controllers.

    It enables them there, and the others as well that count what a session uses. Raises
    `LimitsUnavailable`.
    """
    own = own_cgroup()
    if own is None:
        raise LimitsUnavailable(controllers, "no cgroup v2 hierarchy is mounted")
    place = own if _is_root(own) else os.path.dirname(own)
    missing = [each for each in controllers if each not in _words(f"{place}/cgroup.controllers")]
    if not os.path.exists(f"{place}/cgroup.controllers"):  # It is outside of this mount.
        raise LimitsUnavailable(controllers, f"this process is in {own}, above which there is none")
    if missing:
        raise LimitsUnavailable(missing, _why_missing(missing, place))
    if (reason := _why_not_ours(own, place)) is not None:
        raise LimitsUnavailable(controllers, reason)
    for each in controllers:
        _enable(each, place)
    for each in "memory", "pids":
        with suppress(LimitsUnavailable):
            _enable(each, place)
    return place


def why_no_limits() -> dict[str, str]:
    """Return the controllers by which no session can have limits here, with the reasons."""
    lacking = {}
    for each in CONTROLLERS:
        try:
            find_place([each])
        except LimitsUnavailable as error:
            lacking[each] = error.reason
    return lacking


def leave_room() -> None:
    """Move this process to a cgroup below its own, if that was delegated to it alone.

    Then its former cgroup has no process, and can be the parent of the sessions'. A service does
    that for itself, or with DelegateSubgroup= (systemd.resource-control(5), systemd 254).
    """
    own = own_cgroup()
    if own is None or _is_root(own) or not _is_delegated(own):
        return
    with suppress(OSError):
        if _words(f"{own}/cgroup.procs") == [str(os.getpid())]:
            os.makedirs(f"{own}/{HOST}", exist_ok=True)
            write(f"{own}/{HOST}/cgroup.procs", "0")


def _enable(controller: str, place: str) -> None:
    """Give a controller to the cgroups below. Raises `LimitsUnavailable`."""
    control = f"{place}/cgroup.subtree_control"
    if controller in _words(control):
        return
    try:
        write(control, f"+{controller}")
    except OSError as error:
        reason = f"it can't be enabled in {control}: {error.strerror}"
        if error.errno == errno.EBUSY:
            reason = f"{place} has processes, so no cgroup below it can have that controller"
        raise LimitsUnavailable([controller], reason) from None


def _why_missing(missing: Sequence[str], place: str) -> str:
    lines = read_proc("self/cgroup", 1).decode(errors="replace").splitlines()
    for line in lines:
        _, names, _ = line.split(":", 2)
        if set(missing) & set(names.split(",")):
            return "found in a v1 hierarchy, and limits need v2"
    return f"not given to {place} by the cgroups above (cgroup.controllers)"


def _why_not_ours(own: str, place: str) -> str | None:
    """Say why sessions may not have their cgroups there, beside this process's own."""
    if not os.access(place, os.W_OK) or not os.access(f"{place}/cgroup.procs", os.W_OK):
        return f"this process is in {own}, and may not make cgroups beside it, in {place}"
    if os.path.exists(_SYSTEMD) and not _is_delegated(place):
        return (
            f"{place} is systemd's: start this process in a cgroup below a delegated one"
            " (Delegate=yes and DelegateSubgroup=)"
        )
    return None


def _is_root(path: str) -> bool:
    """Return whether this is the root of the whole hierarchy: all others have a type."""
    return not os.path.exists(f"{path}/cgroup.type")


def _is_delegated(path: str) -> bool:
    """Return whether a cgroup was left to us: by systemd's mark, or as the highest of our own.

    Only root can read the mark of systemd before 251. It gives the cgroup to the unit's user, and
    not the one above.
    """
    uids = [os.stat(each).st_uid for each in (path, os.path.dirname(path))]
    if os.geteuid() and uids[0] == os.geteuid() != uids[1]:
        return True
    for name in _DELEGATED:
        with suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    return False


def _words(path: str) -> list[str]:
    return read_file(path).decode().split()
