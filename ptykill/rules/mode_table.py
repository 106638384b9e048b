"""The modes that are in force on a terminal: in a table, and those that each screen has. Pure."""

from __future__ import annotations

from typing import Final

from ptykill.rules.pen import Pen

__all__ = ["ModeTable", "Screen"]

_MOST: Final = 64
"""Entries of a table; the oldest is dropped for another one."""
_MOST_FLAGS: Final = 16
"""Entries of a stack of keyboard flags; the oldest is dropped, as in kitty."""
_OFF: Final = frozenset(
    b"?1 ?5 ?6 ?45 ?69 ?1004 ?2004 ?2026 ?2027 ?2031 ?2048 4 20".split()  # CSI ? … h, CSI … h
)
"""Modes that are off on every terminal at first."""
_ON: Final = frozenset((b"?7", b"?25"))
"""Modes that are on at first: long lines are wrapped, the cursor is shown."""
_MOUSE: Final = frozenset((b"?9", b"?1000", b"?1001", b"?1002", b"?1003"))
"""Modes of which one is in force at most; a reset of any ends it."""
_ENCODINGS: Final = frozenset((b"?1005", b"?1006", b"?1015", b"?1016"))
"""The encodings of mouse reports, of which one is in force at most."""


class ModeTable:
    """For each mode the last sequence that has set it, in the order in which they came.

    So they have the same effect on a terminal as all sequences had, even if it does not know some
    of the modes, or resets others by them. A mode that is as it is at first has no entry.
    """

    def __init__(self) -> None:
        self._sequences: dict[bytes, bytes] = {}

    def put(self, key: bytes, sequence: bytes) -> None:
        """Note that a mode was set by a sequence; b"" if it is as at first."""
        self._sequences.pop(key, None)
        if sequence:
            self._sequences[key] = sequence
            if len(self._sequences) > _MOST:
                del self._sequences[next(iter(self._sequences))]

    def switch(self, private: bytes, number: bytes, final: bytes) -> None:
        """Note ``CSI … h`` and ``CSI … l`` for one mode; ``private`` is the question mark."""
        key, on = private + number, final == b"h"
        for group in _MOUSE, _ENCODINGS:
            if key in group:
                self.discard(group)
        as_at_first = key in _ON if on else key in _OFF | _MOUSE | _ENCODINGS
        self.put(key, b"" if as_at_first else b"\x1b[" + private + number + final)

    def discard(self, keys: frozenset[bytes]) -> None:
        """Note that some modes are as they are at first."""
        for key in keys:
            self._sequences.pop(key, None)

    def has(self, key: bytes) -> bool:
        """Return whether a mode is not as it is at first."""
        return key in self._sequences

    @property
    def empty(self) -> bool:
        """Whether all modes are as they are at first."""
        return not self._sequences

    def sequences(self) -> bytes:
        """Return the output that sets the modes on a terminal."""
        return b"".join(self._sequences.values())


class Screen:
    """What the main and the alternate screen have each of their own.

    These are the margins, the saved cursor (only how it draws: its place is not known), and the
    stack of keyboard flags.
    """

    def __init__(self) -> None:
        self.saved: Pen | None = None
        self.margins: bytes = b""
        self._flags = [0]

    def push_flags(self, flags: int) -> None:
        """Push keyboard flags (``CSI > … u``)."""
        self._flags.append(flags)
        del self._flags[1 : -_MOST_FLAGS + 1]

    def pop_flags(self, count: int) -> None:
        """Pop keyboard flags (``CSI < … u``); more than there are sets none."""
        self._flags = self._flags[: -max(count, 1)] or [0]

    def set_flags(self, flags: int, how: int) -> None:
        """Set (1), add (2) or remove (3) keyboard flags (``CSI = … u``)."""
        now = self._flags[-1]
        self._flags[-1] = {2: now | flags, 3: now & ~flags}.get(how, flags)

    def set_up(self, *, saves: bool = True) -> bytes:
        """Return the output that sets this state, with the saved cursor or without."""
        saved = b""
        if saves and self.saved is not None:
            saved = self.saved.draw() + b"\x1b7" + self.saved.undraw()
        base, *pushed = self._flags
        flags = b"\x1b[=%d;1u" % base if base else b""
        return self.margins + saved + flags + b"".join(b"\x1b[>%du" % each for each in pushed)
