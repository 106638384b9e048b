r"""Follows the modes that a session's output sets on a terminal, and sets them on another. Pure.

The names and numbers are those of xterm's ctlseqs; the keyboard protocol is kitty's. This is no
terminal emulator: it follows modes, neither the text nor the cursor's place. ESC starts a new
sequence in every state of a terminal, so a sequence is found without knowing what is before it. A
C1 control in UTF-8 (``\xc2\x9b`` is CSI) is the same as its form with ESC.
"""

from __future__ import annotations

import copy
import re
from typing import Final

from ptykill.rules.mode_table import ModeTable, Screen
from ptykill.rules.osc_state import OscState
from ptykill.rules.pen import CONTROLS, Pen, last_ones

__all__ = ["TerminalModes"]

_LONGEST: Final = 4096
"""Bytes of the longest sequence that is followed, and kept while it is unfinished."""
_BODY: Final = rb"[\x00-\x17\x19\x1c-\x3f\x7f]*+"
"""Parameters and intermediates; a terminal carries out the controls among them (ECMA-48)."""
_BARRIER = re.compile(
    rb"\x1b(?!\[[0-9;]*+[@-rv-~]|\[\?25[hl]|\(B)"  # The most frequent ones are none.
    rb"(?:\[(?:(%(body)s)([stu]|(?<=!)p)|(?=\?[0-9;]*?(?:47|104[789]))(%(body)s)([hl])|%(body)s\Z)"
    rb"|(\][^\x07\x18\x1a\x1b]*+|[PX^_][^\x18\x1a\x1b]*+)(?:[\x07\x18\x1a]|(?=\x1b)|(\Z))"
    rb"|([78c])|[ -/]*+\Z)" % {b"body": _BODY}
)
"""A sequence that saves, restores or resets modes; a string; or the start of any at the end of the
output. Between two of these, only the last of equal sequences counts."""
_SETTING = re.compile(
    rb"\x1b(?!\[[0-9;]*+[@-gi-km-pstu])"
    rb"(?:\[(?:%(body)s[hlqr]|[<=>?]%(body)s[mn])|[ -/]++[0-~]|[=>no|}~])" % {b"body": _BODY}
)
"""Any other sequence that sets a mode; but not SGR, which a `Pen` follows."""
_SHIFTS: Final = (b"\x0e", b"\x0f")
_SETTING_OR_SHIFT = re.compile(_SETTING.pattern + rb"|[\x0e\x0f]")
"""The same with SO and SI, which takes three times as long."""
_C1 = re.compile(rb"\xc2[\x80-\x9f]")
_PARTS = re.compile(rb"([<=>?]?)([0-9:;]*)([ -/]*)")
_ST: Final = b"\xc2\x9c"
_STRING_END = re.compile(rb"[\x18\x1a\x1b]|\xc2[\x80-\x9f]")
_OSC_END = re.compile(rb"[\x07\x18\x1a\x1b]|\xc2[\x80-\x9f]")
_MOST_PARAMETERS: Final = 256
"""Bytes of the parameters of a sequence that is followed."""
_ALTERNATE: Final = (47, 1047, 1049)
_KEYPAD: Final = b"keypad"
_SOFT_RESET: Final = b"\x1b[!p"


