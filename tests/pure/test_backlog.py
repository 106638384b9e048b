"""The backlog: the bytes between two offsets, in order, whatever the pieces they came in."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from ptykill.rules.backlog import Backlog

MOVES = st.lists(
    st.tuples(st.just("put"), st.binary(max_size=30))
    | st.tuples(st.just("read"), st.tuples(st.integers(0, 400), st.integers(1, 60)))
    | st.tuples(st.just("forget"), st.integers(0, 400)),
    max_size=40,
)


@given(block=st.integers(1, 20), moves=MOVES)
def test_it_holds_a_part_of_the_stream(block: int, moves: list[tuple[str, object]]) -> None:
    """Each step is compared with the whole stream, and the offset up to which it is dropped."""
    backlog = Backlog(block)
    stream, start = b"", 0
    for move in moves:
        match move:
            case ("put", bytes(data)):
                backlog.put(data)
                stream += data
            case ("read", (int(offset), int(most))):
                at = max(start, offset)
                assert backlog.read(offset, most) == stream[at : at + most]
            case ("forget", int(before)):
                backlog.forget(before)
                start = max(start, min(before, len(stream)))
        assert (backlog.start, backlog.end) == (start, len(stream))
        assert len(backlog) == len(stream) - start
        assert backlog.read(0, len(stream) + 1) == stream[start:]


def test_small_writes_cost_no_object_each() -> None:
    """The buffer of 100,000 writes of two bytes takes little more memory than their bytes."""
    limit = 1 << 17
    tracemalloc.start()
    try:
        backlog = Backlog()
        for _ in range(100_000):
            backlog.put(b"ab")
            backlog.forget(backlog.end - limit)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(backlog) == limit
    assert limit <= taken < 2 * limit
