r"""What a session has done to the terminal it is shown on, and how that is undone. Pure.

A program that one detaches from, or that is killed, does not turn back what it has switched, and
the shell would inherit it. The names and numbers are those of xterm's ctlseqs; the keyboard
protocol is kitty's. This is no terminal emulator: it follows switches, not the screen.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Modes"]

_ALTERNATE: Final = (1049, 1047, 47)
"""Private modes that switch to the alternate screen."""
_OFF: Final = (
    *_ALTERNATE,
    *(1, 5, 6, 66, 69),  # cursor keys, reverse video, origin, keypad, left and right margins
    *(9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016),  # mouse and focus
    *(2004, 2026, 2031, 2048),  # paste, synchronized output, colour and size reports
)
"""Private modes (``CSI ? … h`` and ``l``) that a shell expects to be off."""
_ON: Final = (25, 7)
"""Private modes that it expects to be on: the cursor is shown, long lines are wrapped."""
_ANSI_OFF: Final = (2, 4, 20)
"""Modes without the question mark that are off: locked keyboard, insert, new line."""
_SOFT: Final = (6, 66, 69)
"""Private modes that a soft reset (DECSTR) turns off."""
_MOST: Final = 64
"""Entries that are popped from a stack at the end; no terminal keeps more."""
_LONGEST: Final = 256
"""Bytes of an unfinished sequence that are kept; a longer one is none that is followed."""
_LINK: Final = 4096
"""Bytes that are kept of an operating system command's start."""

_SEQUENCE = re.compile(
    rb"\x1b(?:\[([<-?]?)([\d:;]*)([ -/]*)([@-~])|([\]P_^X])|([ -/]*)([0-Z\\-~]))|([\x0e\x0f])"
)
"""A control sequence; the start of a string; another escape; a shift of the character set."""
_STARTS: Final = (b"\x1b", b"\x0e", b"\x0f")
_CUT_OFF = re.compile(rb"\x1b(?:\[[<-?]?[\d:;]*[ -/]*|[ -/]*)\Z")
_STRING_END = re.compile(rb"[\x07\x18\x1a\x1b]")


