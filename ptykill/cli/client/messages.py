"""What a person or a program is told, on standard error and on standard output.

All of it is written to the descriptors, not to `sys.stdout` and `sys.stderr`: those keep what could
not be written, and fail with it once more when the interpreter exits. What the stream's encoding
lacks is escaped, whatever the locale.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

import trio

from ptykill.cli.client import local_terminal
from ptykill.cli.client.fd_io import error_text, write_all

__all__ = [
    "ERR",
    "OUT",
    "encode_for",
    "exit_interrupted",
    "fail",
    "output_error_message",
    "print_message",
    "print_message_async",
    "print_output",
    "printable",
]

OUT, ERR = 1, 2


def print_message(sentence: str) -> None:
    """Tell one sentence; where standard error can't be written, nothing is told."""
    with suppress(OSError):
        write_all(ERR, encode_for(f"ptykill: {printable(sentence)}\n", sys.stderr))


async def print_message_async(sentence: str, *, raw: bool) -> None:
    """Tell one sentence while a session has the terminal; ``raw``: its lines end by CR and LF."""
    end = "\r\n" if raw else "\n"
    start = end if raw else ""
    line = encode_for(f"{start}ptykill: {printable(sentence)}{end}", sys.stderr)
    with suppress(OSError):  # In a thread: nobody may be reading there.
        await trio.to_thread.run_sync(write_all, ERR, line, abandon_on_cancel=True)


def fail(sentence: str, status: int = 1) -> NoReturn:
    """Tell one sentence, and exit with a status."""
    print_message(sentence)
    sys.exit(status)


def print_output(text: str) -> None:
    """Write a text and a line's end to standard output, for a command that is there to write it.

    If nobody reads it any more, this process dies of SIGPIPE, as others do. If it can't be written,
    one sentence says why, and the exit status is 1.
    """
    try:
        write_all(OUT, encode_for(f"{text}\n", sys.stdout))
    except BrokenPipeError:
        local_terminal.die_of_signal(signal.SIGPIPE)
    except OSError as error:
        fail(output_error_message(error))


def output_error_message(error: OSError) -> str:
    """Return the sentence for what standard output did not take."""
    return f"standard output can't be written: {error_text(error)}"


def exit_interrupted(sentence: str = "interrupted") -> NoReturn:
    """Tell that Ctrl-C has ended this command, and die of it: a shell then shows the status 130."""
    print_message(sentence)
    local_terminal.die_of_signal(signal.SIGINT)


def encode_for(text: str, stream: Any) -> bytes:  # noqa: ANN401 - a text stream, or None
    """Return text in the encoding of a stream; what that lacks is escaped."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace")


def printable(text: str) -> str:
    """Return text without what a terminal would act upon: a command line may hold anything."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )
