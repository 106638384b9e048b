"""Makes the order for a session's leader from a `Command`, and explains a failed start."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from ptykill.errors import SpawnError
from ptykill.rules.command import Command, as_bytes
from ptykill.system.kernel.session_leader import Order
from ptykill.system.pty.environment import inherited

__all__ = ["SPAWN_TIMEOUT", "order", "spawn_error", "standard_input", "working_directory"]

SPAWN_TIMEOUT = 60.0
"""Seconds that a start may take: an exec can wait for a slow file system."""


def order(command: Command) -> Order:
    """Return the order for a command, as `kernel.session_leader` takes it."""
    attributes = command.attributes
    name = attributes.death_signal
    return {
        "args": [as_bytes(each) for each in command.args],
        "env": _environment(command),
        "cwd": None if command.cwd is None else as_bytes(command.cwd),
        "uid": attributes.uid,
        "gid": attributes.gid,
        "groups": attributes.groups,
        "umask": attributes.umask,
        "limits": attributes.limits and dict(attributes.limits),
        "nice": attributes.nice,
        "cgroup": None,
        "death_signal": None if name is None else int(signal.Signals[f"SIG{name}"]),
    }


def _environment(command: Command) -> dict[bytes, bytes]:
    if command.env is None:
        return inherited(command.cwd)
    return {as_bytes(name): as_bytes(value) for name, value in command.env.items()}


def spawn_error(number: int | None, stage: str, command: Command) -> SpawnError:
    """Return the error for a spawn that failed at a stage with the kernel's error number."""
    number = number or 5  # EIO
    name = command.cwd or "" if stage == "chdir" else command.args[0]
    return SpawnError(number, os.strerror(number), stage, name)


@contextmanager
def standard_input(command: Command) -> Iterator[list[int]]:
    """Hold a copy, above 2, of what is to be the leader's descriptor 0; none for the terminal.

    Above, since 0, 1 and 2 are given out before it. Raises `SpawnError`.
    """
    if command.stdin is None:
        yield []
        return
    try:
        copy = fcntl.fcntl(command.stdin, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError as error:
        raise spawn_error(error.errno, "exec", command) from error
    try:
        yield [copy]
    finally:
        os.close(copy)


@contextmanager
def working_directory(command: Command) -> Iterator[int]:
    """Hold the host's working directory, from which the leader starts. Raises `SpawnError`."""
    try:
        here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    except OSError as error:
        raise spawn_error(error.errno, "exec", command) from error
    try:
        yield here
    finally:
        os.close(here)
