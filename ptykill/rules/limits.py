"""The limits of a whole session, which its cgroup enforces, and the operator's caps on them."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from ptykill.errors import LimitAboveCap
from ptykill.rules import validate

__all__ = ["NO_LIMITS", "SessionLimits"]

N = TypeVar("N", int, float)

_LEAST_MEMORY = 1 << 16
"""Bytes: no program starts with less."""
_MOST_MEMORY = 2**62
_MOST_PIDS = 4_194_304
"""The kernel refuses more (PID_MAX_LIMIT, proc(5), pid_max)."""
_LEAST_CPU, _MOST_CPU = 0.01, 65_536.0
"""Processors: the kernel takes no quota below 1 ms, and ours is one of each 100 ms."""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionLimits:
    """What all processes of a session may use together; None for no limit.

    ``memory_max`` is in bytes, ``pids_max`` counts processes and threads, ``cpu_max`` is in
    processors (1.5: one and a half). Raises `InvalidArgument`.
    """

    memory_max: int | None = None
    pids_max: int | None = None
    cpu_max: float | None = None

    def __post_init__(self) -> None:
        if self.memory_max is not None:
            validate.whole("memory_max", self.memory_max, _LEAST_MEMORY, _MOST_MEMORY)
        if self.pids_max is not None:
            validate.whole("pids_max", self.pids_max, 1, _MOST_PIDS)
        if self.cpu_max is not None:
            checked = validate.number("cpu_max", self.cpu_max, _LEAST_CPU, _MOST_CPU)
            object.__setattr__(self, "cpu_max", checked)

    def __bool__(self) -> bool:
        """Return whether there is any limit."""
        return not (self.memory_max is None and self.pids_max is None and self.cpu_max is None)

    @property
    def controllers(self) -> tuple[str, ...]:
        """The cgroup controllers that enforce them (cgroups(7))."""
        limits = (("memory", self.memory_max), ("pids", self.pids_max), ("cpu", self.cpu_max))
        return tuple(name for name, limit in limits if limit is not None)

    def within(self, caps: SessionLimits) -> SessionLimits:
        """Return these limits, and the cap where there is none. Raises `LimitAboveCap`."""
        return SessionLimits(
            _within("memory_max", self.memory_max, caps.memory_max),
            _within("pids_max", self.pids_max, caps.pids_max),
            _within("cpu_max", self.cpu_max, caps.cpu_max),
        )


NO_LIMITS = SessionLimits()


def _within(name: str, limit: N | None, cap: N | None) -> N | None:
    if limit is None or cap is None:
        return cap if limit is None else limit
    if limit > cap:
        raise LimitAboveCap(name, limit, cap)
    return limit
