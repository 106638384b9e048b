"""Bare forkpty(3), by Python's `pty.fork`."""

from __future__ import annotations

import os
import pty

from benchmarks.systems import ENVIRONMENT, Program, Session, System, stateless
from benchmarks.systems.posix_spawn import BareSession

__all__ = ["systems"]


def systems() -> list[System]:
    """Return the one system."""
    return [stateless("pty.fork", spawn)]


async def spawn(program: Program) -> Session:
    """Return as soon as there is a child, executed or not."""
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(program.argv[0], program.argv, ENVIRONMENT)
    return BareSession(pid, master)
