"""The most recent output of a terminal, bounded."""

from __future__ import annotations

from collections import deque

__all__ = ["Backlog"]


class Backlog:
    """A queue of bytes that forgets its oldest when it is full. Pure: it never waits.

    ``lost`` counts the bytes that were forgotten; ``limit``, from the next `put` on, is how many
    are remembered.
    """

    def __init__(self, limit: float) -> None:
        self.lost: int = 0
        self.limit: float = limit
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, data: bytes) -> None:
        """Add bytes at the end, at the cost of the oldest if there are too many."""
        self._chunks.append(data)
        self._size += len(data)
        while self._size > self.limit:
            over = int(self._size - self.limit)
            oldest = self._chunks.popleft()
            if len(oldest) > over:
                self._chunks.appendleft(oldest[over:])
            lost = min(over, len(oldest))
            self._size -= lost
            self.lost += lost

    def take(self, most: int) -> bytes:
        """Remove and return up to ``most`` bytes from the front."""
        taken: list[bytes] = []
        while self._chunks and most > 0:
            chunk = self._chunks.popleft()
            if len(chunk) > most:
                self._chunks.appendleft(chunk[most:])
                chunk = chunk[:most]
            taken.append(chunk)
            most -= len(chunk)
        data = b"".join(taken)
        self._size -= len(data)
        return data
