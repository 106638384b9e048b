"""Lists the members of a session without a keeper, each by its folder in /proc."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from ptykill.system.containment.leader import Leader
from ptykill.system.containment.session_members import SessionMembers
from ptykill.system.containment.session_number import unreaped
from ptykill.system.kernel.proc_folder import ProcFolder, open_folder
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import group_of, session_of

__all__ = ["session_folders"]

_AT_ONCE = 32
"""So many are opened before the session's number is checked: each takes a descriptor."""


def session_folders(leader: Leader, members: SessionMembers) -> Generator[ProcFolder]:
    """Yield the leader, the members in its session, zombies too, and those that have left it.

    The caller closes them. Raises OSError if no descriptor is left.
    """
    inside = members.in_session()
    seen = {leader.pid, *inside}
    outside = bool(members.escaped)
    pids = [leader.pid, *inside]
    while pids:
        for process in _proved(pids[:_AT_ONCE], leader, members):
            outside = outside or not seen.issuperset(process.children())
            yield process
        del pids[:_AT_ONCE]
    if outside:
        # A child that is not in the session has left it, or was started since.
        members.known()
        for pid, handle in list(members.escaped.items()):
            left = _opened(pid)
            if left is not None:
                if unreaped(handle):
                    yield left
                else:
                    left.close()


def _proved(pids: list[int], leader: Leader, members: SessionMembers) -> Iterator[ProcFolder]:
    """Open those that are in the session, and check that this is still the leader's."""
    opened: list[ProcFolder] = []
    try:
        for pid in pids:
            process = _opened(pid)
            if process is not None:
                opened.append(process)
        # Asked after they were opened: if the number is the session's now, it was so then.
        number = members.number
        ours, led = number.is_ours(), unreaped(leader)
        while opened:
            process = opened.pop(0)
            pid = process.pid
            if process.session == leader.pid and (
                led if pid == leader.pid else ours or number.started_before_reuse(pid)
            ):
                yield process
            else:
                process.close()
    finally:
        for process in opened:
            process.close()


def _opened(pid: int) -> ProcFolder | None:
    """Open a process and read its ``stat``; None if it is gone."""
    process = open_folder(pid)
    if process is None:
        return _hidden(pid) if proc.hides else None
    try:
        if process.read():
            return process
    except PermissionError:
        process.close()
        return _hidden(pid)
    except BaseException:
        process.close()
        raise
    process.close()
    # hidepid=2 says that its files are not there, though the folder can be opened.
    return _hidden(pid) if proc.hides else None


def _hidden(pid: int) -> ProcFolder | None:
    """Return what getpgid(2) and getsid(2) say of a process that /proc hides (proc(5), hidepid)."""
    process = ProcFolder(pid, -1)
    process.group, process.session = group_of(pid), session_of(pid)
    return process if process.session > 0 else None
