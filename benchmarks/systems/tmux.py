"""tmux: ``tmux kill-session``, by which its server sends SIGHUP only."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count

from benchmarks.loops import pause
from benchmarks.systems import ENVIRONMENT, Program, Session, Span, Spawn, System, Unavailable

__all__ = ["systems"]

FORMAT = "#{pane_pid}"
"""The format of ``new-session``'s output."""
NUMBERS = count()


def systems() -> list[System]:
    """Return the one system."""
    path = shutil.which("tmux")
    if path is None:
        raise Unavailable("tmux is not on PATH")
    return [System("tmux kill-session", partial(open_server, path))]


@asynccontextmanager
async def open_server(path: str) -> AsyncIterator[Spawn]:
    """Hold a server of our own, without a configuration."""
    tmux = Tmux((path, "-L", f"benchmarks-{os.getpid()}", "-f", os.devnull))

    async def spawn(program: Program) -> Session:
        name = f"session-{next(NUMBERS)}"
        pid = tmux.run("new-session", "-dP", "-F", FORMAT, "-s", name, *program.argv)
        return TmuxSession(tmux, name, int(pid))

    # Without a session the server exits, and the next spawn would contain its start.
    tmux.run("new-session", "-d", "-s", "idle", "sleep", "100000")
    yield spawn
    tmux.run("kill-server")


@dataclass(frozen=True, slots=True)
class Tmux:
    """The client's command line."""

    argv: tuple[str, ...]

    def run(self, *arguments: str) -> str:
        """Run a command of tmux, and return its output."""
        command = [*self.argv, *arguments]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        return done.stdout


@dataclass(slots=True)
class TmuxSession:
    """A session of the server's, by its name."""

    tmux: Tmux
    name: str
    pid: int
    screen: str = ""

    async def read(self, within: float) -> bytes:
        """Look at the screen until there is something new on it."""
        await pause(within)
        seen = self.tmux.run("capture-pane", "-pt", self.name)
        # It leaves out the spaces at the end of a line, and a prompt has one.
        before, self.screen = self.screen, seen.replace("\n", " \n")
        return b"" if self.screen == before else self.screen.encode()

    async def end(self, grace: float) -> Span:  # noqa: ARG002 - it knows none
        """Kill the session."""
        start = time.perf_counter_ns()
        self.tmux.run("kill-session", "-t", self.name)
        return Span(start, time.perf_counter_ns())
