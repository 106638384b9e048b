"""Print messages on standard error, and results on standard output.

They are written to the descriptors. `sys.stdout` and `sys.stderr` would keep bytes that could not
be written, and fail again when the interpreter exits. Characters that the stream's encoding lacks
are escaped.
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
    """Print one sentence on standard error; an error of that is ignored."""
    with suppress(OSError):
        write_all(ERR, encode_for(f"ptykill: {printable(sentence)}\n", sys.stderr))


async def print_message_async(sentence: str, *, raw: bool) -> None:
    """Print one sentence while a session has the terminal; ``raw``: its lines end in CR and LF."""
    end = "\r\n" if raw else "\n"
    start = end if raw else ""
    line = encode_for(f"{start}ptykill: {printable(sentence)}{end}", sys.stderr)
    with suppress(OSError):  # In a thread: the write blocks while a pipe is full.
        await trio.to_thread.run_sync(write_all, ERR, line, abandon_on_cancel=True)


def fail(sentence: str, status: int = 1) -> NoReturn:
    """Print one sentence, and exit with a status."""
    print_message(sentence)
    sys.exit(status)


def print_output(text: str) -> None:
    """Write a text and a newline to standard output.

    If the reader has gone, this process dies of SIGPIPE, as other programs do. After another error
    one sentence says why, and the exit status is 1.
    """
    try:
        write_all(OUT, encode_for(f"{text}\n", sys.stdout))
    except BrokenPipeError:
        local_terminal.die_of_signal(signal.SIGPIPE)
    except OSError as error:
        fail(output_error_message(error))


def output_error_message(error: OSError) -> str:
    """Return the sentence for a failed write to standard output."""
    return f"standard output can't be written: {error_text(error)}"


def exit_interrupted(sentence: str = "interrupted") -> NoReturn:
    """Print a sentence, and die of SIGINT, so that the shell knows (it shows the status 130)."""
    print_message(sentence)
    local_terminal.die_of_signal(signal.SIGINT)


def encode_for(text: str, stream: Any) -> bytes:  # noqa: ANN401 - a text stream, or None
    """Encode text for a stream; characters that its encoding lacks are escaped."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace")


def printable(text: str) -> str:
    """Return text with control characters escaped: a command line may hold any."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )
