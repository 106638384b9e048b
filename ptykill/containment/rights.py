"""What this process may do, and hands on to whom it starts: asked before each birth.

A session is born of its warden, with what that was started with. A host that has given up a right
since then must not hand it on, so it takes another warden. The mask for new files is no such right,
and may change often: it is told to the keeper with each order.
"""

from __future__ import annotations

import os
import re
import resource
from typing import NamedTuple

__all__ = ["Rights"]

_SELF = "/proc/thread-self"
"""Most of it is each thread's own (credentials(7), capabilities(7)): that of ours is handed on."""
_RIGHTS = re.compile(rb"^(?:Uid|Gid|Groups|Cap[A-Za-z]+|NoNewPrivs|Seccomp\w*):.*", re.MULTILINE)
_MASK = re.compile(rb"^Umask:\s*([0-7]+)", re.MULTILINE)
_PAGE = 16_384
_NAMESPACES = ("mnt", "net", "pid_for_children", "user")
_LIMITS = sorted({getattr(resource, name) for name in vars(resource) if name.startswith("RLIMIT_")})


class Rights(NamedTuple):
    """The rights of this thread, to be compared, and its mask for new files, if it can be told."""

    all: tuple[object, ...]
    umask: int | None

    @classmethod
    def now(cls) -> Rights:
        """Return what they are now, in some 40 microseconds. Raises OSError (EMFILE)."""
        # The mask can be asked for in no other way without changing it for a moment (umask(2)).
        status, namespaces = _told()
        mask = _MASK.search(status)
        root = os.stat("/")
        return cls(
            (
                *_RIGHTS.findall(status),
                *namespaces,
                *map(resource.getrlimit, _LIMITS),
                os.getresuid(),
                os.getresgid(),
                os.getgroups(),
                os.getpriority(os.PRIO_PROCESS, 0),
                (root.st_dev, root.st_ino),
            ),
            None if mask is None else int(mask[1], 8),
        )


def _told() -> tuple[bytes, list[str]]:
    """Return what /proc says of this thread: nothing where it says nothing."""
    # By no means at the cost of the reserve, which is for kills.
    try:
        with open(f"{_SELF}/status", "rb", 0) as status:
            said = status.read(_PAGE)
        folder = os.open(f"{_SELF}/ns", os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return b"", []
    try:
        return said, [os.readlink(name, dir_fd=folder) for name in _NAMESPACES]
    except OSError:  # A kernel without such namespaces.
        return said, []
    finally:
        os.close(folder)
