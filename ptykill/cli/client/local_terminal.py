"""Read and write the local terminal, or a pipe or file in its place.

Standard input, output and error of a terminal are usually one open file description, shared with
the shell and its other jobs. O_NONBLOCK belongs to the description, not to the descriptor
(fcntl(2)): set here, it would make the writes of all of them fail, and stay set if this process is
killed. So a terminal is opened again by its name, which gives a description of our own. A pipe, a
socket or a file, which can't be opened again, is read and written by threads.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final, NoReturn

import trio

from ptykill.cli.client.fd_io import read_some, write_all
from ptykill.cli.client.modes import Modes
from ptykill.cli.client.raw_mode import (
    RawMode,
    ignore_background_stops,
    in_background,
    may_write,
    stop,
)

__all__ = [
    "ENDING_SIGNALS",
    "LocalTerminal",
    "die_of_signal",
    "is_terminal",
    "open_local_terminal",
    "receive_signals",
    "stop",
    "window_size",
]

ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
"""Signals that ask this process to end. In raw mode no key sends them; other processes may."""
_CHUNK: Final = 65_536
_FOREGROUND_POLL: Final = 0.1
"""Seconds between two checks for the foreground: the kernel sends no event for tcsetpgrp(3)."""


class LocalTerminal:
    """Standard input and output; a terminal is set to raw mode.

    It reads a terminal only while this process is in the foreground there.
    """

    def __init__(self, input_fd: int, output_fd: int, *, reads: bool) -> None:
        self.interactive: Final = reads and is_terminal(input_fd)
        self._input_fd, self._output_fd = input_fd, output_fd
        self._input = _reopen(input_fd, os.O_RDONLY)
        self._output = _reopen(output_fd, os.O_WRONLY)
        self._modes = Modes()
        self._raw = RawMode(input_fd if self.interactive else None)
        self._raw.enter()
        self._reading = trio.CancelScope()

    def size(self) -> tuple[int, int] | None:
        """Return the rows and columns, as `window_size` does."""
        return window_size(self._input_fd, self._output_fd)

    async def receive(self) -> bytes:
        """Wait for input and return some; ``b""`` at its end.

        A terminal's input ends when the terminal is hung up. Raises OSError.
        """
        while True:
            await self._wait_foreground()
            with trio.CancelScope() as self._reading:
                try:
                    return await self._read()
                except OSError as error:
                    if not self.interactive or error.errno != errno.EIO:
                        raise
                    if not in_background(self._input_fd):
                        return b""

    async def send(self, data: bytes) -> None:
        """Write all bytes.

        Raises BrokenPipeError when the reader has gone, OSError with EIO for a terminal that was
        hung up, and OSError for other errors.
        """
        while not may_write(self._output_fd):  # noqa: ASYNC110 - no event for the foreground
            await trio.sleep(_FOREGROUND_POLL)
        if self._output is None:
            await trio.to_thread.run_sync(write_all, self._output_fd, data, abandon_on_cancel=True)
            return
        self._modes.feed(data)
        rest = memoryview(data)
        while rest:
            await trio.lowlevel.checkpoint()
            try:
                rest = rest[os.write(self._output, rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._output)

    def stop(self) -> None:
        """Restore the terminal and stop this process; returns when it is continued."""
        self._raw.leave()
        stop()
        self.continued()

    def continued(self) -> None:
        """Set raw mode again after a stop: now, or as soon as we are in the foreground."""
        self._raw.enter()
        if self._input is not None:
            # The read may have to wait for the foreground from now on. A blocking read in a thread
            # was interrupted by the stop, and checks that itself (Linux n_tty_read, job_control).
            self._reading.cancel()

    def close(self) -> None:
        """Undo the modes that the session's output has set, and close the descriptors."""
        self._raw.leave()
        if self._output is not None and may_write(self._output_fd):
            # One write that does not block: a stopped terminal must not delay the exit.
            with suppress(OSError):
                os.write(self._output, self._modes.undo())
        for fd in (self._input, self._output):
            if fd is not None:
                os.close(fd)

    async def _wait_foreground(self) -> None:
        """Wait until we are in the foreground of the input's terminal, if it is one."""
        waited = False
        while self.interactive and in_background(self._input_fd):
            waited = True
            await trio.sleep(_FOREGROUND_POLL)
        if waited:
            self._raw.enter()

    async def _read(self) -> bytes:
        if self._input is None:
            return await trio.to_thread.run_sync(
                read_some, self._input_fd, _CHUNK, abandon_on_cancel=True
            )
        while True:
            await trio.lowlevel.checkpoint()
            try:
                return os.read(self._input, _CHUNK)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._input)


@contextmanager
def open_local_terminal(
    input_fd: int = 0, output_fd: int = 1, *, reads: bool = True
) -> Iterator[LocalTerminal]:
    """Use standard input and output, a terminal in raw mode; restore the terminal at the end.

    Without ``reads`` nothing is read, and the terminal's modes stay.
    """
    terminal = LocalTerminal(input_fd, output_fd, reads=reads)
    try:
        yield terminal
    finally:
        terminal.close()


def is_terminal(fd: int = 0) -> bool:
    """Return whether a descriptor is a terminal."""
    return os.isatty(fd)


def window_size(*fds: int) -> tuple[int, int] | None:
    """Return the rows and columns of the first descriptor that is a terminal (default: 0 and 1).

    None if none of them is a terminal with a size.
    """
    for fd in fds or (0, 1):
        with suppress(OSError):
            cols, rows = os.get_terminal_size(fd)
            if rows and cols:
                return rows, cols
    return None


def receive_signals() -> AbstractContextManager[AsyncIterator[int]]:
    """Receive the signals that end, stop or continue this process, or say that its window changed.

    Ignored signals stay ignored: SIGHUP under nohup(1), SIGINT in a shell's background jobs. From
    now on job control no longer stops this process for using its terminal.
    """
    ignore_background_stops()
    asked = (*ENDING_SIGNALS, signal.SIGTSTP)
    wanted = [each for each in asked if signal.getsignal(each) is not signal.SIG_IGN]
    return trio.open_signal_receiver(*wanted, signal.SIGWINCH, signal.SIGCONT)


def die_of_signal(number: int) -> NoReturn:
    """End this process by a signal, so that its parent knows why it ended.

    A shell's loop, for example, ends on Ctrl-C only if the command in it died of SIGINT.
    """
    with suppress(OSError):
        sys.stdout.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    # The kernel does not kill process 1 of a container by a default action (pid_namespaces(7)).
    sys.exit(128 + number)


def _reopen(fd: int, flags: int) -> int | None:
    """Open a terminal again, for an open file description of our own; None if that fails."""
    try:
        own = os.open(os.ttyname(fd), flags | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None  # Not a terminal, or one of another user, as after su(1).
    if os.fstat(own).st_rdev != os.fstat(fd).st_rdev:  # In a container the name is another's.
        os.close(own)
        return None
    return own
