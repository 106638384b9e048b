"""Follows how a terminal draws characters: colours and other attributes, and character sets. Pure.

The names and numbers are those of xterm's ctlseqs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["CONTROLS", "Pen", "last_ones"]

CONTROLS: Final = bytes({*range(0x18), 0x19, *range(0x1C, 0x20), 0x7F})
"""The controls that a terminal carries out within a sequence (ECMA-48): all but CAN, SUB, ESC."""

_SET: Final = {
    **dict.fromkeys(range(30, 38), "foreground"),
    **dict.fromkeys(range(90, 98), "foreground"),
    **dict.fromkeys(range(40, 48), "background"),
    **dict.fromkeys(range(100, 108), "background"),
    **dict.fromkeys((4, 21), "underline"),
    **dict.fromkeys((5, 6), "blink"),
    **dict.fromkeys(range(11, 20), "font"),
    **dict.fromkeys((51, 52), "frame"),
    **dict.fromkeys((73, 74), "script"),
    1: "bold",
    2: "faint",
    3: "italic",
    7: "inverse",
    8: "invisible",
    9: "crossed-out",
    20: "fraktur",
    26: "proportional",
    53: "overline",
    38: "foreground",
    48: "background",
    58: "underline colour",
}
"""What a parameter of SGR sets."""
_RESET: Final = {
    10: ("font",),
    22: ("bold", "faint"),
    23: ("italic", "fraktur"),
    24: ("underline",),
    25: ("blink",),
    27: ("inverse",),
    28: ("invisible",),
    29: ("crossed-out",),
    39: ("foreground",),
    49: ("background",),
    50: ("proportional",),
    54: ("frame",),
    55: ("overline",),
    59: ("underline colour",),
    75: ("script",),
}
"""What a parameter of SGR resets."""
_COLOUR_LENGTH: Final = {b"5": 2, b"2": 4}
"""How many parameters follow 38, 48 and 58: ``5`` and an index, or ``2`` and three parts."""
_LONGEST: Final = 64
"""Bytes of the longest parameter that is kept."""
_MOST_INTERMEDIATES: Final = 4
_SGR = re.compile(rb"\x1b\[([0-9:;\x00-\x17\x19\x1c-\x1f\x7f]*+)m")
_RESETS: Final = (b"\x1b[m", b"\x1b[0m")
_SLOTS: Final = {
    **dict(zip(b"()*+", range(4), strict=True)),
    **dict(zip(b"-./", range(1, 4), strict=True)),
}
"""The first intermediate of a designation, and which of G0 to G3 it sets."""


def last_ones(sequences: list[bytes]) -> Iterable[bytes]:
    """Return the last of equal sequences, in the order in which these came."""
    return reversed(dict.fromkeys(reversed(sequences)))


class Pen:
    """The attributes, the designated character sets, and the one in use."""

    def __init__(self) -> None:
        self._attributes: dict[str, bytes] = {}
        self._charsets: list[bytes] = [b"", b"", b"", b""]
        self._shift = b""

    def copy(self) -> Pen:
        """Return a pen in the same state."""
        other = Pen()
        other._attributes = dict(self._attributes)
        other._charsets = list(self._charsets)
        other._shift = self._shift
        return other

    def follow(self, output: bytes, start: int, end: int) -> None:
        """Follow the attributes that a part of the output sets (SGR)."""
        reset = max(output.rfind(each, start, end) for each in _RESETS)
        for parameters in last_ones(_SGR.findall(output, max(start, reset), end)):
            self._set_attributes(parameters.translate(None, CONTROLS))

    def designate(self, intermediates: bytes, final: bytes) -> None:
        """Follow a designation of G0 to G3."""
        slot = _SLOTS.get(intermediates[0])
        if slot is not None and len(intermediates) <= _MOST_INTERMEDIATES:
            usual = intermediates == b"()*+"[slot : slot + 1] and final == b"B"
            self._charsets[slot] = b"" if usual else b"\x1b" + intermediates + final

    def shift(self, sequence: bytes) -> None:
        """Follow a shift to another character set: SI, SO, or an escape sequence."""
        self._shift = b"" if sequence == b"\x0f" else sequence

    def draw(self) -> bytes:
        """Return the output that sets this state, from the initial one; b"" for that."""
        sgr = b"\x1b[" + b";".join(self._attributes.values()) + b"m" if self._attributes else b""
        return b"".join(self._charsets) + self._shift + sgr

    def undraw(self) -> bytes:
        """Return the output that sets the initial state, from this one; b"" if it is that."""
        usual = [
            b"\x1b%cB" % intermediate
            for intermediate, charset in zip(b"()*+", self._charsets, strict=True)
            if charset
        ]
        shift = b"\x0f" if self._shift else b""
        return b"".join(usual) + shift + (b"\x1b[m" if self._attributes else b"")

    def _set_attributes(self, parameters: bytes) -> None:
        each = parameters.split(b";")
        at = 0
        while at < len(each):
            parameter, length = each[at], 1
            number = int(parameter.partition(b":")[0][:3] or b"0")
            if parameter in (b"38", b"48", b"58"):
                length += _COLOUR_LENGTH.get(each[at + 1] if at + 1 < len(each) else b"", 0)
                parameter = b";".join(each[at : at + length])
            at += length
            if number == 0:
                self._attributes.clear()
            elif parameter.startswith(b"4:0"):
                self._attributes.pop("underline", None)
            elif number in _SET and len(parameter) <= _LONGEST:
                self._attributes[_SET[number]] = parameter
            else:
                for name in _RESET.get(number, ()):
                    self._attributes.pop(name, None)
