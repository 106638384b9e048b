r"""What a session has done to the terminal it is shown on, and how that is undone. Pure.

A full-screen program turns to the alternate screen, hides the cursor, asks for the mouse. When one
detaches from it, or it is killed, it does not turn these back, and the shell would have them. Only
private modes are followed (``CSI ? … h`` and ``l``, xterm's ctlseqs): this is no terminal emulator.
"""

from __future__ import annotations

import re

__all__ = ["Modes"]

_OFF = (1049, 1047, 47, 1, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 2004)
"""Modes that a shell expects to be off: alternate screens, cursor keys, mouse, focus, paste."""
_ON = (25, 7)
"""And those on: the cursor is shown, long lines are wrapped."""

_CHANGE = re.compile(rb"\x1b\[\?([\d;]{1,32})([hl])")
_CUT_OFF = re.compile(rb"\x1b(\[(\?[\d;]{0,32})?)?\Z")


class Modes:
    """Follows the modes that output sets. Give all of it to `see`, in any pieces."""

    def __init__(self) -> None:
        self._changed: set[int] = set()
        self._rest = b""

    def see(self, data: bytes) -> None:
        """Take note of some output."""
        data = self._rest + data
        for numbers, what in _CHANGE.findall(data):
            for number in (int(each) for each in numbers.split(b";") if each):
                if number in (_OFF if what == b"h" else _ON):
                    self._changed.add(number)
                else:
                    self._changed.discard(number)
        cut_off = _CUT_OFF.search(data, max(len(data) - 40, 0))
        self._rest = cut_off[0] if cut_off else b""

    def undo(self) -> bytes:
        """Return what to write so that the terminal is as it is expected to be; b"" if it is."""
        off = [f"\x1b[?{number}l" for number in _OFF if number in self._changed]
        on = [f"\x1b[?{number}h" for number in _ON if number in self._changed]
        self._changed.clear()
        return "".join([*off, *on, "\x1b[0m" if off or on else ""]).encode("ascii")
