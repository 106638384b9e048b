"""Runs a command by a host, for a caller in a thread, in asyncio or in another trio run.

A caller that stops waiting, since it is cancelled or interrupted, has its command ended first. So
nothing of it is left when the caller goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Unpack

import trio

from ptykill.embedding.ending import aend, end
from ptykill.embedding.host import Host
from ptykill.engine.run import RunOptions
from ptykill.errors import PtykillError
from ptykill.rules.run_result import RunResult

__all__ = ["arun_through", "default_host", "run", "run_through"]

_MOST_AT_ONCE = 10_000
_BACKLOG = 65_536
"""Bytes of output that a command's session keeps: `run` keeps what its caller wants."""


def _new_host() -> Host:
    return Host(max_sessions=_MOST_AT_ONCE, keep_records=0, backlog=_BACKLOG)


_host = _new_host()


def default_host() -> Host:
    """Return the host of all commands that are run without a supervisor.

    The first of them starts its thread. It is closed at the end of the interpreter.
    """
    return _host


async def run(command: Sequence[str], **options: Unpack[RunOptions]) -> RunResult:
    """Run a command in a session of its own, and return when nothing of it is left.

    For a task of trio or of asyncio. It does what `Supervisor.run` does, by a supervisor that all
    such calls share; it has the default options, and its first call starts it. Up to 10,000
    commands may run at once. Cancelling this ends the command by its plan, and waits for that.
    """
    return await arun_through(default_host(), command, options)


def run_through(host: Host, command: Sequence[str], options: RunOptions) -> RunResult:
    """Run a command, blocking. An exception in the wait, such as KeyboardInterrupt, ends it."""
    run = _Run(host, command, options)
    try:
        return host.call(run.run)
    except PtykillError:  # It is over, or has not begun.
        raise
    except BaseException:  # Also another one that a signal handler has raised here.
        if not run.over:
            with suppress(Exception):
                end(host, run.wait)
        raise


async def arun_through(host: Host, command: Sequence[str], options: RunOptions) -> RunResult:
    """Run a command, without blocking the loop. Cancelling this ends it."""
    run = _Run(host, command, options)
    try:
        return await host.acall(run.run)
    except (PtykillError, GeneratorExit):  # It is over, has not begun, or nothing can be awaited.
        raise
    except BaseException:
        if not run.over:
            with suppress(Exception):  # Such as that of a host that could not start.
                await aend(host, run.wait)
        raise


class _Run:
    """One command, in the host's thread."""

    def __init__(self, host: Host, command: Sequence[str], options: RunOptions) -> None:
        self._host = host
        self._command = command
        self._options = options
        self._over: trio.Event | None = None

    @property
    def over(self) -> bool:
        """Whether it has begun, and nothing of it is left."""
        return self._over is not None and self._over.is_set()

    async def run(self) -> RunResult:
        """Run it to its end. Cancelling this ends it."""
        self._over = trio.Event()
        try:
            return await self._host.supervisor.run(self._command, **self._options)
        finally:
            self._over.set()

    async def wait(self) -> None:
        """Wait until nothing of it is left. Calls run in their order: it has begun, if ever."""
        if self._over is not None:
            await self._over.wait()
