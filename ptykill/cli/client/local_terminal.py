"""The terminal that a person sits at, and what comes in its place: bytes in and out, and its size.

Standard input, output and error of a terminal are most often one open file description, shared with
the shell and whoever else it has started. O_NONBLOCK belongs to the description, not to the
descriptor (fcntl(2)): set here, it would make the prints of all of them fail, and stay set if this
process is killed. So a terminal is opened anew by its name, which gives a description of our own.
What can't be opened anew (a pipe, a socket, a file) is read and written by threads.
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
"""What asks this process to end. In raw mode no key sends them; others may."""
_CHUNK: Final = 65_536
_FOREGROUND_POLL: Final = 0.1
"""Seconds between two looks at whose turn it is: the kernel does not tell of a tcsetpgrp(3)."""


class LocalTerminal:
    """The near end of a conversation: standard input and output, raw if it is a terminal.

    It reads a terminal only while it is in the foreground there.
    """

    def __init__(self, source: int, sink: int, *, reads: bool) -> None:
        self.interactive: Final = reads and is_terminal(source)
        self._input_fd, self._output_fd = source, sink
        self._input = _reopen(source, os.O_RDONLY)
        self._output = _reopen(sink, os.O_WRONLY)
        self._modes = Modes()
        self._raw = RawMode(source if self.interactive else None)
        self._raw.enter()
        self._reading = trio.CancelScope()

    def size(self) -> tuple[int, int] | None:
        """As `window_size`."""
        return window_size(self._input_fd, self._output_fd)

    async def receive(self) -> bytes:
        """Wait for input and return some; ``b""`` when there will be no more.

        A terminal's input is over when it is hung up. Raises OSError.
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
        """Write all of it.

        Raises BrokenPipeError when nobody can read it any more, and OSError with EIO when it is a
        terminal that was hung up, and OSError for what else is wrong.
        """
        while not may_write(self._output_fd):  # noqa: ASYNC110 - no event tells of a turn
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
        """Stop as SIGTSTP asks for, with the terminal as it was; returns when continued."""
        self._raw.leave()
        stop()
        self.continued()

    def continued(self) -> None:
        """Take the terminal over again, after a stop: now, or as soon as it is our turn."""
        self._raw.enter()
        if self._input is not None:
            # It may have to wait for our turn from now on. A read that blocks, in a thread, was
            # interrupted by the stop, and asks by itself (Linux n_tty_read, job_control).
            self._reading.cancel()

    def close(self) -> None:
        """Turn back what the session has turned on, and close what was opened."""
        self._raw.leave()
        if self._output is not None and may_write(self._output_fd):
            # As much as can be written at once: a terminal that is stuck holds nobody up.
            with suppress(OSError):
                os.write(self._output, self._modes.undo())
        for fd in (self._input, self._output):
            if fd is not None:
                os.close(fd)

    async def _wait_foreground(self) -> None:
        """Wait until we are in the foreground of the terminal that is read, if it is one."""
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
    source: int = 0, sink: int = 1, *, reads: bool = True
) -> Iterator[LocalTerminal]:
    """Take this end over, in raw mode if ``source`` is a terminal; give it back as it was.

    Without ``reads`` nothing is read, and a terminal is left in its mode.
    """
    this = LocalTerminal(source, sink, reads=reads)
    try:
        yield this
    finally:
        this.close()


def is_terminal(source: int = 0) -> bool:
    """Return whether a person may be typing there."""
    return os.isatty(source)


def window_size(*fds: int) -> tuple[int, int] | None:
    """Return the rows and columns of the window that is one of the descriptors (0 and 1 if none).

    None if none of them is a window, or it has no size.
    """
    for fd in fds or (0, 1):
        with suppress(OSError):
            cols, rows = os.get_terminal_size(fd)
            if rows and cols:
                return rows, cols
    return None


def receive_signals() -> AbstractContextManager[AsyncIterator[int]]:
    """Receive the signals that end this process, stop it, or tell that its window has changed.

    SIGTSTP asks it to stop, and SIGCONT tells that it goes on. What is ignored stays so: SIGHUP is
    under nohup(1), SIGINT in a shell's background. From now on nothing else stops this process.
    """
    ignore_background_stops()
    asked = (*ENDING_SIGNALS, signal.SIGTSTP)
    wanted = [each for each in asked if signal.getsignal(each) is not signal.SIG_IGN]
    return trio.open_signal_receiver(*wanted, signal.SIGWINCH, signal.SIGCONT)


def die_of_signal(number: int) -> NoReturn:
    """End this process by a signal, so that whoever waits for it knows why it ended.

    A shell's loop, say, is ended by Ctrl-C only if what it runs has died of SIGINT.
    """
    with suppress(OSError):
        sys.stdout.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    # Process 1 of a container is not killed by what it does not handle (pid_namespaces(7)).
    sys.exit(128 + number)


def _reopen(fd: int, flags: int) -> int | None:
    """Return a terminal by an open file description of our own; None if it can't be had."""
    try:
        own = os.open(os.ttyname(fd), flags | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None  # No terminal, or one that belongs to another user, as after su(1).
    if os.fstat(own).st_rdev != os.fstat(fd).st_rdev:  # A name means another one in a container.
        os.close(own)
        return None
    return own
