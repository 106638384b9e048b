"""Starting a session leader on a terminal, without forking the host.

The rules, whichever way it is done:

- The child becomes a session leader with the terminal as its controlling terminal and as its
  descriptors 0, 1 and 2; every other descriptor is closed.
- Every signal disposition is the default and nothing is blocked: a host under ``nohup`` ignores
  SIGHUP, and what is ignored stays ignored across execve(2), which would make its sessions deaf.
- The host's memory is not copied: fork(2) takes time in proportion to it.
- A failure is raised as `SpawnError` with the kernel's errno, and leaves no process behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ptykill.command import Attributes, Command
from ptykill.errors import SpawnError
from ptykill.kernel.birth import find_program
from ptykill.pty import spawn_native, spawn_stub
from ptykill.pty.terminal import PtyTerminal

__all__ = ["spawn"]


async def spawn(command: Command, terminal: PtyTerminal) -> int:
    """Start ``command`` as the leader of a session on ``terminal``; return its pid, unreaped."""
    name = command.args[0]
    try:
        if not spawn_native.available() or command.attributes != Attributes():
            return await spawn_stub.start(command, terminal.slave)
        with _working_directory(command.cwd) as directory:
            program = find_program(
                os.fsencode(name),
                os.fsencode(command.env["PATH"]) if "PATH" in command.env else None,
                os.fsencode(command.cwd or ""),
            )
            return spawn_native.start(program, command, terminal.slave, directory)
    except SpawnError:
        raise
    except OSError as error:  # Not found; no descriptors or processes to do it with.
        number = error.errno or errno.EIO
        raise SpawnError(number, os.strerror(number), "exec", name) from error


@contextmanager
def _working_directory(path: str | None) -> Iterator[int | None]:
    """Hold the working directory open, so that what was checked is what the child enters."""
    if path is None:
        yield None
        return
    try:
        directory = os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    except OSError as error:
        number = error.errno or errno.EIO
        raise SpawnError(number, os.strerror(number), "chdir", path) from None
    try:
        if not os.access(".", os.X_OK, dir_fd=directory, effective_ids=True):
            raise SpawnError(errno.EACCES, os.strerror(errno.EACCES), "chdir", path)
        yield directory
    finally:
        os.close(directory)
