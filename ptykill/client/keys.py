r"""The key that detaches. Pure.

It is Ctrl-] unless told otherwise, as with telnet. Programs hardly ever want that one, whereas
Ctrl-\ (dtach's) is the key for SIGQUIT: by it a person gets a stack dump out of a program that
hangs, which is just when one is attached to it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DEFAULT", "parse", "upto"]

DEFAULT: Final = "ctrl-]"

_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"
"""What Ctrl makes of a key: the place of each is the byte that is sent (ascii(7))."""


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


def upto(data: bytes, key: bytes | None) -> tuple[bytes, bool]:
    """Return what is typed before the key, and whether it was pressed."""
    if key is None:
        return data, False
    before, found, _ = data.partition(key)
    return before, bool(found)
