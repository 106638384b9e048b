"""Names of keys, and the bytes that a terminal sends for them (xterm, ctlseqs). Pure."""

from __future__ import annotations

import re
from typing import Final

from ptykill import InvalidArgument

__all__ = ["CURSOR_KEYS", "NAMES", "key_bytes", "with_application_keys"]

NAMES: Final = (
    "enter, tab, escape, backspace, delete, insert, up, down, left, right, home, end, page-up,"
    " page-down, space, f1 to f12, ctrl-a to ctrl-z, and alt- before any of them or a character"
)
"""All names, for a description."""

CURSOR_KEYS: Final = {"up": "A", "down": "B", "right": "C", "left": "D", "home": "H", "end": "F"}
"""The keys that send something else in application mode (DECCKM)."""

_KEYS: Final = {
    "enter": b"\r",
    "tab": b"\t",
    "escape": b"\x1b",
    "backspace": b"\x7f",
    "space": b" ",
    "insert": b"\x1b[2~",
    "delete": b"\x1b[3~",
    "page-up": b"\x1b[5~",
    "page-down": b"\x1b[6~",
    **{f"f{number}": b"\x1bO%c" % (0x4F + number) for number in range(1, 5)},
    **{
        f"f{number}": b"\x1b[%d~" % code
        for number, code in zip(range(5, 13), (15, 17, 18, 19, 20, 21, 23, 24), strict=True)
    },
}
_CONTROL: Final = re.compile(r"ctrl-([a-z@\[\\\]^_])")
_CURSOR_MODE: Final = re.compile(rb"\x1b\[\?(?:[0-9]+;)*1(?:;[0-9]+)*([hl])|\x1bc|\x1b\[!p")


def with_application_keys(output: bytes) -> bool:
    """Return whether the output has switched the cursor keys to application mode."""
    modes = _CURSOR_MODE.findall(output)  # An empty one for a reset of the terminal.
    return bool(modes) and modes[-1] == b"h"


def key_bytes(name: str, *, application: bool) -> bytes:
    """Return what a key sends. Raises `InvalidArgument` for a name that is none."""
    key = name.lower()
    if key.startswith("alt-") and len(key) > len("alt-"):
        rest = name[len("alt-") :]
        return b"\x1b" + (rest.encode() if len(rest) == 1 else key_bytes(rest, application=False))
    if key in CURSOR_KEYS:
        return (b"\x1bO" if application else b"\x1b[") + CURSOR_KEYS[key].encode()
    if (control := _CONTROL.fullmatch(key)) is not None:
        return bytes((ord(control[1].upper()) & 0x1F,))
    if key not in _KEYS:
        msg = f"there is no key {name!r}: the keys are {NAMES}"
        raise InvalidArgument(msg)
    return _KEYS[key]
