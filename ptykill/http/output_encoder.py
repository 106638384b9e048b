"""Encodes an attachment's output for one client, with offsets if the client has given one.

A client that has given one adds the length of each output frame to the offset that it was told
last: that is the offset to go on from when its connection is lost. So it is told the offset at the
start, and again at each gap, before the output behind it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ptykill.engine.output import Piece
from ptykill.http import frames

__all__ = ["OutputEncoder"]


class OutputEncoder:
    """Makes frames of pieces of output; ``since`` is the offset that the client has given."""

    def __init__(self, since: int | None) -> None:
        self._tells = since is not None
        self._next = since or 0

    def begin(self, offset: int) -> Iterator[bytes]:
        """Make the frame that tells the offset at which the output begins."""
        if self._tells:
            yield frames.gap_frame(offset, offset - self._next)
        self._next = offset

    def encode(self, piece: Piece) -> Iterator[bytes]:
        """Make the frames of some output."""
        if piece.offset is None:
            yield from frames.output_frames(piece.data, counted=not self._tells)
            return
        if piece.offset != self._next:
            yield from self.begin(piece.offset)
        yield from frames.output_frames(piece.data)
        self._next += len(piece.data)
