r"""Find the key that detaches in the input, in each encoding in which terminals send it. Pure.

The default is Ctrl-], as with telnet: few programs use that key. Ctrl-\, which dtach uses, sends
SIGQUIT: a person attached to a program that hangs needs it for a stack dump.

A program may have asked the terminal for another encoding of keys (kitty's keyboard protocol,
xterm's modifyOtherKeys). Then Ctrl-] comes as ``CSI 93;5u``, or as ``CSI 27;5;93~``.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["DEFAULT", "DetachKeyFilter", "parse"]

DEFAULT: Final = "ctrl-]"

_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"
"""The keys that Ctrl makes a control character of: its code is the key's index (ascii(7))."""


def parse(text: str) -> bytes | None:
    """Return the byte that a key sends: ``ctrl-]``, ``ctrl-a``, ``^A``, or ``none`` for no key.

    Raises ValueError.
    """
    name = text.strip().lower()
    if name == "none":
        return None
    for prefix in ("ctrl-", "ctrl+", "c-", "^"):
        key = name.removeprefix(prefix)
        if key != name and len(key) == 1 and key in _CONTROLS:
            return bytes([_CONTROLS.index(key)])
    msg = f"a detach key is ctrl- and a letter or one of @[\\]^_, or none, not {text!r}"
    raise ValueError(msg)


_ENCODED = re.compile(
    rb"\x1b\[(?:(\d{1,7})(?::(\d{0,7}))?[\d:]{0,32};(\d{1,3})(?::([123]))?(?:;[\d:]{0,32})?u"
    rb"|27;(\d{1,3});(\d{1,7})~)"
)
"""A key with its modifiers: code, shifted code, modifiers and event; or modifiers and code."""
_CUT_OFF = re.compile(rb"\x1b\[\d[\d:;]{0,64}\Z")
"""The start of such a key, whose end comes with the next bytes. An ESC alone is sent at once."""
_STARTS: Final = (b"\x1b[", b"\x1b")
"""Sent at once although a key may continue: a program may wait for the key Escape."""
_SHIFT, _CONTROL, _LOCKS = 1, 4, 64 | 128
_RELEASED = b"3"


class DetachKeyFilter:
    """Looks for the detach key in the input; ``key`` None: there is none."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self._codes: set[int] = set()
        if key is not None:
            name = _CONTROLS[key[0]]
            self._codes = {ord(name), ord(name.upper())}
        self._tail = b""
        """The end of the input so far, if a key may have begun there."""
        self._sent = 0
        """How many bytes of it were returned already."""

    def before_key(self, data: bytes) -> tuple[bytes, bool]:
        """Return the input before the key, and whether the key was pressed.

        The first bytes of an encoded key are held back until the other bytes come.
        """
        if self._key is None:
            return data, False
        data, sent = self._tail + data, self._sent
        until, pressed = len(data), False
        if (raw := data.find(self._key)) >= 0:
            until, pressed = raw, True
        for encoded in _ENCODED.finditer(data, 0, until):
            if self._is_pressed(encoded):
                until, pressed = encoded.start(), True
                break
        if cut_off := None if pressed else _CUT_OFF.search(data):
            until = cut_off.start()
            self._tail, self._sent = cut_off[0], max(sent - until, 0)
        else:
            self._tail = next((each for each in _STARTS if data.endswith(each)), b"")
            self._sent = len(self._tail)
        return data[sent : max(until, sent)], pressed

    def _is_pressed(self, encoded: re.Match[bytes]) -> bool:
        code, shifted, modifiers, event, other_modifiers, other_code = encoded.groups()
        if event == _RELEASED:
            return False
        codes = {int(each) for each in (code, shifted, other_code) if each}
        held = (int(modifiers or other_modifiers) - 1) & ~_LOCKS
        # Some keys need Shift: Ctrl-_ is Ctrl, Shift and the minus on most keyboards.
        letter = self._key is not None and 1 <= self._key[0] <= 26
        allowed = (_CONTROL,) if letter else (_CONTROL, _CONTROL | _SHIFT)
        return held in allowed and not codes.isdisjoint(self._codes)
