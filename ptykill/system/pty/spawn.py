"""Starts a session leader on a terminal, without forking the host.

Every way to start it follows these rules:

- The child becomes a session leader with the terminal as its controlling terminal and as its
  descriptors 0, 1 and 2. If the command has a standard input, that is 0. All others are closed.
- Every signal disposition is the default and nothing is blocked: a host under ``nohup`` ignores
  SIGHUP, and what is ignored stays ignored across execve(2), which would make its sessions deaf.
- The host's memory is not copied: fork(2) takes time in proportion to it.
- A failure is raised as `SpawnError` with the kernel's errno, and leaves no process behind.
"""

from __future__ import annotations

from ptykill.errors import SpawnError
from ptykill.rules.command import Command
from ptykill.system.kernel import posix_spawn as posix
from ptykill.system.kernel.session_leader import StartFailed, is_plain, start_leader_by_posix_spawn
from ptykill.system.pty import spawn_stub
from ptykill.system.pty.order import order, spawn_error, standard_input
from ptykill.system.pty.terminal import PtyTerminal

__all__ = ["spawn"]


async def spawn(command: Command, terminal: PtyTerminal) -> int:
    """Start ``command`` as the leader of a session on ``terminal``; return its pid, unreaped."""
    ordered = order(command)
    try:
        if is_plain(ordered) and posix.available():
            path = posix.terminal_path(terminal.slave)
            if path is not None:
                with standard_input(command) as stdin:
                    return start_leader_by_posix_spawn(ordered, path, None, *stdin)
        return await spawn_stub.start(ordered, command, terminal.slave)
    except StartFailed as failure:
        raise spawn_error(failure.errno, failure.stage, command) from None
    except SpawnError:
        raise
    except OSError as error:  # No descriptors or processes to do it with.
        raise spawn_error(error.errno, "exec", command) from error
