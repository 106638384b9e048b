"""The systems that are compared: one module each, behind one protocol.

A module has a function ``systems`` that returns what it offers, and ``LOOP = "asyncio"`` if it does
not run on trio. It is imported only when it is wanted: a peer that is not installed raises
`ImportError`, one that can't run here `Unavailable`, and either way it is skipped and named.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol

from benchmarks.loops import together

__all__ = [
    "ENVIRONMENT",
    "PEERS",
    "PROGRAMS",
    "TERMINATORS",
    "TIERS",
    "Program",
    "Session",
    "Span",
    "Spawn",
    "System",
    "Unavailable",
    "check",
    "comm",
    "load",
    "loop_of",
    "read_terminal",
    "ready",
    "stateless",
]

TIERS = ("ptykill_tier:session", "ptykill_tier:keeper", "ptykill_tier:cgroup")
PEERS = (
    "trio_process",
    "asyncio_process",
    "go_exec",
    "node_pty",
    "psutil_recipe",
    "pty_process",
    "pexpect_spawn",
    "terminado_manager",
    "tmux",
    "timeout",
)
TERMINATORS = ("floor", "bare_python", *TIERS, *PEERS)
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
READY_BOUND = 20.0
"""Seconds within which it has to be."""


@dataclass(frozen=True, slots=True)
class Program:
    """What runs in a session; it is up when it has become ``comm`` and printed its ``prompt``.

    A name in ``needs`` has to be on PATH. It starts so many ``jobs``, all of which become sleep.
    """

    argv: tuple[str, ...]
    comm: str
    prompt: bytes = b""
    needs: str = ""
    jobs: int = 0


BASH = ("bash", "--norc", "--noprofile", "-i")
PYTHON = str(Path(sys.executable).resolve())
DEAF = 'trap "" HUP INT TERM; exec sleep 60'
"""Deaf to all but SIGKILL."""


def tree(jobs: int, deaf: int) -> Program:
    """Return an interactive bash that starts jobs, each in a group of its own, and then prompts."""
    start = f"unset PROMPT_COMMAND; for i in {{1..{jobs - deaf}}}; do sleep 60 & done"
    if deaf:
        start += f"; for i in {{1..{deaf}}}; do sh -c '{DEAF}' & done"
    argv = ("env", f"PROMPT_COMMAND={start}", *BASH)
    return Program(argv, "bash", b"ready> ", jobs=jobs)


TREES = {
    f"tree {jobs}{', half deaf' * bool(deaf)}": tree(jobs, deaf)
    for jobs in (10, 100)
    for deaf in (0, jobs // 2)
}
PROGRAMS = {
    "sleep": Program(("sleep", "60"), "sleep"),
    "cat": Program(("cat",), "cat"),
    "bash": Program(BASH, "bash", b"ready> "),
    "python": Program((PYTHON, "-I", "-q", "-i"), Path(PYTHON).name[:15], b">>> "),
    "vim": Program(("vim", "-u", "NONE", "-N", "-n"), "vim", needs="vim"),
    "deaf": Program(("sh", "-c", f"printf ready; {DEAF}"), "sleep", b"ready"),
    "first byte": Program(("sh", "-c", "printf x; exec sleep 60"), "sleep"),
    **TREES,
}


class Span(NamedTuple):
    """When an end was called for, and when it was told that it is over (monotonic, ns)."""

    start: int
    stop: int


class Session(Protocol):
    """One session that a system has spawned."""

    @property
    def pid(self) -> int:
        """The program's pid."""

    async def read(self, within: float) -> bytes:
        """Return output of the terminal, ``b""`` if none comes within so many seconds."""

    async def end(self, grace: float) -> Span:
        """End the session politely, and after ``grace`` (seconds) by force, as the system does.

        The clock starts with the call and stops when it has returned what it has to say. Whatever
        else there is to release is released after that.
        """


Spawn = Callable[[Program], Awaitable[Session]]
"""Spawns a program on a terminal of its own, with `ENVIRONMENT`: the bare call."""


async def end_side_by_side(sessions: Sequence[Session], grace: float) -> Span:
    """End all of them at once."""
    start = time.perf_counter_ns()
    await together(partial(session.end, grace) for session in sessions)
    return Span(start, time.perf_counter_ns())


@dataclass(frozen=True, slots=True)
class System:
    """One way to spawn sessions and end them; ``open`` holds what it needs meanwhile.

    ``end_all`` ends many that it has spawned, all at once.
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[Spawn]]
    end_all: Callable[[Sequence[Session], float], Awaitable[Span]] = end_side_by_side


def stateless(name: str, spawn: Spawn) -> System:
    """Return a system that needs nothing beside its sessions."""
    return System(name, lambda: nullcontext(spawn))


class Unavailable(Exception):
    """A system can't run here; the message says why."""


def load(modules: Iterable[str]) -> tuple[list[System], dict[str, str]]:
    """Return the systems of ``modules``, and for each module that is skipped the reason."""
    found: list[System] = []
    skipped: dict[str, str] = {}
    for name in modules:
        try:
            module, arguments = imported(name)
            found += module.systems(*arguments)
        except (ImportError, Unavailable) as error:
            skipped[name] = str(error)
    return found, skipped


def loop_of(modules: Iterable[str]) -> str:
    """Return the one loop that all of these modules run on."""
    loops = set()
    for name in modules:
        with suppress(ImportError):
            loops.add(getattr(imported(name)[0], "LOOP", "trio"))
    return loops.pop() if len(loops) == 1 else "trio"


def imported(name: str) -> tuple[ModuleType, list[str]]:
    """Import a module; return it, and what its ``systems`` is told."""
    module, _, argument = name.partition(":")
    return import_module(f"{__name__}.{module}"), [argument] if argument else []


async def ready(session: Session, program: Program) -> None:
    """Wait until ``program`` is up and quiet: one criterion for all."""
    bound = time.monotonic() + READY_BOUND
    seen = b""
    while comm(session.pid) != program.comm:
        check(bound, f"{program.argv} has not been executed")
        seen += await session.read(QUIET / 10)
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
    # Until the program has opened its terminal this is a hang-up; a read would block after that.
    if not any(events & select.POLLIN for _, events in poll.poll(within * 1000)):
        return b""
    try:
        return os.read(master, 65_536)
    except OSError:  # EIO: nobody holds the slave.
        return b""
