"""The systems that are compared: one module each, behind one protocol.

A module has a function ``systems`` that returns what it offers. It is imported only when it is
wanted: a peer that is not installed raises `ImportError`, one that can't run here `Unavailable`,
and either way it is skipped and named.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import trio

__all__ = [
    "ENVIRONMENT",
    "PROGRAMS",
    "TERMINATORS",
    "TIERS",
    "Program",
    "Session",
    "Spawn",
    "System",
    "Unavailable",
    "load",
    "read_terminal",
    "ready",
    "stateless",
]

TIERS = ("ptykill_tier:session", "ptykill_tier:keeper", "ptykill_tier:cgroup")
TERMINATORS = ("floor", "trio_process", "pty_process", *TIERS)
"""The modules whose teardown is compared, each with what its ``systems`` is told, if anything."""

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/",
    "TERM": "dumb",
    "LC_ALL": "C",
    "PS1": "ready> ",
    "HISTFILE": "",  # An interactive bash would write its history as it goes.
    "INPUTRC": "/dev/null",
}
"""What every session gets, whoever spawns it."""

QUIET = 0.005
"""Seconds without output after which a session that is up counts as ready."""
READY_BOUND = 10.0
"""Seconds within which it has to be."""


@dataclass(frozen=True, slots=True)
class Program:
    """What runs in a session; it is up when it has become ``comm`` and printed its ``prompt``."""

    argv: tuple[str, ...]
    comm: str
    prompt: bytes = b""


PROGRAMS = {
    "sleep": Program(("sleep", "60"), "sleep"),
    "bash": Program(("bash", "--norc", "--noprofile", "-i"), "bash", b"ready> "),
    "deaf": Program(("sh", "-c", "trap '' HUP; exec sleep 60"), "sleep"),
}


class Session(Protocol):
    """One session that a system has spawned."""

    @property
    def pid(self) -> int:
        """The leader's pid."""

    async def read(self, within: float) -> bytes:
        """Return output of the terminal, ``b""`` if none comes within so many seconds."""

    async def end(self, grace: float) -> int:
        """End the session politely, and after ``grace`` (seconds) by force, as the system does.

        Returns nanoseconds of the monotonic clock, from the call until the leader is dead and
        reaped. Whatever else there is to release is released when that clock has stopped.
        """


Spawn = Callable[[Program], Awaitable[Session]]
"""Spawns a program on a terminal of its own, with `ENVIRONMENT`: the bare call."""


async def end_side_by_side(sessions: Sequence[Session], grace: float) -> int:
    """End all of them at once; return nanoseconds until the last is over."""
    start = time.perf_counter_ns()
    async with trio.open_nursery() as nursery:
        for session in sessions:
            nursery.start_soon(session.end, grace)
    return time.perf_counter_ns() - start


@dataclass(frozen=True, slots=True)
class System:
    """One way to spawn sessions and end them; ``open`` holds what it needs meanwhile.

    ``end_all`` ends many that it has spawned, all at once.
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[Spawn]]
    end_all: Callable[[Sequence[Session], float], Awaitable[int]] = end_side_by_side


def stateless(name: str, spawn: Spawn) -> System:
    """Return a system that needs nothing beside its sessions."""
    return System(name, lambda: nullcontext(spawn))


class Unavailable(Exception):
    """A system can't run here; the message says why."""


def load(modules: Iterable[str]) -> tuple[list[System], dict[str, str]]:
    """Return the systems of ``modules``, and for each module that is skipped the reason."""
    found: list[System] = []
    skipped: dict[str, str] = {}
    for module in modules:
        try:
            name, _, argument = module.partition(":")
            found += import_module(f"{__name__}.{name}").systems(*filter(None, [argument]))
        except (ImportError, Unavailable) as error:
            skipped[module] = str(error)
    return found, skipped


async def ready(session: Session, program: Program) -> None:
    """Wait until ``program`` is up and quiet: one criterion for all."""
    bound = time.monotonic() + READY_BOUND
    seen = b""
    while comm(session.pid) != program.comm:
        check(bound, f"{program.argv} has not been executed")
        await trio.sleep(QUIET / 10)
    while program.prompt not in seen:
        check(bound, f"no prompt in {seen!r}")
        seen += await session.read(QUIET)
    while await session.read(QUIET):
        check(bound, "it does not become quiet")


def comm(pid: int) -> str:
    """Return what a process has last executed, by its short name."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def check(bound: float, problem: str) -> None:
    """Raise `TimeoutError` once the monotonic clock has passed ``bound``."""
    if time.monotonic() > bound:
        raise TimeoutError(problem)


def read_terminal(master: int, within: float) -> bytes:
    """Return what a terminal's master has to read, ``b""`` if nothing comes in time."""
    poll = select.poll()
    poll.register(master, select.POLLIN)
    if not poll.poll(within * 1000):
        return b""
    try:
        return os.read(master, 65_536)
    except OSError:  # EIO: nobody holds the slave.
        return b""
