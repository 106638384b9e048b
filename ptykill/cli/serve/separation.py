"""Protects the daemon from the processes of its sessions.

Processes of one user may trace each other, and read each other's memory and environment (ptrace(2),
proc(5)). A daemon that is not dumpable is closed to all but root; sessions of another user are
closed out of much more. docs/separation.md says what each of them buys.
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
"""Variables of the daemon that sessions of another user get, beside LC_*; the rest is its own."""
_MAY_NOT_BECOME, _MAY_NOT_ENTER = 1, 2


def make_undumpable() -> None:
    """Let no process of our user trace this one, or read its memory and environment.

    Nor is there a core dump. Where the system knows nothing of it (prctl(2) is Linux's), nothing
    is done.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            syscalls.set_dumpable(False)


def pop_variable(name: str) -> str:
    """Return a variable, "" if there is none, and take it out of the environment.

    The kernel shows in /proc/PID/environ what a process was started with, wherever its variables
    have moved since; so the bytes there are overwritten too.
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
    """Return whose the sessions are to be: a user's, by name or number, or our own.

    It is tried whether we may become that user. Raises `InvalidArgument`.
    """
    if user is None and uid is None:
        return SAME_USER
    if user is not None and uid is not None:
        msg = "a user is given by its name, or by its number"
        raise InvalidArgument(msg)
    try:
        entry = pwd.getpwuid(uid) if user is None and uid is not None else pwd.getpwnam(user or "")
    except KeyError:
        if uid is None:
            msg = f"there is no user {user!r}"
            raise InvalidArgument(msg) from None
        # As a container may have it: a number without a name.
        entry = pwd.struct_passwd((str(uid), "x", uid, uid, "", "/", "/bin/sh"))
    if entry.pw_uid == 0:
        msg = "sessions of root are separated from nothing: name another user"
        raise InvalidArgument(msg)
    if entry.pw_uid == os.geteuid():
        msg = f"this daemon is {entry.pw_name} itself, and its sessions would be as without this"
        raise InvalidArgument(msg)
    return _tried(entry)


def _tried(entry: pwd.struct_passwd) -> Owner:
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    failed = _try(entry, groups)
    if failed == _MAY_NOT_BECOME:
        msg = (
            f"this daemon may not run sessions as {entry.pw_name} (uid {entry.pw_uid}): that takes"
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
    """Have a child become a user, and enter its home; return what failed, 0 if nothing did."""
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
