"""Raw mode of the local terminal, and job control there.

Only the foreground job of a terminal may use it (termios(3), credentials(7)). The kernel stops a
background job by SIGTTIN if it reads, and by SIGTTOU if it sets the modes, or writes under
``stty tostop``. A stopped process does not act on SIGTERM. So both signals are ignored here: then
a read in the background fails with EIO. Setting the modes would succeed, so the code checks for
the foreground before.
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
    """Ignore SIGTTIN and SIGTTOU from now on, so that job control does not stop this process."""
    for number in signal.SIGTTIN, signal.SIGTTOU:
        signal.signal(number, signal.SIG_IGN)


def in_background(fd: int) -> bool:
    """Return whether it is our controlling terminal, and another job is in the foreground there."""
    try:
        return os.tcgetpgrp(fd) not in (0, os.getpgrp())
    except OSError:  # Not our controlling terminal, not a terminal, or hung up.
        return False


def may_write(fd: int) -> bool:
    """Return whether job control allows this process to write there."""
    try:
        return not (in_background(fd) and termios.tcgetattr(fd)[_LOCAL] & termios.TOSTOP)
    except (termios.error, OSError):
        return True  # The write will fail, and say why.


def stop() -> None:
    """Stop this process, as SIGTSTP does; returns when it is continued.

    In an orphaned process group, which no shell could continue, the kernel does not stop it.
    """
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    # raise(3) sends to this thread: kill(2) may choose another, and this one would run on.
    signal.raise_signal(signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, before)


class RawMode:
    """Sets raw mode while we are in the foreground, and restores the modes. ``fd`` None: neither.

    The restored modes are those of our first time in the foreground. Before, the terminal may have
    the modes in which the shell edits its command line.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd: Final = fd
        self._before: list[object] | None = None

    def enter(self) -> None:
        """Set raw mode, or set it again, if we are in the foreground."""
        with suppress(termios.error, OSError):
            if self._fd is not None and not in_background(self._fd):
                if self._before is None:
                    self._before = termios.tcgetattr(self._fd)
                self._set(self._fd, _as_raw(self._before))

    def leave(self) -> None:
        """Restore the modes if we are in the foreground; another job there has set its own."""
        with suppress(termios.error, OSError):  # It may be hung up.
            if self._fd is not None and self._before is not None and not in_background(self._fd):
                self._set(self._fd, self._before)

    @staticmethod
    def _set(fd: int, attributes: list[object]) -> None:
        # We may be in the background by now. Unless SIGTTOU is ignored or blocked, it would stop us
        # (tcsetattr(3), Linux __tty_check_change).
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            # TCSADRAIN would wait for ever if the terminal's output is not read.
            termios.tcsetattr(fd, termios.TCSANOW, attributes)  # type: ignore[arg-type]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _as_raw(attributes: list[object]) -> list[object]:
    """Return attributes as cfmakeraw(3) sets them, except parity, which a pty does not have."""
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
