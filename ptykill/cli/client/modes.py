r"""Follow the modes that a session's output sets on the terminal, and undo them. Pure.

A program that is killed, or that a person detaches from, does not reset the modes that it has set,
and the shell would get them. The names and numbers are those of xterm's ctlseqs; the keyboard
protocol is kitty's. This is no terminal emulator: it follows modes, not the screen.
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
"""Private modes that a shell expects to be on: the cursor is shown, long lines are wrapped."""
_ANSI_OFF: Final = (2, 4, 20)
"""Modes without the question mark that a shell expects to be off: locked keyboard, insert, LNM."""
_SOFT: Final = (6, 66, 69)
"""Private modes that a soft reset (DECSTR) turns off."""
_MOST: Final = 64
"""Entries that `undo` pops from a stack at most; no terminal keeps more."""
_LONGEST: Final = 256
"""Bytes of an unfinished sequence that are kept; no sequence that matters here is longer."""
_LINK: Final = 4096
"""Bytes that are kept of the start of an operating system command."""

_SEQUENCE = re.compile(
    rb"\x1b(?:\[([<-?]?)([\d:;]*)([ -/]*)([@-~])|([\]P_^X])|([ -/]*)([0-Z\\-~]))|([\x0e\x0f])"
)
"""A control sequence; the start of a string; another escape; a shift of the character set."""
_STARTS: Final = (b"\x1b", b"\x0e", b"\x0f")
_CUT_OFF = re.compile(rb"\x1b(?:\[[<-?]?[\d:;]*[ -/]*|[ -/]*)\Z")
_STRING_END = re.compile(rb"[\x07\x18\x1a\x1b]")


class Modes:
    """The modes that the output has set so far. Give all output to `feed`, in any pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._string: bytearray | None = None
        """The start of a string (OSC, DCS and the like) that has not ended yet."""
        self._reset()

    def _reset(self) -> None:
        self._private: set[int] = set()
        """Private modes whose state is not the one that a shell expects."""
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
        """Follow some output."""
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
        """Return the output that resets all modes; b"" if none is set."""
        output: list[str] = []
        # An unfinished string would contain all of this. CAN cancels it; a terminal that does not
        # know CAN within a string ends the string at the terminator.
        if self._string is not None:
            output.append("\x18\x1b\\")
        alternate = self._alternate
        output += self._keys(alternate=alternate)
        output += [f"\x1b[?{number}l" for number in _OFF if number in self._private]
        output += [f"\x1b[?{number}h" for number in _ON if number in self._private]
        if alternate:
            output += self._keys(alternate=False)  # Each screen has a stack of its own.
        output += [f"\x1b[{number}l" for number in sorted(self._ansi)]
        output += [f"\x1b[>{number}m" for number in sorted(self._key_options)]
        # Setting the region moves the cursor home; DECSC and DECRC around it restore its place.
        output += ["\x1b7\x1b[r\x1b8"] if self._region else []
        output += ["\x1b>"] if self._keypad else []
        output += ["\x1b[0 q"] if self._shape else []
        output += ["\x1b(B"] if self._drawing else []
        output += ["\x0f"] if self._shifted else []
        output += ["\x1b]8;;\x1b\\"] if self._linked else []
        output += [f"\x1b[23;{which}t" for which in reversed(self._titles[-_MOST:])]
        output += ["\x1b[0m"] if output or self._coloured else []
        self._reset()
        self._string, self._rest = None, b""
        return "".join(output).encode("ascii")

    @property
    def _alternate(self) -> bool:
        return not self._private.isdisjoint(_ALTERNATE)

    def _keys(self, *, alternate: bool) -> list[str]:
        """Return the sequences that empty the stack of a screen, and clear the flags below it."""
        pushed = min(self._key_flags[alternate], _MOST)
        output = [f"\x1b[<{pushed}u"] if pushed else []
        return [*output, "\x1b[=0u"] if self._key_flags_set[alternate] else output

    # --- sequences in the output ------------------------------------------------------------------

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
        """Follow a hyperlink (OSC 8): it is open until one without an address."""
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
        """Follow a control sequence: one case for each that sets or resets a mode."""
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
                # Without a value the resource gets its initial one; 0 turns modifyOtherKeys off.
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
                if second in (None, 0, 1):  # Sets all flags; 2 adds flags, 3 removes them.
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
