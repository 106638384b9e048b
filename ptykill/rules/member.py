"""A member of a session, as it was at one moment."""

from __future__ import annotations

import dataclasses

__all__ = ["Member"]


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A process of a session, in the words of ps(1).

    None stands for what the host may not read: the process of another user, where ``/proc`` is
    mounted with ``hidepid`` (proc(5)).
    """

    pid: int
    """Its pid."""
    parent: int | None
    """Its parent's pid."""
    state: str | None
    """The kernel's letter: ``R`` runs, ``S`` sleeps, ``D`` sleeps uninterruptibly, ``T`` is
    stopped, ``t`` is traced, ``Z`` is a zombie …"""
    started_at: float | None
    """When it started, in seconds since the epoch."""
    command: str | None
    """Its command line, the arguments separated by spaces, at most 4096 characters; or its name in
    brackets, if it has no command line, as a zombie, or it can't be read now. It may have control
    characters: escape them before you print it."""
    user: str | None
    """The name of its effective user, or its number as a text."""
    cpu_seconds: float | None
    """The processor time of all its threads, in seconds, without that of its children."""
    memory: int | None
    """Its resident memory in bytes."""
    foreground: bool
    """Whether it is in the terminal's foreground process group."""
    escaped: bool
    """Whether it has left the POSIX session (setsid(2)), so that it has another controlling
    terminal or none."""
