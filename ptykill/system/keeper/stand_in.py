"""An order for a leader that can't be executed: it warms up the code of a start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ptykill.system.kernel import syscalls
from ptykill.system.kernel.session_leader import Order

__all__ = ["stand_in"]

_ORDER: Order = {
    "args": [],
    "env": {b"PATH": b"/proc/self:/proc/self/fd"},
    "cwd": b"/",
    "uid": None,
    "gid": None,
    "groups": None,
    "umask": None,
    "limits": None,
    "nice": None,
    "death_signal": None,
    "cgroup": None,
}
"""A program by its name, which is looked for in two folders."""


@contextmanager
def stand_in() -> Iterator[tuple[Order, list[int]]]:
    """Hold an order, and the descriptors that go with it. Raises OSError."""
    # A file with the right to be executed, and a NUL: neither a program nor a script (ENOEXEC).
    program = syscalls.anonymous_file()
    root = -1
    try:
        root = os.open("/", os.O_PATH)
        os.write(program, b"\0")
        yield {**_ORDER, "args": [b"%d" % program]}, [program, root]
    finally:
        os.close(program)
        if root >= 0:
            os.close(root)
