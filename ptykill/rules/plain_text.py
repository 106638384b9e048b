"""Takes the text out of a terminal's output: what is left without its escape sequences.

The sequences are those of ECMA-48 (5th edition, 8.3) and of xterm (ctlseqs). Control characters go
as well, apart from backspace, tab, newline and carriage return. A carriage return goes if a
newline follows it, which is how a terminal ends a line (termios(3), ONLCR); or if one is before it,
since the cursor is at the start of the line then.
"""

from __future__ import annotations

import enum
import re
from typing import Final

__all__ = ["PlainText", "plain"]

_TEXT: Final = re.compile(rb"[^\x00-\x07\x0b-\x1f\x7f]+")
_PARAMETERS: Final = re.compile(rb"[ -?]+")
_STRING_END: Final = re.compile(rb"[\x18\x1a\x1b]")
_OSC_END: Final = re.compile(rb"[\x07\x18\x1a\x1b]")
_ESC, _RETURN, _DELETE = 0x1B, 0x0D, 0x7F
_ABORT: Final = (0x18, 0x1A)
"""CAN and SUB end a sequence."""
_STRINGS: Final = b"PX^_k"
"""DCS, SOS, PM and APC; and ``ESC k``, by which programs set the title of screen and tmux."""


class _State(enum.Enum):
    TEXT = enum.auto()
    ESCAPE = enum.auto()
    CONTROL = enum.auto()
    """In a control sequence (CSI)."""
    STRING = enum.auto()
    OSC = enum.auto()
    """In a string that BEL ends, too."""


class PlainText:
    """Divides output into text and the rest. Pure: however it is cut, the text is the same.

    ``offset`` is that of the first byte that is fed.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset: int = offset
        """The offset of the next byte to be fed."""
        self._state = _State.TEXT
        self._return_at: int | None = None
        """The offset of a carriage return that a newline may follow."""
        self._at_line_start = False
        self._pieces: list[tuple[int, bytes]] = []

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the text in some output: pieces, each with its offset in the output."""
        at, end = 0, len(data)
        while at < end:
            match self._state:
                case _State.TEXT:
                    at = self._text(data, at)
                case _State.ESCAPE:
                    at = self._escape(data, at)
                case _State.CONTROL:
                    at = self._control(data, at)
                case _State.STRING | _State.OSC:
                    at = self._string(data, at)
        self.offset += end
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> list[tuple[int, bytes]]:
        """Return the text that waits for what follows it: nothing follows."""
        self._put_return()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _text(self, data: bytes, at: int) -> int:
        found = _TEXT.match(data, at)
        if found is not None:
            text = found.group()
            if self._return_at is not None and text[0] == 0x0A:
                self._return_at = None
            self._put_return()
            self._put(self.offset + at, text)
            return found.end()
        self._act_on(data[at], self.offset + at)
        return at + 1

    def _act_on(self, byte: int, offset: int) -> None:
        """Take a control character, within a sequence or outside."""
        if byte == _ESC:
            self._state = _State.ESCAPE
        elif byte in _ABORT:
            self._state = _State.TEXT
        elif byte == _RETURN:
            if self._return_at is None:
                self._return_at = offset
        elif byte in b"\b\t\n":  # Within a sequence; elsewhere they are part of a piece.
            if byte == 0x0A:
                self._return_at = None
            self._put_return()
            self._put(offset, bytes((byte,)))

    def _escape(self, data: bytes, at: int) -> int:
        byte = data[at]
        if byte < 0x20 or byte == _DELETE:
            self._act_on(byte, self.offset + at)
        elif byte < 0x30:
            pass  # An intermediate byte, as in ``ESC ( B``.
        elif byte == 0x5B:  # [
            self._state = _State.CONTROL
        elif byte == 0x5D:  # ]
            self._state = _State.OSC
        elif byte in _STRINGS:
            self._state = _State.STRING
        else:
            self._state = _State.TEXT
            return at + (byte < 0x80)  # The byte of a character is no final one.
        return at + 1

    def _control(self, data: bytes, at: int) -> int:
        found = _PARAMETERS.match(data, at)
        if found is not None:
            return found.end()
        byte = data[at]
        if byte < 0x20 or byte == _DELETE:
            self._act_on(byte, self.offset + at)
            return at + 1
        self._state = _State.TEXT
        return at + (byte < 0x80)

    def _string(self, data: bytes, at: int) -> int:
        end = _OSC_END if self._state is _State.OSC else _STRING_END
        found = end.search(data, at)
        if found is None:
            return len(data)
        self._state = _State.ESCAPE if found.group() == b"\x1b" else _State.TEXT
        return found.end()

    def _put_return(self) -> None:
        if self._return_at is not None:
            if not self._at_line_start:
                self._put(self._return_at, b"\r")
            self._return_at = None

    def _put(self, offset: int, text: bytes) -> None:
        self._pieces.append((offset, text))
        self._at_line_start = text.endswith(b"\n")


def plain(data: bytes) -> bytes:
    """Return the text of a whole output."""
    reader = PlainText()
    return b"".join(text for _, text in (*reader.feed(data), *reader.finish()))
