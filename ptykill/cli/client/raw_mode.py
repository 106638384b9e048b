"""Raw mode of the terminal that a person sits at, and whose turn it is there: job control.

A terminal belongs to the job in its foreground (termios(3), credentials(7)). Another one is stopped
if it reads from it, by SIGTTIN, and, by SIGTTOU, if it sets its modes, or writes to it under
``stty tostop``. Who is stopped can't be ended by SIGTERM. So both signals are ignored: to read in
the background is an error then (EIO). To set modes is none, so it is asked before whose turn it is.
"""

from __future__ import annotations

import os
import signal
import termios
from contextlib import suppress
from typing import Final

__all__ = ["RawMode", "ignore_background_stops", "in_background", "may_write", "stop"]

# The fields of termios(3), as `termios.tcgetattr` has them.
_IN, _OUT, _CONTROL, _LOCAL, _CHARACTERS = 0, 1, 2, 3, 6


def ignore_background_stops() -> None:
    """Let nobody stop this process by the terminal's turns, to the end of its life."""
    for number in signal.SIGTTIN, signal.SIGTTOU:
        signal.signal(number, signal.SIG_IGN)


def in_background(fd: int) -> bool:
    """Return whether another job has our controlling terminal; False for whatever else it is."""
    try:
        return os.tcgetpgrp(fd) not in (0, os.getpgrp())
    except OSError:  # It is not our controlling terminal, or none, or has been hung up.
        return False


def may_write(fd: int) -> bool:
    """Return whether a job in our place would not be stopped for writing there."""
    try:
        return not (in_background(fd) and termios.tcgetattr(fd)[_LOCAL] & termios.TOSTOP)
    except (termios.error, OSError):
        return True  # The write will tell.


def stop() -> None:
    """Stop as SIGTSTP asks for; returns when this process is continued.

    The kernel does not stop a process that no shell could continue (an orphaned process group).
    """
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    # To this thread, so that the others don't run on for a moment: raise(3).
    signal.raise_signal(signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, before)


class RawMode:
    """Has every key sent as it is, while it is our turn. Without a terminal it does nothing.

    What is restored are the modes of when it was our turn for the first time: those that a terminal
    has while a shell edits a line there are the shell's.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd: Final = fd
        self._before: list[object] | None = None

    def enter(self) -> None:
        """Set raw mode, or set it again, if it is our turn."""
        with suppress(termios.error, OSError):
            if self._fd is not None and not in_background(self._fd):
                if self._before is None:
                    self._before = termios.tcgetattr(self._fd)
                self._set(self._fd, _as_raw(self._before))

    def leave(self) -> None:
        """Restore the modes, if it is our turn; if not, the job that has it has set its own."""
        with suppress(termios.error, OSError):  # It may be hung up.
            if self._fd is not None and self._before is not None and not in_background(self._fd):
                self._set(self._fd, self._before)

    @staticmethod
    def _set(fd: int, attributes: list[object]) -> None:
        # In the background, where we may be by now, SIGTTOU would stop us if it were not ignored or
        # blocked (tcsetattr(3), Linux __tty_check_change).
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            # Not TCSADRAIN: a terminal that nobody reads would never be restored.
            termios.tcsetattr(fd, termios.TCSANOW, attributes)  # type: ignore[arg-type]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


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
