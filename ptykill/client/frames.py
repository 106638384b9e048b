"""The frames of the WebSocket as a client has them; `ptykill.http.frames` is the other end. Pure.

client to server   0x00 input · 0x01 columns, rows (big-endian u16) · 0x02 ready
server to client   0x00 output · 0x03 exit code (big-endian i32)
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Final

__all__ = ["READY", "Exit", "read", "resized", "typed"]

READY: Final = b"\x02"
"""Output is taken from now on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Exit:
    """The leader is dead; ``code`` is None where the daemon can't know it."""

    code: int | None


def typed(data: bytes) -> bytes:
    """Return the frame that has ``data`` typed."""
    return b"\x00" + data


def resized(rows: int, cols: int) -> bytes:
    """Return the frame that tells the window's size, in characters: 0 to 65535."""
    return struct.pack(">BHH", 1, cols, rows)


def read(message: bytes | str) -> bytes | Exit:
    """Return the output in a daemon's message, or the exit that it tells.

    What is not known is no output: a newer daemon may say more.
    """
    if isinstance(message, str):
        return b""
    match message[:1]:
        case b"\x00":
            return message[1:]
        case b"\x03" if len(message) == 5:
            (code,) = struct.unpack(">i", message[1:])
            return Exit(None if code == -1 else code)
    return b""