class TerminalModes:
    """The modes that the output has set so far. Give all output to `feed`, in any pieces.

    It takes up to some 40 KiB, whatever the output is.
    """

    def __init__(self) -> None:
        self._rest = b""
        """A sequence that has not ended yet, up to one byte more than `_LONGEST`."""
        self._osc = OscState()
        self._reset()

    def _reset(self) -> None:
        self._table = ModeTable()
        self._osc.reset()
        self._pen = Pen()
        self._main, self._alternate = Screen(), Screen()
        self._switched: int | None = None
        """The private mode that has switched to the alternate screen."""

    def copy(self) -> TerminalModes:
        """Return another object in the same state."""
        return copy.deepcopy(self)

    @property
    def unfinished(self) -> bool:
        """Whether the output so far ends within a sequence."""
        return bool(self._rest)

    @property
    def _screen(self) -> Screen:
        return self._main if self._switched is None else self._alternate

    def feed(self, data: bytes) -> None:
        """Follow some output."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        half = b""
        if b"\xc2" in data:
            if data.endswith(b"\xc2"):
                data, half = data[:-1], b"\xc2"
            data = _C1.sub(_with_escape, data)
        shifts = any(shift in data for shift in _SHIFTS)
        if shifts or b"\x1b" in data:
            setting = _SETTING_OR_SHIFT if shifts else _SETTING
            followed = 0
            for barrier in _BARRIER.finditer(data):
                self._pen.follow(data, followed, barrier.start())
                self._follow_settings(setting.findall(data, followed, barrier.start()))
                followed = barrier.end()
                if not self._follow_barrier(barrier):
                    self._rest = barrier[0][: _LONGEST + 1]
            self._pen.follow(data, followed, len(data))
            self._follow_settings(setting.findall(data, followed))
        self._rest += half

    def finish(self, data: bytes) -> int:
        """Feed the start of ``data`` until the sequence that is unfinished has ended.

        Return how many bytes that are.
        """
        at = 0
        while self._rest and at < len(data):
            kind = self._rest[1:2]
            if kind and kind in b"]PX^_" and not self._rest.endswith(b"\xc2"):
                end = (_OSC_END if kind == b"]" else _STRING_END).search(data, at)
                if end is None:
                    self.feed(data[at:])
                    return len(data)
                if end[0][:1] in (b"\x1b", b"\xc2"):  # It starts the next sequence.
                    how = b"\x1b\\" if end[0] in (b"\x1b", _ST) else b"\x18"
                    self.feed(data[at : end.start()] + how)
                    return end.start()
                self.feed(data[at : end.end()])
                at = end.end()
            else:
                self.feed(data[at : at + 1])
                at += 1
        return at

    def set_up(self) -> bytes:
        """Return the output that sets the modes on a terminal that has none; b"" for none.

        It ends within a sequence if the output so far does, so that the rest completes it. A long
        string is then replaced by one that terminals ignore.
        """
        main, alternate = self._main.set_up(), b""
        if self._switched is not None:
            switch = b"\x1b[?%dh" % self._switched
            if self._switched == 1049 and self._main.saved is not None:
                main = self._main.set_up(saves=False)
                switch = self._main.saved.draw() + switch + self._main.saved.undraw()
            alternate = switch + self._alternate.set_up()
        drawing = self._pen.draw() + self._osc.open_link()
        rest = self._rest
        if len(rest) > _LONGEST:
            rest = b"\x1b]99999;" if rest[1:2] == b"]" else b"\x1bX"
        return b"".join(
            (self._osc.set_up(), self._table.sequences(), main, alternate, drawing, rest)
        )

    # --- sequences in the output ------------------------------------------------------------------

    def _follow_settings(self, sequences: list[bytes]) -> None:
        for each in last_ones(sequences):
            if len(each) > _LONGEST:
                pass
            elif each[:2] == b"\x1b[":
                self._control(each[2:-1], each[-1:])
            elif len(each) > 2:
                self._pen.designate(each[1:-1], each[-1:])
            elif each in (b"\x1b=", b"\x1b>"):
                self._table.put(_KEYPAD, each if each == b"\x1b=" else b"")
            else:
                self._pen.shift(each)

    def _follow_barrier(self, found: re.Match[bytes]) -> bool:
        """Follow a sequence; return False for one that the end of the output has cut off."""
        body, final, private, switch, string, cut, single = found.groups()
        followed = found.end() - found.start() <= _LONGEST
        if final or switch:
            if followed:
                self._control(body or private or b"", final or switch)
        elif string is not None:
            cancelled = found[0].endswith((b"\x18", b"\x1a"))
            if cut is None and followed and not cancelled and string[:1] == b"]":
                self._osc.follow(string[1:])
            return cut is None
        elif single == b"7":
            self._save_cursor()
        elif single == b"8":
            self._restore_cursor()
        elif single == b"c":  # RIS, a full reset
            self._reset()
        else:
            return False
        return True

    def _control(self, body: bytes, final: bytes) -> None:  # noqa: C901, PLR0912 - a table
        """Follow a control sequence: one case for each that sets a mode."""
        parts = _PARTS.fullmatch(body.translate(None, CONTROLS))
        if parts is None or len(body) > _MOST_PARAMETERS:
            return
        private, parameters, between = parts.groups()
        first, *others = [int(each.partition(b":")[0][:9] or 0) for each in parameters.split(b";")]
        second = others[0] if others else None
        match private + between + final:
            case b"h" | b"l":
                for number in first, *others:
                    self._table.switch(b"", b"%d" % number, final)
            case b"?h" | b"?l":
                for number in first, *others:
                    self._switch(number, final)
            case b"s" if not (parameters and self._table.has(b"?69")):
                self._save_cursor()
            case b"u":
                self._restore_cursor()
            case b"r":
                self._screen.margins = b"\x1b[%sr" % parameters if parameters else b""
            case b"!p":
                self._soft_reset()
            case b" q":
                self._table.put(b" q", b"\x1b[%d q" % first if first else b"")
            case b'"q':
                self._table.put(b'"q', b'\x1b[1"q' if first == 1 else b"")
            case b">m" | b">n":
                self._set_key_option(first, second, parameters, final)
            case b">u":
                self._screen.push_flags(first)
            case b"<u":
                self._screen.pop_flags(first)
            case b"=u":
                self._screen.set_flags(first, second or 1)
            case b"t" if first == 22:
                self._osc.push_titles(second or 0)
            case b"t" if first == 23:
                self._osc.pop_titles(second or 0)
            case _:
                pass

    def _switch(self, number: int, final: bytes) -> None:
        """Follow ``CSI ? … h`` and ``CSI ? … l`` for one mode."""
        on = final == b"h"
        if number in _ALTERNATE:
            if number == 1049 and on:
                self._save_cursor()
            if on:
                self._switched = self._switched or number
            elif self._switched is not None:
                self._switched, self._alternate.margins = None, b""
            if number == 1049 and not on:
                self._restore_cursor()
        elif number == 1048:
            if on:
                self._save_cursor()
            else:
                self._restore_cursor()
        elif number == 66:
            self._table.put(_KEYPAD, b"\x1b=" if on else b"")
        elif number not in _NOT_MODES:
            self._table.switch(b"?", b"%d" % number, final)

    def _set_key_option(
        self, which: int, value: int | None, parameters: bytes, final: bytes
    ) -> None:
        """Follow XTMODKEYS: ``CSI > … m`` sets an option, ``CSI > … n`` disables it."""
        if not parameters and final == b"m":
            self._table.discard(frozenset(b">m%d" % each for each in range(10)))
        elif which < 10:
            as_at_first = value is None and final == b"m"
            sequence = b"\x1b[>%s%s" % (parameters, final)
            self._table.put(b">m%d" % which, b"" if as_at_first else sequence)

    def _save_cursor(self) -> None:
        self._screen.saved = self._pen.copy()

    def _restore_cursor(self) -> None:
        saved = self._screen.saved
        self._pen = Pen() if saved is None else saved.copy()

    def _soft_reset(self) -> None:
        """Follow DECSTR. What it resets depends on the terminal, so it has its place in the table.

        It resets how the terminal draws, the margins, and the saved cursor, on all of them.
        """
        if not self._table.empty:
            self._table.put(b"!p", _SOFT_RESET)
        self._pen = Pen()
        self._screen.margins, self._screen.saved = b"", None


_NOT_MODES: Final = frozenset((2, 3, 38, 40))
"""Private modes that switch to another terminal (VT52, Tektronix), or clear the screen (80 or 132
columns, and whether that is allowed)."""


def _with_escape(found: re.Match[bytes]) -> bytes:
    """Return the form with ESC of a C1 control: 0x9b is ``ESC [``.

    But for ST it cancels a string, which ESC ends.
    """
    escape = b"\x1b%c" % (found[0][1] - 0x40)
    return escape if found[0] == _ST else b"\x18" + escape
