"""How an attached conversation can end."""

from __future__ import annotations

import dataclasses
import errno
from typing import TypeAlias

from ptykill.cli.client.fd_io import error_text
from ptykill.cli.client.local_terminal import is_terminal

__all__ = ["AttachResult", "Detached", "Ended", "Lost", "Signalled", "io_failure"]


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """The session's leader is dead. ``code`` is its exit code, None where that can't be known.

    ``killed``: the session was ended on request.
    """

    code: int | None
    killed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Detached:
    """The detach key was pressed, or the local terminal was hung up; the session goes on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Signalled:
    """A signal of that number asked this process to end; the session goes on."""

    number: int


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """The daemon has gone, or refused the connection: ``reason`` says which."""

    reason: str


AttachResult: TypeAlias = Ended | Detached | Signalled | Lost


def io_failure(which: str, error: OSError) -> AttachResult:
    """Return the result of a conversation whose standard input or output has failed."""
    if error.errno == errno.EIO and is_terminal(1 if which == "output" else 0):
        return Detached()  # The terminal was hung up.
    return Lost(f"standard {which}: {error_text(error)}")
