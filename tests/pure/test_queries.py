"""Queries in a replay: they are left out, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptykill.rules.backlog import Backlog
from ptykill.rules.queries import LONGEST, without_queries
from ptykill.rules.replay import read_replay

QUERIES = [
    *(b"\x1b[c", b"\x1b[0c", b"\x1b[>c", b"\x1b[>0c", b"\x1b[=c", b"\x1bZ", b"\x05"),
    *(b"\x1b[5n", b"\x1b[6n", b"\x1b[?6n", b"\x1b[?996n", b"\x1b[4$p", b"\x1b[?2026$p", b"\x1b[?u"),
    *(b"\x1b[>q", b"\x1b[>0q", b"\x1b[14t", b"\x1b[18t", b"\x1b[21t", b"\x1b[16;1t", b"\x1b[x"),
    *(
        b"\x1b[1$w",
        b"\x1b[1;1;1;1;1;1*y",
        b"\x1b[?1;1;0S",
        b"\x1b[?4m",
        b"\x1b[\x00c",
        b"\x1b[6\x01n",
    ),
    *(b"\x1bP$qm\x1b\\", b"\x1bP+q544e;436f\x1b\\", b"\x1b_Gi=31,s=1,a=q,f=24;AAAA\x1b\\"),
    *(
        b"\x1b]11;?\x07",
        b"\x1b]10;?\x1b\\",
        b"\x1b]4;1;?\x07",
        b"\x1b]4;0;?;1;?\x1b\\",
        b"\x1b]52;c;?\x07",
    ),
    *(b"\x1b]21;foreground=?\x1b\\", b"\x1b]1337;ReportCellSize\x07", b"\xc2\x9bc", b"\xc2\x9b6n"),
    *(b"\xc2\x9a", b"\xc2\x9d11;?\x07", b"\xc2\x9d11;?\xc2\x9c"),
]
OTHERS = [
    *(b"text", b"\r\n", b"\x07", b"\x1b[m", b"\x1b[1;31m", b"\x1b[2J", b"\x1b[5;6H", b"\x1b[?25h"),
    *(b"\x1b[1c", b"\x1b[>4;2m", b"\x1b[>1u", b"\x1b[u", b"\x1b[s", b"\x1b[>4n", b"\x1b[22;0t"),
    *(
        b"\x1b[8;24;80t",
        b"\x1b[2 q",
        b"\x1b[!p",
        b"\x1b[4S",
        b"\x1b(B",
        b"\x1b7",
        b"\x1bc",
        b"\x1b\\",
    ),
    *(b"\x1b]2;why?\x07", b"\x1b]0;?\x1b\\", b"\x1b]11;#123456\x07", b"\x1b]8;;http://x?y\x1b\\"),
    *(
        b"\x1b]52;c;QUJD\x07",
        b"\x1bP0;1q#0~\x1b\\",
        b"\x1b_Gi=1,a=T;AAAA\x1b\\",
        b"\xc3\xa9\xc2\xb0",
    ),
]
OUTPUT = st.lists(st.sampled_from([*QUERIES, *OTHERS]), max_size=20).map(b"".join)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_left_out(query: bytes) -> None:
    """In its place is as much that does nothing; a terminator of its own may stay."""
    replayed = without_queries(b"before" + query + b"after")
    assert len(replayed) == len(query) + 11
    between = replayed[6:-5].replace(b"\x1b\\", b"").removesuffix(b"\xc2\x9c")
    assert between.removeprefix(b"\x18").strip(b"\x00") == b""


@pytest.mark.parametrize("string", [b"\x1b]11;?", b"\x1bP$qm", b"\xc2\x9d11;?"])
@pytest.mark.parametrize("query", [b"\x1b[c", b"\xc2\x9bc", b"\xc2\x9d11;?\x07"])
def test_what_is_left_out_completes_no_query_before_it(string: bytes, query: bytes) -> None:
    """A C1 control cancels a string, and so does what comes in its place."""
    replayed = without_queries(string + query)
    assert len(replayed) == len(string + query)
    assert without_queries(replayed) == replayed


@pytest.mark.parametrize("other", OTHERS)
def test_nothing_else_is_left_out(other: bytes) -> None:
    """Text, modes, titles, colours that are set, and pictures stay as they are."""
    assert without_queries(b"before" + other + b"after") == b"before" + other + b"after"


@given(output=OUTPUT, most=st.integers(1, 50), end=st.integers(0, 400), data=st.data())
def test_the_pieces_make_no_difference(
    output: bytes, most: int, end: int, data: st.DataObject
) -> None:
    """A replay that is read in pieces is the same as one that is read at once."""
    kept = Backlog(16)
    kept.put(output)
    end = min(end, len(output))
    start = data.draw(st.integers(0, end))
    pieces, at = b"", start
    while at < len(output):
        piece = read_replay(kept, at, most, start, end)
        assert 0 < len(piece) <= most
        pieces += piece
        at += len(piece)
    assert pieces == without_queries(output[start:end]) + output[end:]


def test_long_queries_stay() -> None:
    """One that is longer than what is looked at is no query that a program sends."""
    for query in b"\x1b]11;%s?\x07", b"\x1bP$q%s\x1b\\", b"\x1b[%sc":
        longest = query % (b"0;" * LONGEST)
        assert without_queries(longest) == longest
