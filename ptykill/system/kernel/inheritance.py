"""Reads what a child would inherit from this process, and other processes can have changed.

A process of the same user can change another one's limits (prlimit(2)), its scheduling
(sched_setattr(2), sched_setaffinity(2), ioprio_set(2)), and its parent's session keyring
(keyctl(2), KEYCTL_SESSION_TO_PARENT). One of root's can move it to another cgroup, and write to its
files in /proc. To change anything else it has to trace the process (ptrace(2)).
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from ptykill.system.kernel.procfs import read_proc

__all__ = ["inherited_state"]

_GENERIC = 275, 31, 219
_NUMBERS = {"x86_64": (315, 252, 250), "aarch64": _GENERIC, "riscv64": _GENERIC}
"""The numbers of sched_getattr, ioprio_get and keyctl: Python and the C library lack them."""
_SCHED_ATTR = 56
"""Bytes of struct sched_attr since Linux 5.3: policy, nice, priority, deadlines, clamps."""
_IOPRIO_WHO_PROCESS = 1
_KEYCTL_GET_KEYRING_ID, _SESSION_KEYRING = 0, -3
_LIMITS = sorted({getattr(resource, name) for name in vars(resource) if name.startswith("RLIMIT_")})

_library = ctypes.CDLL(None, use_errno=True)


def inherited_state(own_cgroup: bytes = b"") -> tuple[object, ...] | None:
    """Return the inherited state, to compare with an earlier one; None if it can't be read.

    ``own_cgroup`` is the name of a cgroup that may be another one each time. Raises OSError.
    """
    numbers = _NUMBERS.get(os.uname().machine) if sys.maxsize > 2**32 else None
    if numbers is None:
        return None
    sched_getattr, ioprio_get, keyctl = numbers
    scheduling = ctypes.create_string_buffer(_SCHED_ATTR)
    return (
        _call(sched_getattr, 0, scheduling, _SCHED_ATTR, 0),
        scheduling.raw,
        _call(ioprio_get, _IOPRIO_WHO_PROCESS, 0),
        _call(keyctl, _KEYCTL_GET_KEYRING_ID, _SESSION_KEYRING, 0),
        os.sched_getaffinity(0),
        [resource.getrlimit(limit) for limit in _LIMITS],
        read_proc("self/cgroup").replace(own_cgroup or b"/", b"/"),
        read_proc("self/oom_score_adj"),
        read_proc("self/coredump_filter"),
        read_proc("self/timerslack_ns"),
    )


def _call(number: int, *arguments: object) -> tuple[int, int]:
    """Make a system call; return its result and its errno, which a sandbox may decide."""
    ctypes.set_errno(0)
    return _library.syscall(number, *arguments), ctypes.get_errno()
