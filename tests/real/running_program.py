"""A program in a session and a folder of its own, and its observable state."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import trio

from ptykill import Attributes, Leftovers, Session, Supervisor
from ptykill.testing import processes
from ptykill.testing.adversaries import Program
from ptykill.testing.observer import Observer
from ptykill.testing.processes import Process

__all__ = ["SLACK", "TIMEOUT", "RunningProgram", "start", "until"]

TIMEOUT = 100.0
"""Time-out for any event on a slow machine, in seconds."""
SLACK = 15.0
"""Seconds by which an end may be late on a slow machine."""


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition is true; fail with its description."""
    with trio.move_on_after(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await trio.sleep(0.005)
        return
    raise AssertionError(f"waited in vain: {what}")


class RunningProgram:
    """One program's session and folder, and the mark that its processes carry."""

    def __init__(self, session: Session, program: Program, folder: Path, mark: str) -> None:
        self.session = session
        self.program = program
        self.folder = folder
        self.mark = mark

    def has(self, file: str) -> bool:
        """Return whether the program has made that file."""
        return (self.folder / file).exists()

    def tell(self, file: str) -> None:
        """Make a file that the program waits for."""
        (self.folder / file).touch()

    def marked(self) -> list[str]:
        """Describe the living processes of this session, by their mark."""
        return processes.names(processes.marked(self.mark))

    def leader(self) -> Process | None:
        """Return what the process table says of the leader."""
        return processes.look_up(self.session.pid)

    def foreground(self) -> int:
        """Return the number of the terminal's foreground process group."""
        leader = self.leader()
        return -1 if leader is None else leader.foreground

    def observe(self) -> Observer:
        """Observe all processes of the session, and all descendants of its leader."""
        return processes.observe_session(self.session.pid)

    async def ready(self) -> None:
        """Wait until the program is ready to be ended."""
        await until(lambda: self.has("ready"), f"{self.program.name} to be ready")
        if self.program.stops:
            await until(lambda: _state(self.leader()) == "T", f"{self.program.name} to stop")


def _state(process: Process | None) -> str:
    return "" if process is None else process.state


async def start(
    supervisor: Supervisor,
    program: Program,
    parent: Path,
    *,
    plan: str | None = None,
    leftovers: Leftovers | None = None,
    attributes: Attributes | None = None,
    rows: int = 24,
    cols: int = 80,
) -> RunningProgram:
    """Start a program in a session, and wait until it is ready."""
    mark = secrets.token_hex(16)
    folder = parent / mark
    folder.mkdir()
    env = os.environ | {
        "PTYKILL_TEST_SESSION": mark,
        "HISTFILE": "",
        "LC_ALL": "C",
        "PS1": "$ ",
        "TMOUT": "60",
    }
    command = program.command(folder, mark)
    session = await supervisor.spawn(
        command,
        env=env,
        cwd=folder,
        rows=rows,
        cols=cols,
        attributes=attributes,
        plan=plan,
        leftovers=leftovers,
    )
    running = RunningProgram(session, program, folder, mark)
    if program.typed:
        await session.send(f"{program.typed}\n: > ready\n".encode())
    await running.ready()
    return running
