"""Starts a leader by the C library's posix_spawn(3): one call, a fifth of a millisecond.

`os.posix_spawn` lacks the two file actions that are needed, fchdir and closefrom (glibc 2.29 and
2.34), so the C function is called through ctypes. glibc runs the child on the parent's memory
until it execs (CLONE_VM | CLONE_VFORK), whatever the size of the parent. Descriptor 0 is *opened*,
not duplicated: a session leader without a controlling terminal gets the first one that it opens
(tty_ioctl(4), TIOCSCTTY).
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["available", "start", "terminal_path"]

_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80  # <spawn.h> of glibc, the same everywhere
_OPAQUE = 1024
"""More bytes than any of the C library's opaque types has (glibc: 80, 336 and 128)."""
_NEEDED = (
    "gnu_get_libc_version",  # The flags' values, and the way of the child, are glibc's.
    "posix_spawn_file_actions_addclosefrom_np",
    "posix_spawn_file_actions_addfchdir_np",
)


@functools.cache
def _c_library() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if all(hasattr(library, name) for name in _NEEDED) else None


def available() -> bool:
    """Return whether the C library has the functions that `start` needs."""
    return _c_library() is not None


def terminal_path(terminal: int) -> bytes | None:
    """Return a path by which a child of ours can open the slave that we hold; None if none does.

    By descriptor rather than by name: a container's /dev/pts may be another one than the slave's. A
    minimal one has no /dev/fd, or a procfs of another pid namespace behind it.
    """
    path = b"/dev/fd/%d" % terminal
    try:
        found, ours = os.stat(path), os.fstat(terminal)
    except OSError:
        return None
    same = (found.st_dev, found.st_ino, found.st_rdev) == (ours.st_dev, ours.st_ino, ours.st_rdev)
    return path if same else None


def start(  # noqa: PLR0913, PLR0917 - as the C function has them
    program: bytes,
    arguments: Sequence[bytes],
    environment: Mapping[bytes, bytes],
    terminal: bytes,
    directory: int | None,
    stdin: int | None = None,
) -> int:
    """Start a session's leader on a terminal, in a directory; return its pid. Raises OSError.

    ``terminal`` is the path of the slave (`terminal_path`);
    ``stdin`` takes its place as descriptor 0; it is none of 0, 1 and 2.
    """
    pid = ctypes.c_int()
    variables = [name + b"=" + value for name, value in environment.items()]
    actions = ctypes.create_string_buffer(_OPAQUE)
    _call("posix_spawn_file_actions_init", actions)
    try:
        _call("posix_spawn_file_actions_addopen", actions, 0, terminal, os.O_RDWR, 0)
        for fd in 1, 2:
            _call("posix_spawn_file_actions_adddup2", actions, 0, fd)
        if stdin is not None:  # Only now: the terminal has to be opened first.
            _call("posix_spawn_file_actions_adddup2", actions, stdin, 0)
        if directory is not None:
            _call("posix_spawn_file_actions_addfchdir_np", actions, directory)
        _call("posix_spawn_file_actions_addclosefrom_np", actions, 3)
        _call(
            "posix_spawn",
            ctypes.byref(pid),
            program,
            actions,
            _attributes(),
            _strings(arguments),
            _strings(variables),
        )
    finally:
        _call("posix_spawn_file_actions_destroy", actions)
    return pid.value


@functools.cache
def _attributes() -> ctypes.Array[ctypes.c_char]:
    """Return the attributes of every leader: a session, no signal ignored, none blocked."""
    attributes, signals, none = (ctypes.create_string_buffer(_OPAQUE) for _ in range(3))
    _call("sigfillset", signals)
    _call("sigemptyset", none)
    _call("posix_spawnattr_init", attributes)
    flags = ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID)
    _call("posix_spawnattr_setflags", attributes, flags)
    _call("posix_spawnattr_setsigdefault", attributes, signals)
    _call("posix_spawnattr_setsigmask", attributes, none)
    return attributes


def _call(name: str, *arguments: object) -> None:
    """Call a C function that returns an errno."""
    library = _c_library()
    assert library is not None
    function: Callable[..., Any] = getattr(library, name)
    number = function(*arguments)
    if number:
        raise OSError(number, os.strerror(number))


def _strings(strings: Sequence[bytes]) -> object:
    return (ctypes.c_char_p * (len(strings) + 1))(*strings, None)
