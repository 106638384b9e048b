"""Requests to a daemon by a command: its options, and the loop in which they run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import trio

from ptykill.cli.client.daemon_client import KEY_VARIABLE, DaemonClient, DaemonError
from ptykill.cli.client.interrupt import interruptible
from ptykill.cli.client.messages import fail

__all__ = ["DaemonOptions", "with_daemon"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class DaemonOptions:
    """The options that every command has: the daemon's URL, and the file with its key.

    ``key_file`` None takes the key from the environment.
    """

    url: str
    key_file: Path | None

    def daemon(self) -> DaemonClient:
        """Return a client of the daemon. Raises `DaemonError`."""
        return DaemonClient(self.url, _read_key(self.key_file))


def with_daemon(options: DaemonOptions, use: Callable[[DaemonClient], Awaitable[T]]) -> T:
    """Call a function with the daemon. A `DaemonError` is one sentence and the exit status 1."""

    async def main() -> T:
        async with options.daemon() as daemon:
            return await use(daemon)

    try:
        return trio.run(interruptible, main)
    except DaemonError as error:
        fail(str(error))
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        raise KeyboardInterrupt from None


def _read_key(file: Path | None) -> str | None:
    """Return the key in the file, or in the environment if there is no file; None if neither.

    Raises `DaemonError`.
    """
    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeError) as error:
        msg = f"the key can't be read from {file}: {getattr(error, 'strerror', None) or 'no text'}"
        raise DaemonError(msg) from None
