"""Protects the daemon from the processes of its sessions.

Processes of one user may trace each other, and read each other's memory and environment (ptrace(2),
proc(5)). Only root may do that to a daemon that is not dumpable. Sessions of another user can do
even less to it; docs/separation.md compares both.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from contextlib import suppress
from typing import Final

from ptykill.errors import InvalidArgument
from ptykill.http.perform import SAME_USER, Owner
from ptykill.rules.command import Attributes
from ptykill.system.kernel import syscalls

__all__ = ["make_undumpable", "owner_of", "pop_variable"]

_KEPT: Final = ("PATH", "LANG", "LANGUAGE", "TZ")
"""Variables of the daemon that sessions of another user get, besides LC_*; no others."""
_MAY_NOT_BECOME, _MAY_NOT_ENTER = 1, 2


def make_undumpable() -> None:
    """Let no process of our user trace this one, or read its memory and environment.

    It leaves no core dump, either. On systems without prctl(2), which is Linux's, this does
    nothing.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            syscalls.set_dumpable(False)


def pop_variable(name: str) -> str:
    """Return a variable, "" if there is none, and remove it from the environment.

    /proc/PID/environ shows the memory that had the variables when the process started, also after
    they were changed or removed. So the bytes there are overwritten, too.
    """
    value = os.environ.get(name, "")
    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    where = library.getenv(os.fsencode(name))
    if where:
        ctypes.memset(where, 0, len(ctypes.string_at(where)))
    os.environ.pop(name, None)
    return value


def owner_of(user: str | None, uid: int | None) -> Owner:
    """Return the user that runs the sessions, by name or number; our own if both are None.

    A child process tries to become that user. Raises `InvalidArgument` if it can't.
    """
    if user is None and uid is None:
        return SAME_USER
    if user is not None and uid is not None:
        msg = "give a user by name or by number, not both"
        raise InvalidArgument(msg)
    try:
        entry = pwd.getpwuid(uid) if user is None and uid is not None else pwd.getpwnam(user or "")
    except KeyError:
        if uid is None:
            msg = f"there is no user {user!r}"
            raise InvalidArgument(msg) from None
        # A container may have a uid without a name.
        entry = pwd.struct_passwd((str(uid), "x", uid, uid, "", "/", "/bin/sh"))
    if entry.pw_uid == 0:
        msg = "sessions that run as root are not separated: name another user"
        raise InvalidArgument(msg)
    if entry.pw_uid == os.geteuid():
        msg = f"this daemon runs as {entry.pw_name} itself: name another user, or none"
        raise InvalidArgument(msg)
    return _tried(entry)


def _tried(entry: pwd.struct_passwd) -> Owner:
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    failed = _try(entry, groups)
    if failed == _MAY_NOT_BECOME:
        msg = (
            f"this daemon may not run sessions as {entry.pw_name} (uid {entry.pw_uid}): that needs"
            " root, or CAP_SETUID and CAP_SETGID"
        )
        raise InvalidArgument(msg)
    return Owner(
        Attributes(uid=entry.pw_uid, gid=entry.pw_gid, groups=tuple(groups)),
        {
            **{
                name: value
                for name, value in os.environ.items()
                if name in _KEPT or name.startswith("LC_")
            },
            "HOME": entry.pw_dir,
            "USER": entry.pw_name,
            "LOGNAME": entry.pw_name,
            "SHELL": entry.pw_shell or "/bin/sh",
        },
        "/" if failed else entry.pw_dir,
    )


def _try(entry: pwd.struct_passwd, groups: list[int]) -> int:
    """Let a child process become a user and enter its home; return what failed, 0 if nothing."""
    child = os.fork()
    if child == 0:
        code = _MAY_NOT_BECOME
        try:
            os.setgroups(groups)
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
            code = _MAY_NOT_ENTER
            os.chdir(entry.pw_dir)
            code = 0
        except OSError:
            pass
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
