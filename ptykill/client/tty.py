"""The terminal that a person sits at: raw mode, its size, and bytes in and out without blocking.

Standard input, output and error of a terminal are most often one open file description, shared with
the shell and whoever else it has started. O_NONBLOCK belongs to the description, not to the
descriptor (fcntl(2)): set here, it would make the prints of all of them fail, and stay set if this
process is killed. So a terminal is opened anew by its name, which gives a description of our own.
What can't be opened anew (a pipe, a socket, a file) is read and written by threads.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Final, NoReturn

import trio

from ptykill.client.modes import Modes

__all__ = ["ENDING", "Near", "die_of", "is_terminal", "near", "signals", "window_size"]

ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
"""What asks this process to end. In raw mode no key sends them; others may."""
_CHUNK: Final = 65_536

# The fields of termios(3), as `termios.tcgetattr` has them.
_IN, _OUT, _CONTROL, _LOCAL, _CHARACTERS = 0, 1, 2, 3, 6


class Near:
    """The near end of a conversation: standard input and output, raw if it is a terminal."""

    def __init__(self, source: int, sink: int, again: Callable[[], None]) -> None:
        self.interactive: Final = is_terminal(source)
        self.raw_again: Final = again
        self._source, self._sink = source, sink
        self._input = _opened_anew(source, os.O_RDONLY)
        self._output = _opened_anew(sink, os.O_WRONLY)
        self._modes = Modes()

    def size(self) -> tuple[int, int] | None:
        """As `window_size`."""
        return window_size(self._source, self._sink)

    async def receive(self) -> bytes:
        """Wait for input and return some; ``b""`` when there will be no more."""
        try:
            if self._input is not None:
                return await self._input.receive_some(_CHUNK)
            return await trio.to_thread.run_sync(
                os.read, self._source, _CHUNK, abandon_on_cancel=True
            )
        except (OSError, trio.BrokenResourceError):  # It was hung up (EIO), or never open (EBADF).
            return b""

    async def send(self, data: bytes) -> None:
        """Write all of it. Raises BrokenPipeError when nobody can read it any more."""
        try:
            if self._output is not None:
                self._modes.see(data)
                await self._output.send_all(data)
            else:
                await trio.to_thread.run_sync(_write, self._sink, data, abandon_on_cancel=True)
        except (OSError, trio.BrokenResourceError):
            raise BrokenPipeError from None

    def close(self) -> None:
        """Turn back what the session has turned on, and close what was opened."""
        if self._output is not None:
            # As much as can be written at once: a terminal that is stuck holds nobody up.
            with suppress(OSError):
                fd = self._output.fileno()
                os.write(fd, self._modes.undo())
        for stream in (self._input, self._output):
            if stream is not None:
                stream.close()


@contextmanager
def near(source: int = 0, sink: int = 1) -> Iterator[Near]:
    """Take this end over, in raw mode if ``source`` is a terminal; give it back as it was."""
    with ExitStack() as stack:
        again = stack.enter_context(_raw(source))
        this = Near(source, sink, again)
        stack.callback(this.close)
        yield this


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


def signals() -> AbstractContextManager[AsyncIterator[int]]:
    """Receive the signals that end this process, or tell that its window or its turn has come back.

    One that is ignored stays so: SIGHUP is under nohup(1), SIGINT in a shell's background.
    """
    wanted = [each for each in ENDING if signal.getsignal(each) is not signal.SIG_IGN]
    return trio.open_signal_receiver(*wanted, signal.SIGWINCH, signal.SIGCONT)


def die_of(number: int) -> NoReturn:
    """End this process by a signal, so that whoever waits for it knows why it ended.

    A shell's loop, say, is ended by Ctrl-C only if what it runs has died of SIGINT.
    """
    with suppress(OSError):
        sys.stdout.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    # Process 1 of a container is not killed by what it does not handle (pid_namespaces(7)).
    sys.exit(128 + number)


# --- raw mode -------------------------------------------------------------------------------------


@contextmanager
def _raw(fd: int) -> Iterator[Callable[[], None]]:
    """Have every key sent as it is; yields what does so again, after a stop."""
    try:
        before = termios.tcgetattr(fd)
    except (termios.error, OSError):
        yield lambda: None
        return
    try:
        _set(fd, _as_raw(before))
        yield lambda: _set(fd, _as_raw(before))
    finally:
        _set(fd, before)


def _as_raw(attributes: list[object]) -> list[object]:
    """Return attributes as cfmakeraw(3) makes them, but for parity, which no pty has."""
    raw = list(attributes)
    characters = list(attributes[_CHARACTERS])  # type: ignore[call-overload] # a list, by its place
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    raw[_CHARACTERS] = characters
    off = {
        _IN: termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON,
        _OUT: termios.OPOST,
        _LOCAL: termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN,
    }
    for field, flags in off.items():
        raw[field] = int(str(attributes[field])) & ~flags
    return raw


def _set(fd: int, attributes: list[object]) -> None:
    """Set the attributes at once, unless another job has the terminal: they are its business then.

    A shell that was given its terminal back, since we were stopped, has set what it wants.
    """
    with suppress(OSError, termios.error):  # It may be hung up.
        if _in_background(fd):
            return
        # SIGTTOU stops whoever does this in the background, which we may be by now; not if it is
        # blocked (tcsetattr(3), Linux __tty_check_change).
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            # Not TCSADRAIN: a terminal that nobody reads would never be restored.
            termios.tcsetattr(fd, termios.TCSANOW, attributes)  # type: ignore[arg-type]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _in_background(fd: int) -> bool:
    try:
        return os.tcgetpgrp(fd) not in (0, os.getpgrp())
    except OSError:  # It is not our controlling terminal: nobody stops us.
        return False


# --- bytes ----------------------------------------------------------------------------------------


def _opened_anew(fd: int, flags: int) -> trio.lowlevel.FdStream | None:
    """Return a terminal by an open file description of our own; None if it can't be had."""
    try:
        own = os.open(os.ttyname(fd), flags | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None  # No terminal, or one that belongs to another user, as after su(1).
    if os.fstat(own).st_rdev != os.fstat(fd).st_rdev:  # A name means another one in a container.
        os.close(own)
        return None
    return trio.lowlevel.FdStream(own)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