class Modes:
    """Follows the modes that output sets. Give all of it to `feed`, in any pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._string: bytearray | None = None
        """The start of a string (OSC, DCS and the like) that has not ended yet."""
        self._reset()

    def _reset(self) -> None:
        self._private: set[int] = set()
        """Private modes that are not as a shell expects them."""
        self._ansi: set[int] = set()
        self._key_options: set[int] = set()
        """Resources of XTMODKEYS (``CSI > … m``): 4 is modifyOtherKeys."""
        self._key_flags = {False: 0, True: 0}
        """Entries pushed to kitty's stack, on the main and on the alternate screen."""
        self._key_flags_set = {False: False, True: False}
        self._titles: list[int] = []
        self._keypad = self._shape = self._region = self._linked = False
        self._drawing = self._shifted = self._coloured = False

    def feed(self, data: bytes) -> None:
        """Take note of some output."""
        if self._string is None and not self._rest and not any(each in data for each in _STARTS):
            return
        data, self._rest = self._rest + data, b""
        at = 0
        while True:
            if self._string is not None:
                ended = _STRING_END.search(data, at)
                until = len(data) if ended is None else ended.start()
                self._string += data[at:until][: _LINK - len(self._string)]
                if ended is None:
                    return
                at = until if ended[0] == b"\x1b" else until + 1
                self._string_ended(bytes(self._string))
                self._string = None
            found = _SEQUENCE.search(data, at)
            if found is None:
                break
            at = found.end()
            self._switch(found)
        cut_off = _CUT_OFF.search(data, max(at, len(data) - _LONGEST))
        self._rest = b"" if cut_off is None else cut_off[0]

    def undo(self) -> bytes:
        """Return what to write so that the terminal is as it is expected to be; b"" if it is."""
        told: list[str] = []
        # An unfinished string would swallow all of this. CAN cancels it; a terminal that does not
        # know CAN within a string ends it by the terminator.
        if self._string is not None:
            told.append("\x18\x1b\\")
        alternate = self._alternate
        told += self._keys(alternate=alternate)
        told += [f"\x1b[?{number}l" for number in _OFF if number in self._private]
        told += [f"\x1b[?{number}h" for number in _ON if number in self._private]
        if alternate:
            told += self._keys(alternate=False)  # Each screen has a stack of its own.
        told += [f"\x1b[{number}l" for number in sorted(self._ansi)]
        told += [f"\x1b[>{number}m" for number in sorted(self._key_options)]
        # A new region sends the cursor home, but for DECSC and DECRC around it.
        told += ["\x1b7\x1b[r\x1b8"] if self._region else []
        told += ["\x1b>"] if self._keypad else []
        told += ["\x1b[0 q"] if self._shape else []
        told += ["\x1b(B"] if self._drawing else []
        told += ["\x0f"] if self._shifted else []
        told += ["\x1b]8;;\x1b\\"] if self._linked else []
        told += [f"\x1b[23;{which}t" for which in reversed(self._titles[-_MOST:])]
        told += ["\x1b[0m"] if told or self._coloured else []
        self._reset()
        self._string, self._rest = None, b""
        return "".join(told).encode("ascii")

    @property
    def _alternate(self) -> bool:
        return not self._private.isdisjoint(_ALTERNATE)

    def _keys(self, *, alternate: bool) -> list[str]:
        """Return what empties the stack of a screen, and then clears the flags below it."""
        pushed = min(self._key_flags[alternate], _MOST)
        told = [f"\x1b[<{pushed}u"] if pushed else []
        return [*told, "\x1b[=0u"] if self._key_flags_set[alternate] else told

    # --- what is seen -----------------------------------------------------------------------------

    def _switch(self, found: re.Match[bytes]) -> None:
        prefix, parameters, between, final, string, other, escape, shift = found.groups()
        if shift:
            self._shifted = shift == b"\x0e"
        elif string:
            self._string = bytearray(string)
        elif final is None:
            self._escape(other, escape)
        else:
            numbers = [int(each[:9].partition(b":")[0] or 0) for each in parameters.split(b";")]
            self._control(prefix + between + final, numbers, parameters)

    def _string_ended(self, string: bytes) -> None:
        """Take note of a hyperlink (OSC 8): it is open until one without an address."""
        if string.startswith(b"]8;"):
            self._linked = bool(string[3:].partition(b";")[2])

    def _escape(self, between: bytes, final: bytes) -> None:
        if between == b"(":
            self._drawing = final != b"B"
        elif not between and final in b"=>":
            self._keypad = final == b"="
        elif not between and final == b"c":  # RIS, a full reset
            self._reset()

    def _control(self, name: bytes, numbers: list[int], parameters: bytes) -> None:  # noqa: C901, PLR0912 - a table
        """Take note of a control sequence: one case for each of those that switch something."""
        plain = not parameters
        first, second = numbers[0], numbers[1] if len(numbers) > 1 else None
        match name:
            case b"?h" | b"?l":
                for number in numbers:
                    self._flip(self._private, number, number in (_OFF if name == b"?h" else _ON))
            case b"h" | b"l":
                for number in numbers:
                    self._flip(self._ansi, number, name == b"h" and number in _ANSI_OFF)
            case b" q":
                self._shape = first != 0
            case b"r":
                self._region = not plain
            case b"m":
                self._coloured = _coloured(parameters, self._coloured)
            case b">m" if plain:
                self._key_options.clear()
            case b">m":
                # Without a value it is as it was; 0 turns modifyOtherKeys off.
                self._flip(
                    self._key_options, first, second is not None and (first, second) != (4, 0)
                )
            case b">n":
                self._flip(self._key_options, first, first != 4)
            case b">u":
                self._key_flags[self._alternate] += 1
            case b"<u":
                left = self._key_flags[self._alternate] - (1 if plain else first)
                self._key_flags[self._alternate] = max(left, 0)
            case b"=u":
                if second in (None, 0, 1):  # All flags as given; 2 adds to them, 3 takes away.
                    self._key_flags_set[self._alternate] = first != 0
                elif second == 2 and first:
                    self._key_flags_set[self._alternate] = True
            case b"t" if first == 22:
                self._titles.append(second or 0)
            case b"t" if first == 23 and self._titles:
                self._titles.pop()
            case b"!p":  # DECSTR, a soft reset
                self._private -= {1, 25, *_SOFT}
                self._ansi -= {2, 4}
                self._keypad = self._region = self._drawing = self._shifted = False
                self._coloured = False
            case _:
                pass

    @staticmethod
    def _flip(switched: set[int], number: int, on: bool) -> None:  # noqa: FBT001 - a switch
        if on:
            switched.add(number)
        else:
            switched.discard(number)


def _coloured(parameters: bytes, before: bool) -> bool:  # noqa: FBT001 - a state
    """Return whether text has a colour or another attribute after ``CSI … m``."""
    coloured, numbers = before, iter(parameters.split(b";"))
    for each in numbers:
        coloured = each.strip(b"0") != b""
        if each in (b"38", b"48", b"58"):  # A colour follows: 5 and a number, or 2 and three.
            for _ in range({b"5": 1, b"2": 3}.get(next(numbers, b""), 0)):
                next(numbers, None)
    return coloured
