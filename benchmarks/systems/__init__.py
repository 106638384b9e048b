"""The systems that are compared: one module each, behind one protocol.

A module has a function ``systems`` that returns its systems, and ``LOOP = "asyncio"`` if it does
not run on trio. It is imported only when it is measured. A peer that is not installed raises
`ImportError`, one that can't run here `Unavailable`; the table names it as skipped.
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
    "BUILD",
    "ENVIRONMENT",
    "LEADER",
    "PEERS",
    "PROGRAMS",
    "TERMINATORS",
    "TIERS",
    "Churned",
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
"""The modules whose teardown is compared, some with an argument for ``systems`` after a colon."""

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/",
    "TERM": "dumb",
    "LC_ALL": "C",
    "PS1": "ready> ",
    "HISTFILE": "",  # An interactive bash would write its history as it goes.
    "INPUTRC": "/dev/null",
}
"""The environment of every session, of all systems."""

BUILD = Path(__file__).resolve().parent.parent.parent / "build" / "benchmarks"
"""Where programs in other languages are built."""
QUIET = 0.005
"""Seconds without output after which a session counts as ready."""
READY_BOUND = 20.0
"""Seconds within which a session has to be ready."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program of a session; it is up once its name is ``comm`` and it has printed ``prompt``.

    A name in ``needs`` has to be on PATH. ``jobs`` is the number of jobs that it starts, each of
    which executes sleep.
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
    # The case that runs it compiles it (pause.c).
    "pause": Program((str(BUILD / "pause"),), "pause"),
    "first byte": Program(("sh", "-c", "printf x; exec sleep 60"), "sleep"),
    **TREES,
}


class Span(NamedTuple):
    """When an end was called, and when the call returned (monotonic, ns)."""

    start: int
    stop: int


class Churned(NamedTuple):
    """Sessions that were spawned and ended: when that began and stopped (monotonic, ns).

    ``ended`` has the pid of each, and the nanoseconds from the call to spawn it to its end.
    """

    start: int
    stop: int
    ended: list[tuple[int, int]]


class Session(Protocol):
    """One session that a system has spawned."""

    @property
    def pid(self) -> int:
        """The program's pid."""

    async def read(self, within: float) -> bytes:
        """Return output of the terminal; ``b""`` if none comes within so many seconds."""

    async def end(self, grace: float) -> Span:
        """End the session, after ``grace`` (seconds; 0: at once) by force, in the system's way.

        The clock starts with the system's call and stops when it has returned. What is left to
        release is released after that.
        """


Spawn = Callable[[Program], Awaitable[Session]]
"""Spawns a program on a terminal of its own, with `ENVIRONMENT`."""


async def end_side_by_side(sessions: Sequence[Session], grace: float) -> Span:
    """End all sessions at once."""
    start = time.perf_counter_ns()
    await together(partial(session.end, grace) for session in sessions)
    return Span(start, time.perf_counter_ns())


LEADER = "leader"
"""What a system waits for that knows only the process it has spawned."""


@dataclass(frozen=True, slots=True)
class System:
    """One way to spawn sessions and end them. ``open`` holds what it needs meanwhile.

    ``end_all`` ends many of its sessions at once. ``ends`` says, for a table, what is over when it
    answers. ``blocking``: its calls block, so that only threads make several at a time.
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[Spawn]]
    end_all: Callable[[Sequence[Session], float], Awaitable[Span]] = end_side_by_side
    ends: str = LEADER
    blocking: bool = False


def stateless(name: str, spawn: Spawn, *, ends: str = LEADER, blocking: bool = False) -> System:
    """Return a system that holds nothing besides its sessions."""
    return System(name, lambda: nullcontext(spawn), ends=ends, blocking=blocking)


class Unavailable(Exception):
    """A system can't run here; the message says why."""


def load(modules: Iterable[str]) -> tuple[list[System], dict[str, str]]:
    """Return the systems of modules, and the reason for each module that is skipped."""
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
    """Return the loop that all of these modules run on."""
    loops = set()
    for name in modules:
        with suppress(ImportError):
            loops.add(getattr(imported(name)[0], "LOOP", "trio"))
    return loops.pop() if len(loops) == 1 else "trio"


def imported(name: str) -> tuple[ModuleType, list[str]]:
    """Import a module; return it, and the arguments for its ``systems``."""
    module, _, argument = name.partition(":")
    return import_module(f"{__name__}.{module}"), [argument] if argument else []


async def ready(session: Session, program: Program) -> None:
    """Wait until ``program`` is up and writes no more: the same criterion for all systems."""
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
    """Return the short name of the program that a process has executed last."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def check(bound: float, problem: str) -> None:
    """Raise `TimeoutError` once the monotonic clock has passed ``bound``."""
    if time.monotonic() > bound:
        raise TimeoutError(problem)


def read_terminal(master: int, within: float) -> bytes:
    """Return output of a terminal's master; ``b""`` if none comes in time."""
    poll = select.poll()
    poll.register(master, select.POLLIN)
    # POLLHUP alone: the program has not opened its terminal yet. A read would block.
    if not any(events & select.POLLIN for _, events in poll.poll(within * 1000)):
        return b""
    try:
        return os.read(master, 65_536)
    except OSError:  # EIO: no process has the slave open.
        return b""
