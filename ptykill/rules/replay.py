"""Where a replay of the newest output begins, and the modes that are in force there. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from ptykill.rules.backlog import Backlog
from ptykill.rules.queries import LONGEST, without_queries
from ptykill.rules.terminal_modes import TerminalModes

__all__ = ["Beginning", "ReplayStart", "read_replay"]

_AT_ONCE: Final = 65_536
"""Bytes that are read at a time."""
_CONTINUATIONS: Final = 3
"""The most continuation bytes of a character in UTF-8."""


class Beginning(NamedTuple):
    """The offset at which a replay begins, and the output that sets the modes there."""

    offset: int
    modes: bytes


class ReplayStart:
    """Follows the output that is dropped, up to `offset`. That costs a short session nothing."""

    def __init__(self) -> None:
        self.offset: int = 0
        self._modes: TerminalModes | None = None

    def advance(self, kept: Backlog, to: int) -> None:
        """Follow the output up to an offset; it must still be kept."""
        while self.offset < to:
            data = kept.read(self.offset, min(_AT_ONCE, to - self.offset))
            if self._modes is None:
                self._modes = TerminalModes()
            self._modes.feed(data)
            self.offset += len(data)

    def begin(self, kept: Backlog) -> Beginning:
        """Return where a replay begins: at a character, and outside a sequence.

        It begins within one only if the output does not reach to the end of the sequence.
        """
        at, modes = self.offset, self._modes
        if modes is None:
            return Beginning(at, b"")
        if modes.unfinished:
            modes = modes.copy()
            while modes.unfinished and at < kept.end:
                at += modes.finish(kept.read(at, _AT_ONCE))
        else:
            start = kept.read(at, _CONTINUATIONS)
            at += len(start) - len(start.lstrip(_CONTINUATION))
        return Beginning(at, modes.set_up())

    def forget(self) -> None:
        """Forget the modes: of a session that has ended, no output is kept."""
        self._modes = None


_CONTINUATION: Final = bytes(range(0x80, 0xC0))


def read_replay(kept: Backlog, offset: int, most: int, start: int, end: int) -> bytes:
    """Read output of which the part from ``start`` to ``end`` is without queries.

    Bytes around it are looked at, since a query may lie across its edges.
    """
    if offset >= end:
        return kept.read(offset, most)
    before = max(start, offset - LONGEST)
    stop = min(offset + most, end)
    data = kept.read(before, min(stop + LONGEST, end) - before)
    replayed = without_queries(data)[offset - before : stop - before]
    return replayed + kept.read(stop, offset + most - stop)
