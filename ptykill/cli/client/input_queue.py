"""Hold input until it is sent, over one connection or the next."""

from __future__ import annotations

import re
from typing import Final, Self

import trio

__all__ = ["LONGEST_LINE", "InputQueue", "LineLengths"]

LONGEST_LINE: Final = 4095
"""Bytes of a line, without its end, that a terminal keeps in canonical mode (termios(3))."""

_MAX_BYTES: Final = 1 << 20
"""Bytes that may wait, such as a paste while the program does not read; then `put` waits."""
_MAX_CHUNK: Final = 65_536


class InputQueue:
    """A bounded queue of bytes. Iteration waits for bytes, and yields pieces to send.

    A piece stays in the queue until the next one is asked for. So a piece that a lost connection
    did not take is yielded again for the next connection.
    """

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._ended = False
        self._changed = trio.Event()
        self._yielded = 0

    @property
    def all_sent(self) -> bool:
        """Whether the input has ended, and all of it was sent."""
        return self._ended and not self._waiting

    async def put(self, data: bytes) -> None:
        """Add bytes, and wait while there are too many."""
        self._waiting += data
        self._change()
        while len(self._waiting) > _MAX_BYTES:
            await self._changed.wait()

    def end(self) -> None:
        """Note that no more input comes."""
        self._ended = True

    def clear(self) -> None:
        """Drop the bytes that were not sent."""
        self._waiting.clear()
        self._change()

    async def wait_sent(self) -> None:
        """Wait until everything is sent."""
        while self._waiting:
            await self._changed.wait()

    def __aiter__(self) -> Self:
        """Return the iterator, for one task at a time."""
        self._yielded = 0
        return self

    async def __anext__(self) -> bytes:
        """Remove the piece before, which was sent, and return the next."""
        if self._yielded:
            del self._waiting[: self._yielded]
            self._yielded = 0
            self._change()
        while not self._waiting:
            await self._changed.wait()
        data = bytes(self._waiting[:_MAX_CHUNK])
        self._yielded = len(data)
        return data

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class LineLengths:
    """Finds lines that a terminal in canonical mode would cut silently."""

    def __init__(self) -> None:
        self._length = 0

    def too_long(self, data: bytes) -> bool:
        """Return whether a line in these bytes is too long, counting the bytes before them."""
        first, *others = re.split(rb"[\r\n\x04]", data)
        lengths = [self._length + len(first), *map(len, others)]
        self._length = lengths[-1]
        return max(lengths) > LONGEST_LINE
