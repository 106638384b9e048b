"""A session's cgroup that has limits: makes it, and reads what the session has used.

Each such session has a new cgroup, since its counters can't be set back (cgroup-v2.rst). Its
parent has no process of its own (cgroups(7), "no internal processes").
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple, TypeAlias

from ptykill.system.kernel.cgroup import Cgroup, write
from ptykill.system.kernel.procfs import read_file

__all__ = [
    "CONTROLLERS",
    "Limits",
    "UsageFigures",
    "counted_usage",
    "create_limited",
    "set_limits",
    "set_pids_max",
]

CONTROLLERS = ("memory", "pids", "cpu")
MOST_PIDS = 4_194_304
"""The kernel refuses a higher limit (PID_MAX_LIMIT, proc(5), pid_max)."""
_PERIOD = 100_000
"""Microseconds: the kernel's default for ``cpu.max``."""

UsageFigures: TypeAlias = tuple[
    float | None,
    float | None,
    int | None,
    int | None,
    int | None,
    int | None,
    int | None,
    float | None,
]
"""The fields of `Usage`, as they are sent."""


class Limits(NamedTuple):
    """The limits of one session, as they are sent to its keeper, and where to make its cgroup.

    ``refuge`` is the cgroup to which strangers in it are moved.
    """

    parent: str
    refuge: str
    memory_max: int | None
    pids_max: int | None
    cpu_max: float | None


def create_limited(limits: Limits) -> Cgroup:
    """Make a cgroup that has these limits. Raises OSError, and then it is not there."""
    cgroup = Cgroup.create(limits.parent, limits.refuge)
    try:
        set_limits(cgroup, limits)
    except BaseException:
        cgroup.remove()
        cgroup.close()
        raise
    return cgroup


def set_limits(cgroup: Cgroup, limits: Limits, others: int = 0) -> None:
    """Set the limits of a session; ``others`` are processes inside that are not counted.

    With a limit of its memory, a session has no swap, which it could use beyond that. Running out
    of memory kills all of the session: an ended member would leave the others in a state that no
    program expects (cgroup-v2.rst, memory.oom.group). Raises OSError.
    """
    if limits.memory_max is not None:
        write(f"{cgroup.path}/memory.max", str(limits.memory_max))
        write(f"{cgroup.path}/memory.oom.group", "1")
        with suppress(FileNotFoundError):  # No CONFIG_SWAP.
            write(f"{cgroup.path}/memory.swap.max", "0")
    if limits.pids_max is not None:
        set_pids_max(cgroup, limits.pids_max + others)
    if limits.cpu_max is not None:
        write(f"{cgroup.path}/cpu.max", f"{round(limits.cpu_max * _PERIOD)} {_PERIOD}")


def set_pids_max(cgroup: Cgroup, most: int | None) -> None:
    """Set the limit of processes and threads, if there is one. Raises OSError."""
    if most is not None:
        write(f"{cgroup.path}/pids.max", str(min(most, MOST_PIDS)))


def counted_usage(path: str) -> UsageFigures:
    """Return what has been used in a cgroup since it was made; None for what it does not count."""
    cpu = _numbers(f"{path}/cpu.stat")
    throttled = cpu.get(b"throttled_usec")
    return (
        _seconds(cpu.get(b"user_usec")),
        _seconds(cpu.get(b"system_usec")),
        _number(f"{path}/memory.peak"),
        None,
        _number(f"{path}/pids.peak"),
        _numbers(f"{path}/memory.events").get(b"oom_kill"),
        _numbers(f"{path}/pids.events").get(b"max"),
        _seconds(throttled),
    )


def _numbers(path: str) -> dict[bytes, int]:
    """Return the numbers of a file that has a name and a number in each line."""
    return {name: int(number) for name, number in map(bytes.split, read_file(path).splitlines())}


def _number(path: str) -> int | None:
    text = read_file(path).strip()
    return int(text) if text.isdigit() else None


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6
