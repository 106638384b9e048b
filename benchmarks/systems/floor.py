"""The floor: a C program that asks the kernel and nobody else (``floor.c``)."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.systems import ENVIRONMENT, Program, Session, Spawn, System, Unavailable
from benchmarks.worker import Worker

__all__ = ["FLOOR", "VERIFIED", "systems"]

FLOOR = "C, leader only"
"""What everything is compared with."""
VERIFIED = "C, session verified"
SOURCE = Path(__file__).parent.parent / "floor.c"
BINARY = SOURCE.parent.parent / "build" / "benchmarks" / "floor"
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


def systems() -> list[System]:
    """Return the floor in its two modes."""
    compile_floor()
    return [
        System(FLOOR, partial(open_floor, "leader")),
        System(VERIFIED, partial(open_floor, "session"), end_all),
    ]


def compile_floor() -> None:
    """Build the program unless it is there and newer than its source."""
    if BINARY.exists() and BINARY.stat().st_mtime > SOURCE.stat().st_mtime:
        return
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise Unavailable(f"no C compiler: {compiler[0]} is not on PATH (CC names another)")
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    command = [*compiler, *FLAGS, str(SOURCE), "-o", str(BINARY)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise Unavailable(f"{compiler[0]} does not build floor.c: {built.stderr.strip()}")


@asynccontextmanager
async def open_floor(mode: str) -> AsyncIterator[Spawn]:
    """Run the program; a process for each mode."""
    with Worker([str(BINARY)], env=ENVIRONMENT) as worker:

        async def spawn(program: Program) -> Session:
            return FloorSession(worker, mode, int(worker.ask("spawn", *program.argv)))

        yield spawn


async def end_all(sessions: Sequence[Session], grace: float) -> int:
    """Have the program end all that it has, with one look at the process table."""
    first = sessions[0]
    assert isinstance(first, FloorSession)
    took, others = first.worker.ask("endall", f"{grace * 1e9:.0f}").split()
    if int(others):
        raise RuntimeError(f"{others} members were found beside the leaders")
    return int(took)


@dataclass(frozen=True, slots=True)
class FloorSession:
    """A session that the program holds."""

    worker: Worker
    mode: str
    pid: int

    async def read(self, within: float) -> bytes:
        """Have the program read the terminal."""
        return bytes.fromhex(self.worker.ask("read", f"{within * 1000:.0f}"))

    async def end(self, grace: float) -> int:
        """Have the program end the session, by its own clock."""
        took, others = self.worker.ask("end", self.mode, f"{grace * 1e9:.0f}").split()
        if int(others):
            raise RuntimeError(f"{others} members were found beside the leader")
        return int(took)
