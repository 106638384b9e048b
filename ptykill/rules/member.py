"""A member of a session, as it was at one moment."""

from __future__ import annotations

import dataclasses

__all__ = ["Member"]


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A process of a session, in the words of ps(1).

    None stands for what the host may not read: the process of another user, where ``/proc`` is
    mounted with ``hidepid`` (proc(5)).

    ``parent`` is the parent's pid. ``state`` is the kernel's letter (``R`` runs, ``S`` sleeps,
    ``D`` sleeps uninterruptibly, ``T`` is stopped, ``t`` is traced, ``Z`` is a zombie …);
    ``started_at`` is in seconds since the epoch. ``command`` is the command line, its arguments
    separated by spaces, at most 4096 characters; or the name in brackets, if the process has no
    command line, as a zombie, or it can't be read now. It may have control characters: escape them
    before you print it. ``user`` is the name of the effective user, or its number as a text.
    ``cpu_seconds`` is the processor time of all its threads, without that of its children;
    ``memory`` is the resident memory in bytes.

    ``foreground``: it is in the terminal's foreground process group. ``escaped``: it has left the
    POSIX session (setsid(2)), so that it has another controlling terminal or none.
    """

    pid: int
    parent: int | None
    state: str | None
    started_at: float | None
    command: str | None
    user: str | None
    cpu_seconds: float | None
    memory: int | None
    foreground: bool
    escaped: bool
