"""Systems in other languages: programs that read requests from stdin.

A request is a line with tabs between its fields, and each gets a line as its answer:

    spawn ARGV...       pid
    read MILLISECONDS   output of the last session's terminal, in hex; empty if there is none
    end GRACE           when ending the last session began, and when it was over
    endall GRACE        the same for all sessions, at once
    churn DURATION AT_ONCE GRACE ARGV...
                        when it began and stopped; the pid of each session, and how long it took

DURATION, GRACE and times are nanoseconds of the monotonic clock.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.systems import (
    BUILD,
    ENVIRONMENT,
    LEADER,
    Churned,
    Program,
    Session,
    Span,
    Spawn,
    System,
    Unavailable,
)
from benchmarks.worker import Worker

__all__ = ["HERE", "build", "external"]

HERE = Path(__file__).parent


def external(
    name: str, *argv: str, env: Mapping[str, str] = ENVIRONMENT, ends: str = LEADER
) -> System:
    """Return the system of such a program."""
    return System(name, partial(opened, argv, env), end_all, ends)


def build(source: Path, binary: Path, *command: str) -> None:
    """Compile a program, unless it is newer than its source."""
    if binary.exists() and binary.stat().st_mtime > source.stat().st_mtime:
        return
    binary.parent.mkdir(parents=True, exist_ok=True)
    env = {"HOME": str(BUILD), **os.environ}  # Go keeps a cache there.
    built = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if built.returncode:
        raise Unavailable(f"{command[0]} does not build {source.name}: {built.stderr.strip()}")


@asynccontextmanager
async def opened(argv: Sequence[str], env: Mapping[str, str]) -> AsyncIterator[Spawn]:
    """Run the program."""
    with Worker(argv, env=env) as worker:
        yield ExternalSpawn(worker)


async def end_all(sessions: Sequence[Session], grace: float) -> Span:
    """Have the program end all its sessions."""
    first = sessions[0]
    assert isinstance(first, ExternalSession)
    return first.tell("endall", grace)


@dataclass(frozen=True, slots=True)
class ExternalSpawn:
    """Has the program spawn sessions."""

    worker: Worker

    async def __call__(self, program: Program) -> Session:
        """Spawn one."""
        return ExternalSession(self.worker, int(self.worker.ask("spawn", *program.argv)))

    def churn(self, program: Program, at_once: int, seconds: float, grace: float) -> Churned:
        """Have the program spawn sessions and end them by itself; see `benchmarks.churn`."""
        times = f"{seconds * 1e9:.0f}", str(at_once), f"{grace * 1e9:.0f}"
        start, stop, *ended = map(int, self.worker.ask("churn", *times, *program.argv).split("\t"))
        return Churned(start, stop, list(zip(ended[::2], ended[1::2], strict=True)))


@dataclass(frozen=True, slots=True)
class ExternalSession:
    """A session that the program holds."""

    worker: Worker
    pid: int

    async def read(self, within: float) -> bytes:
        """Have the program read the terminal."""
        return bytes.fromhex(self.worker.ask("read", f"{within * 1000:.0f}"))

    async def end(self, grace: float) -> Span:
        """Have the program end the session, by its own clock."""
        return self.tell("end", grace)

    def tell(self, verb: str, grace: float) -> Span:
        """Send a request to end one or all sessions."""
        start, stop = self.worker.ask(verb, f"{grace * 1e9:.0f}").split("\t")
        return Span(int(start), int(stop))
