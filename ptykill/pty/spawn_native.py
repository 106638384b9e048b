"""Spawning by the C library's posix_spawn(3): one call, a fifth of a millisecond, no helper.

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
import platform
from collections.abc import Callable, Sequence
from typing import Any, Self

from ptykill.command import Command
from ptykill.errors import SpawnError

__all__ = ["available", "start"]

_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80  # <spawn.h> of glibc, the same everywhere
_OPAQUE = 1024
"""More bytes than any of the C library's opaque types has (glibc: 80, 336 and 128)."""
_NEEDED = (
    "posix_spawn_file_actions_addclosefrom_np",
    "posix_spawn_file_actions_addfchdir_np",
)


@functools.cache
def _c_library() -> ctypes.CDLL | None:
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    return library if all(hasattr(library, name) for name in _NEEDED) else None


def available() -> bool:
    """Return whether the C library has what is needed."""
    return _c_library() is not None


def start(program: bytes, command: Command, slave: int, directory: int | None) -> int:
    """Start the leader; return its pid. Raises `SpawnError`."""
    pid = ctypes.c_int()
    arguments = _strings(command.args)
    environment = _strings([f"{name}={value}" for name, value in command.env.items()])
    with _Opaque("posix_spawn_file_actions") as actions, _Opaque("posix_spawnattr") as attributes:
        # By /dev/fd rather than by name: a container's /dev/pts may be another one than ours.
        actions("addopen", 0, f"/dev/fd/{slave}".encode(), os.O_RDWR, 0)
        actions("adddup2", 0, 1)
        actions("adddup2", 0, 2)
        if directory is not None:
            actions("addfchdir_np", directory)
        actions("addclosefrom_np", 3)
        attributes("setflags", ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID))
        attributes("setsigdefault", _signal_set("sigfillset"))
        attributes("setsigmask", _signal_set("sigemptyset"))
        number = _function("posix_spawn")(
            ctypes.byref(pid),
            program,
            actions.memory,
            attributes.memory,
            arguments,
            environment,
        )
    if number:
        raise SpawnError(number, os.strerror(number), "exec", command.args[0])
    return pid.value


class _Opaque:
    """One of posix_spawn's opaque objects, alive for the length of a block."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.memory = ctypes.create_string_buffer(_OPAQUE)

    def __call__(self, verb: str, *arguments: object) -> None:
        number = _function(f"{self._kind}_{verb}")(self.memory, *arguments)
        if number:
            raise SpawnError(number, os.strerror(number), "exec", "posix_spawn")

    def __enter__(self) -> Self:
        self("init")
        return self

    def __exit__(self, *_: object) -> None:
        self("destroy")


def _function(name: str) -> Callable[..., Any]:
    library = _c_library()
    assert library is not None
    function: Callable[..., Any] = getattr(library, name)
    return function


def _signal_set(fill: str) -> object:
    signals = ctypes.create_string_buffer(_OPAQUE)
    _function(fill)(signals)
    return signals


def _strings(strings: Sequence[str]) -> object:
    return (ctypes.c_char_p * (len(strings) + 1))(*map(os.fsencode, strings), None)
