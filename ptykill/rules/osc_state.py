"""Follows what operating system commands (OSC) set: titles, colours, the open hyperlink. Pure."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["OscState"]

_LONGEST: Final = 1024
"""Bytes of the longest title and hyperlink that are kept."""
_LONGEST_COLOUR: Final = 64
_MOST_TITLES: Final = 10
"""Entries of the stack of titles, as in xterm."""
_ICON_NAME, _TITLE = b"1", b"2"
_INDEX = re.compile(rb"1?[0-9]{1,2}|2[0-4][0-9]|25[0-5]")
"""An entry of the palette: 0 to 255."""


class OscState:
    """The icon's name and the window's title, their stacks, the colours, and the hyperlink."""

    def __init__(self) -> None:
        self._titles: dict[bytes, bytes] = {}
        self._pushed: dict[bytes, tuple[bytes | None, ...]] = {}
        self._colours: dict[bytes, bytes] = {}
        self._link = b""

    def copy(self) -> OscState:
        """Return another object in the same state."""
        other = OscState()
        other._titles, other._pushed = dict(self._titles), dict(self._pushed)
        other._colours, other._link = dict(self._colours), self._link
        return other

    def follow(self, command: bytes) -> None:  # noqa: C901 - a table
        """Follow one command: what is between ``ESC ]`` and the terminator."""
        number, _, text = command.partition(b";")
        if number in (b"0", b"1", b"2") and len(text) <= _LONGEST:
            for which in (_ICON_NAME, _TITLE) if number == b"0" else (number,):
                self._titles[which] = text
        elif number == b"4":
            fields = text.split(b";")
            for index, colour in zip(fields[::2], fields[1::2], strict=False):
                if _INDEX.fullmatch(index):
                    self._set_colour(b"4;%d" % int(index), colour)
        elif number == b"104":
            self._reset_palette(text)
        elif number == b"8" and len(text) <= _LONGEST:
            self._link = text if text.partition(b";")[2] else b""
        elif len(number) == 2 and b"10" <= number <= b"19":
            # More colours set the next ones: foreground, background, cursor and so on.
            for offset, colour in enumerate(text.split(b";")[: 20 - int(number)]):
                self._set_colour(b"%d" % (int(number) + offset), colour)
        elif len(number) == 3 and b"110" <= number <= b"119":
            self._colours.pop(number[1:], None)

    def reset(self) -> None:
        """Follow a full reset (RIS), which leaves the titles."""
        self._colours.clear()
        self._link = b""

    def push_titles(self, which: int) -> None:
        """Follow ``CSI 22 ; … t``: 0 pushes both, 1 the icon's name, 2 the title."""
        for name in self._which(which):
            stack = self._pushed.get(name, ())
            self._pushed[name] = (*stack, self._titles.get(name))[-_MOST_TITLES:]

    def pop_titles(self, which: int) -> None:
        """Follow ``CSI 23 ; … t``."""
        for name in self._which(which):
            *stack, title = self._pushed.get(name) or (self._titles.get(name),)
            self._pushed[name] = tuple(stack)
            self._titles.pop(name, None)
            if title is not None:
                self._titles[name] = title

    def set_up(self) -> bytes:
        """Return the output that sets this state, but for the hyperlink."""
        output: list[bytes] = []
        for name in _ICON_NAME, _TITLE:
            for title in self._pushed.get(name, ()):
                output += [_command(name, title)] if title is not None else []
                output.append(b"\x1b[22;%st" % name)
            output += [_command(name, self._titles[name])] if name in self._titles else []
        output += [_command(which, colour) for which, colour in self._colours.items()]
        return b"".join(output)

    def open_link(self) -> bytes:
        """Return the output that opens the hyperlink that is open; b"" if none is."""
        return _command(b"8", self._link) if self._link else b""

    def _set_colour(self, which: bytes, colour: bytes) -> None:
        if colour and colour != b"?" and len(colour) <= _LONGEST_COLOUR:
            self._colours[which] = colour

    def _reset_palette(self, text: bytes) -> None:
        indices = [b"4;%d" % int(each) for each in text.split(b";") if _INDEX.fullmatch(each)]
        for which in indices or [each for each in self._colours if each.startswith(b"4;")]:
            self._colours.pop(which, None)

    @staticmethod
    def _which(which: int) -> tuple[bytes, ...]:
        return {0: (_ICON_NAME, _TITLE), 1: (_ICON_NAME,), 2: (_TITLE,)}.get(which, ())


def _command(number: bytes, text: bytes) -> bytes:
    return b"\x1b]" + number + b";" + text + b"\x1b\\"
