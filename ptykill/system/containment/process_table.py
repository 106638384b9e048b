"""The protocol of a process table: the processes of a session, and the children of a process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from ptykill.rules.processor_time import ProcessorTime

__all__ = ["PidMark", "ProcessTable"]


class PidMark(NamedTuple):
    """Where the kernel was in giving out pids.

    ``last`` is the pid that it gave out last, ``at`` when that was read, in seconds since boot.
    """

    last: int
    at: float


class ProcessTable(Protocol):
    """The processes of this system."""

    def in_session(
        self, sid: int, *, afresh: bool = False, probe: range | None = None
    ) -> list[int]:
        """Return the pids of a session, its leader's included, perhaps dead ones too.

        ``afresh`` looks at each process again instead of trusting the look before. ``probe`` is for
        processes that are not listed: it asks about these pids instead. They are counted from the
        session's number on, in the order in which the kernel gives pids out.
        """

    @property
    def pids_to_probe(self) -> int:
        """How many pids there are to probe where this system hides processes; else 0."""

    def children(self, pid: int) -> list[int]:
        """Return the pids of a process's children."""

    def is_child(self, pid: int, of: int) -> bool:
        """Return whether a process is a child of another, which is there."""

    def processor_time(self, pids: Sequence[int]) -> ProcessorTime:
        """Return the processor time of some processes."""

    # --- pids that are given out again ------------------------------------------------------------

    def mark(self) -> PidMark | None:
        """Return the kernel's place in giving out pids; None if this system does not report it."""

    def pids_since(self, mark: PidMark, *, margin: int = 0) -> Collection[int]:
        """Return the pids given out since a recent mark, and so many before it."""

    def pids_between(self, mark: PidMark, later: PidMark) -> Collection[int]:
        """Return the pids given out between two recent marks."""

    def may_be_reused(self, pid: int, mark: PidMark) -> bool:
        """Return whether a pid may have been given out since the mark."""

    def started_before(self, pid: int, mark: PidMark) -> bool:
        """Return whether a process certainly started before the mark."""

    @property
    def tells_use(self) -> bool:
        """Whether this system reports which numbers are in use."""

    def in_use(self, number: int) -> bool:
        """Return whether a process, a process group or a session has this number.

        A number is free when no process has it as its pid, nor as that of its process group or
        session (credentials(7); Linux free_pid).
        """

    def close(self) -> None:
        """Close the descriptors."""
