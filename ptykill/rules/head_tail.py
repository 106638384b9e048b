"""Keeps the first and the last bytes of an output, and counts those between."""

from __future__ import annotations

from ptykill.rules.backlog import Backlog

__all__ = ["HeadTail"]


class HeadTail:
    """Up to ``most`` bytes of a stream: the first half of them, and the newest. Pure."""

    def __init__(self, most: int) -> None:
        self._head = bytearray()
        self._head_most = most // 2
        self._tail_most = most - self._head_most
        self._tail = Backlog()

    def put(self, data: bytes) -> None:
        """Add bytes at the end."""
        room = self._head_most - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail.put(data)
            self._tail.forget(self._tail.end - self._tail_most)

    def parts(self) -> tuple[bytes, int, bytes]:
        """Return the first bytes, how many are missing after them, and the newest."""
        tail = self._tail
        return bytes(self._head), tail.start, tail.read(tail.start, len(tail))
