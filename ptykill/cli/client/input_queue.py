"""What is typed, and has not been sent yet."""

from __future__ import annotations

import re
from typing import Final, Self

import trio

__all__ = ["LONGEST_LINE", "InputQueue", "LineLengths"]

LONGEST_LINE: Final = 4095
"""Bytes of a line, without its end, that a terminal keeps in canonical mode (termios(3))."""

_MOST: Final = 1 << 20
"""Bytes that may wait: a paste, while the program does not read. More is not taken in."""
_AT_ONCE: Final = 65_536


class InputQueue:
    """A bounded queue of bytes. Iterating over it waits; what is yielded counts as sent after it.

    It outlives connections: what a connection did not take is still there for the next one.
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
        while len(self._waiting) > _MOST:
            await self._changed.wait()

    def end(self) -> None:
        """Say that there will be no more."""
        self._ended = True

    def clear(self) -> None:
        """Forget what was not sent."""
        self._waiting.clear()
        self._change()

    async def wait_sent(self) -> None:
        """Wait until everything is sent."""
        while self._waiting:
            await self._changed.wait()

    def __aiter__(self) -> Self:
        """Return what yields pieces to send; by one task at a time."""
        self._yielded = 0
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece, once the one before was sent."""
        if self._yielded:
            del self._waiting[: self._yielded]
            self._yielded = 0
            self._change()
        while not self._waiting:
            await self._changed.wait()
        data = bytes(self._waiting[:_AT_ONCE])
        self._yielded = len(data)
        return data

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class LineLengths:
    """Watches input for a line that a terminal in canonical mode would cut, without a word."""

    def __init__(self) -> None:
        self._length = 0

    def too_long(self, data: bytes) -> bool:
        """Return whether a line, with what came before, is longer than that in these bytes."""
        first, *others = re.split(rb"[\r\n\x04]", data)
        lengths = [self._length + len(first), *map(len, others)]
        self._length = lengths[-1]
        return max(lengths) > LONGEST_LINE
