"""A buffer of the newest bytes of a stream, addressed by their offsets in the stream."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Backlog"]

_BLOCK: Final = 65_536
"""Bytes per block: many small writes share one object."""


class Backlog:
    """Holds the bytes of a stream from offset ``start`` to offset ``end``. Pure: it never waits.

    `put` adds bytes at the end, `forget` drops the oldest. It takes up to an eighth more memory
    than the bytes, since a bytearray grows by that, and up to two blocks.
    """

    def __init__(self, block: int = _BLOCK) -> None:
        self.start: int = 0
        self.end: int = 0
        self._block = block
        self._blocks: deque[bytearray] = deque()  # All but the last are full.
        self._first = 0
        """The offset at which the first block begins."""

    def __len__(self) -> int:
        return self.end - self.start

    def put(self, data: bytes) -> None:
        """Add bytes at the end."""
        rest = memoryview(data)
        while rest:
            if not self._blocks or len(self._blocks[-1]) == self._block:
                self._blocks.append(bytearray())
            last = self._blocks[-1]
            piece = rest[: self._block - len(last)]
            last += piece
            rest = rest[len(piece) :]
        self.end += len(data)

    def read(self, offset: int, most: int) -> bytes:
        """Return up to ``most`` bytes from an offset on; from ``start`` on if that is later."""
        at, stop = max(offset, self.start), min(max(offset, self.start) + most, self.end)
        pieces: list[bytearray] = []
        while at < stop:
            block, within = divmod(at - self._first, self._block)
            pieces.append(self._blocks[block][within : within + stop - at])
            at += len(pieces[-1])
        return b"".join(pieces)

    def forget(self, before: int) -> None:
        """Drop the bytes before an offset."""
        self.start = max(self.start, min(before, self.end))
        while self._blocks and self._first + self._block <= self.start:
            self._blocks.popleft()
            self._first += self._block
