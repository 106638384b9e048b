"""The backlog: the newest bytes, in order, and a true count of the lost ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ptykill.backlog import Backlog


@given(
    limit=st.integers(1, 20),
    moves=st.lists(st.binary(min_size=1, max_size=30) | st.integers(1, 30), max_size=30),
)
def test_it_keeps_the_newest_bytes_in_order(limit: int, moves: list[bytes | int]) -> None:
    """Compared, move by move, with a plain string of bytes that is cut at its front."""
    backlog = Backlog(limit)
    model = b""
    lost = 0
    for move in moves:
        if isinstance(move, int):
            assert backlog.take(move) == model[:move]
            model = model[move:]
        else:
            backlog.put(move)
            model += move
            over = max(0, len(model) - limit)
            model = model[over:]
            lost += over
        assert len(backlog) == len(model)
        assert backlog.lost == lost
