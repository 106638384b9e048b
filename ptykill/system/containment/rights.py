"""Whether the host has the rights that its warden was started with; asked before each spawn.

A session has its warden's rights. A host that has given up a right since the warden's start must
not hand it on, so it starts another warden. The mask for new files is no right, and may change
often: each order to a keeper has it.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable
from typing import TypeVar

from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.retry import again, close

__all__ = ["Rights"]

T = TypeVar("T")

_SELF = "thread-self"
"""Most rights are each thread's own (credentials(7), capabilities(7)): a child has this one's."""
_RIGHTS = re.compile(rb"^(?:Uid|Gid|Groups|Cap[A-Za-z]+|NoNewPrivs|Seccomp\w*):.*", re.MULTILINE)
_MASK = re.compile(rb"^Umask:\s*([0-7]+)", re.MULTILINE)
_PAGE = 16_384
_NAMESPACES = ("mnt", "net", "pid_for_children", "user")
_LIMITS = sorted({getattr(resource, name) for name in vars(resource) if name.startswith("RLIMIT_")})


class Rights:
    """The rights of the calling thread, now and later. Raises OSError.

    ``umask`` is its umask at the last read; None if the system does not report it. The files of
    /proc are kept open, since opening them takes longer than reading them.
    """

    def __init__(self) -> None:
        self.umask: int | None = None
        self._status = self._namespaces = -1
        try:
            # Without the reserve, which is for kills.
            self._status = _opened("status", os.O_RDONLY)
            self._namespaces = _opened("ns", os.O_RDONLY | os.O_DIRECTORY)
            self._then = self._now()
        except BaseException:
            self.close()
            raise

    def unchanged(self) -> bool:
        """Return whether the rights are the same as at first; takes some 40 microseconds."""
        return self._now() == self._then

    def close(self) -> None:
        """Close the descriptors. May be repeated."""
        held = self._status, self._namespaces
        self._status = self._namespaces = -1
        for fd in held:
            if fd >= 0:
                close(fd)

    def _now(self) -> tuple[object, ...]:
        status = b""
        if self._status >= 0:
            status = _ask(lambda: os.pread(self._status, _PAGE, 0)) or b""
        # The mask can be asked for in no other way without changing it for a moment (umask(2)).
        mask = _MASK.search(status)
        self.umask = None if mask is None else int(mask[1], 8)
        return (
            *_RIGHTS.findall(status),
            *self._namespace_links(),
            *(_ask(lambda: resource.getrlimit(limit)) for limit in _LIMITS),  # noqa: B023 - at once
            os.getresuid(),
            os.getresgid(),
            _ask(os.getgroups),
            _ask(lambda: os.getpriority(os.PRIO_PROCESS, 0)),
            _ask(_root),
        )

    def _namespace_links(self) -> list[str]:
        if self._namespaces < 0:
            return []
        try:
            return again(
                lambda: [os.readlink(name, dir_fd=self._namespaces) for name in _NAMESPACES]
            )
        except OSError:  # A kernel without such namespaces.
            return []


def _root() -> tuple[int, int]:
    root = os.stat("/")
    return root.st_dev, root.st_ino


def _ask(ask: Callable[[], T]) -> T | None:
    """Return what the kernel says; None if it does not, as in a sandbox that refuses the call.

    An answer that is there at one time and not at another counts as a change: another warden is
    no risk.
    """
    try:
        return again(ask)
    except (OSError, ValueError):  # getrlimit says ValueError for what it can't ask.
        return None


def _opened(name: str, how: int) -> int:
    """Open a file of this thread in /proc; -1 where there is none."""
    try:
        return again(lambda: proc.open(f"{_SELF}/{name}", how))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return -1
