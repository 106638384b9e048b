"""The frames of the WebSocket, as bytes: an opcode, and what belongs to it; for both ends. Pure.

client to server   0x00 input · 0x01 columns, rows (big-endian u16) · 0x02 ready
server to client   0x00 output · 0x03 exit code (big-endian i32)
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

__all__ = [
    "LARGEST",
    "READY",
    "BadFrame",
    "Exit",
    "Frame",
    "Input",
    "Ready",
    "Resized",
    "exit_frame",
    "input_frame",
    "output_frames",
    "read_from_client",
    "read_from_server",
    "resize_frame",
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


@dataclasses.dataclass(frozen=True, slots=True)
class Exit:
    """The leader is dead; ``code`` is None where the server can't know it."""

    code: int | None


# --- the server's end -----------------------------------------------------------------------------


class BadFrame(ValueError):
    """A frame that can't be read: ``code`` is the WebSocket close code that says so."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def read_from_client(message: bytes | str) -> Frame:
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


def output_frames(data: bytes) -> Iterator[bytes]:
    """Return frames that carry output, each no longer than `LARGEST`."""
    step = LARGEST - 1
    for start in range(0, len(data), step):
        yield b"\x00" + data[start : start + step]


def exit_frame(code: int | None) -> bytes:
    """Return the frame that tells the exit code; -1 where it can't be known."""
    return struct.pack(">Bi", 3, -1 if code is None else code)


# --- the client's end -----------------------------------------------------------------------------

READY: Final = b"\x02"
"""Output is taken from now on."""


def input_frame(data: bytes) -> bytes:
    """Return the frame that has ``data`` typed."""
    return b"\x00" + data


def resize_frame(rows: int, cols: int) -> bytes:
    """Return the frame that tells the window's size, in characters: 0 to 65535."""
    return struct.pack(">BHH", 1, cols, rows)


def read_from_server(message: bytes | str) -> bytes | Exit:
    """Return the output in a server's message, or the exit that it tells.

    What is not known is no output: a newer server may say more.
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
