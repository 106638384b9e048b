"""Encodes and decodes the frames of the WebSocket, for server and client. Pure.

A frame is a binary message: an opcode of one byte, then its data.

client to server   0x00 input · 0x01 columns, rows (big-endian u16) · 0x02 ready
server to client   0x00 output · 0x03 exit code (big-endian i32)
                   0x04 offset, missing (big-endian u64) · 0x05 output without an offset

The server sends 0x04 and 0x05 only to a client that attaches with an offset (``?from=``).
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
    "Gap",
    "Input",
    "Output",
    "Ready",
    "Resized",
    "exit_frame",
    "gap_frame",
    "input_frame",
    "output_frames",
    "read_from_client",
    "read_from_server",
    "resize_frame",
]

LARGEST = 32_768
"""The longest frame that the server sends, in bytes with the opcode: a public client's limit."""


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """Input for the terminal."""

    data: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Resized:
    """The new size of the client's window, in characters; 0 if its terminal has no size."""

    rows: int
    cols: int


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """The client is ready for output."""


Frame: TypeAlias = Input | Resized | Ready


@dataclasses.dataclass(frozen=True, slots=True)
class Exit:
    """The leader is dead; ``code`` is its exit code, None if the server can't know it."""

    code: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """Output; ``counted`` is whether it takes up offsets, which prepended modes do not."""

    data: bytes
    counted: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """The next output begins at ``offset``; ``missing`` bytes before it are not sent."""

    offset: int
    missing: int


# --- the server's end -----------------------------------------------------------------------------


class BadFrame(ValueError):
    """Raised for an invalid frame; ``code`` is the WebSocket close code for it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def read_from_client(message: bytes | str) -> Frame:
    """Decode a client's message. Raises `BadFrame`."""
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


def output_frames(data: bytes, *, counted: bool = True) -> Iterator[bytes]:
    """Encode output as frames that are no longer than `LARGEST`."""
    step = LARGEST - 1
    opcode = b"\x00" if counted else b"\x05"
    for start in range(0, len(data), step):
        yield opcode + data[start : start + step]


def gap_frame(offset: int, missing: int) -> bytes:
    """Encode the offset of the next output, and the number of bytes that are missing before it."""
    return struct.pack(">BQQ", 4, offset, missing)


def exit_frame(code: int | None) -> bytes:
    """Encode the leader's exit code; None, which can't be known, becomes -1."""
    return struct.pack(">Bi", 3, -1 if code is None else code)


# --- the client's end -----------------------------------------------------------------------------

READY: Final = b"\x02"
"""The frame by which a client asks for output."""


def input_frame(data: bytes) -> bytes:
    """Encode input for the terminal."""
    return b"\x00" + data


def resize_frame(rows: int, cols: int) -> bytes:
    """Encode the window's size, in characters: 0 to 65535."""
    return struct.pack(">BHH", 1, cols, rows)


def read_from_server(message: bytes | str) -> Output | Exit | Gap:
    """Decode a server's message.

    An unknown frame is returned as empty output: a newer server may send more kinds.
    """
    if isinstance(message, str):
        return Output(b"")
    match message[:1]:
        case b"\x00" | b"\x05":
            return Output(message[1:], counted=message[0] == 0)
        case b"\x03" if len(message) == 5:
            (code,) = struct.unpack(">i", message[1:])
            return Exit(None if code == -1 else code)
        case b"\x04" if len(message) == 17:
            return Gap(*struct.unpack(">QQ", message[1:]))
    return Output(b"")
