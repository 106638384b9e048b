"""What a session has used of the machine: processor time, memory, processes."""

from __future__ import annotations

import dataclasses

__all__ = ["NOTHING_KNOWN", "Usage"]


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of one session have used; None for what is not known.

    Times are in seconds, memory in bytes. A session with a limit (`Attributes`) has a cgroup of its
    own, which counts everything. Otherwise

    - with a keeper, processor time is that of all processes of the session, as wait(2) reports it.
      A process whose parent ignores SIGCHLD is not counted (getrusage(2), RUSAGE_CHILDREN);
    - without a keeper, it is that of the leader and of the processes that it has waited for, in
      steps of 10 ms until its end.
    """

    user_seconds: float | None = None
    """Processor time in user mode."""
    system_seconds: float | None = None
    """Processor time in the kernel."""
    peak_memory: int | None = None
    """The most memory of the whole session at once (``memory.peak``, Linux 5.19). It has the page
    cache and the kernel's memory too. Only of a session with a limit."""
    largest_process: int | None = None
    """The most memory of one process (getrusage(2), ``ru_maxrss``), known after the end. The
    kernel's figure of the leader begins with the size of the process that has started it, so a
    session of smaller processes has None."""
    peak_tasks: int | None = None
    """The most processes and threads at once (``pids.peak``), of a session with a limit."""
    oom_kills: int | None = None
    """How many processes the kernel's out-of-memory killer has killed (``memory.events``)."""
    forks_refused: int | None = None
    """How often ``pids_max`` has refused a process or a thread (``pids.events``)."""
    throttled_seconds: float | None = None
    """How long ``cpu_max`` has held processes back (``cpu.stat``)."""

    @property
    def cpu_seconds(self) -> float | None:
        """Processor time, in user mode and in the kernel."""
        if self.user_seconds is None or self.system_seconds is None:
            return None
        return self.user_seconds + self.system_seconds

    def known(self) -> dict[str, float]:
        """Return what is known, by name; times to the microsecond, as the kernel has them."""
        fields = dataclasses.asdict(self).items()
        return {name: round(value, 6) for name, value in fields if value is not None}


NOTHING_KNOWN = Usage()
