"""The frames of the WebSocket, as bytes: an opcode, and what belongs to it. Pure.

client to server   0x00 input · 0x01 columns, rows (big-endian u16) · 0x02 ready
server to client   0x00 output · 0x03 exit code (big-endian i32)
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import TypeAlias

__all__ = [
    "LARGEST",
    "BadFrame",
    "Frame",
    "Input",
    "Ready",
    "Resized",
    "exit_frame",
    "output",
    "read",
]

LARGEST = 32_768
"""No frame of the server's is longer, opcode included: a public client reads no more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """Bytes to be typed."""

    data: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Resized:
    """The client's window has another size; 0 is what an unsized terminal has."""

    rows: int
    cols: int


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """The client takes output from now on."""


Frame: TypeAlias = Input | Resized | Ready


class BadFrame(ValueError):
    """A frame that can't be read: ``code`` is the WebSocket close code that says so."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def read(message: bytes | str) -> Frame:
    """Return what a client's message says. Raises `BadFrame`."""
    if isinstance(message, str):
        raise BadFrame(1003, "frames are binary")
    match message[:1]:
        case b"\x00":
            return Input(message[1:])
        case b"\x01" if len(message) == 5:
            cols, rows = struct.unpack(">HH", message[1:])
            return Resized(rows, cols)
        case b"\x02" if len(message) == 1:
            return Ready()
        case b"\x01" | b"\x02":
            raise BadFrame(1008, "a frame of the wrong length")
    raise BadFrame(1008, "an unknown opcode" if message else "an empty frame")


def output(data: bytes) -> Iterator[bytes]:
    """Return frames that carry output, each no longer than `LARGEST`."""
    step = LARGEST - 1
    for start in range(0, len(data), step):
        yield b"\x00" + data[start : start + step]


def exit_frame(code: int | None) -> bytes:
    """Return the frame that tells the exit code; -1 where it can't be known."""
    return struct.pack(">Bi", 3, -1 if code is None else code)
