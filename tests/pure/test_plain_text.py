"""The text of a terminal's output, and the first and last bytes of a long one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptykill.rules.head_tail import HeadTail
from ptykill.rules.plain_text import PlainText, plain

PIECES = st.sampled_from(
    [
        b"a", b"text ", b"\r", b"\n", b"\r\n", b"\t", b"\b", b"\0", b"\x07", b"\x0e", b"\x7f",
        b"\x18", b"\x1a", b"\x1b", b"\x1b[", b"\x1b[1;31m", b"\x1b[?2004h", b"\x1b]0;title\x07",
        b"\x1b]8;;x\x1b\\", b"\x1bP", b"\x1b\\", b"\x1b(B", b"\x1bk", b"\xc3\xa4", b"\xe2\x82",
        b"\x1b7", b"m", b";", b"[",
    ]
)  # fmt: skip
OUTPUTS = st.lists(PIECES, max_size=20).map(b"".join) | st.binary(max_size=40)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"", b""),
        (b"one\r\ntwo\r\n", b"one\ntwo\n"),
        (b"10%\r20%\r\r\n", b"10%\r20%\n"),
        (b"\x1b[1;31mred\x1b[0m\x1b[K", b"red"),
        (b"\x1b]0;a title\x07$ \x1b]133;A\x1b\\ls", b"$ ls"),
        (b"\x1bP1$r0m\x1b\\a\x1b_x\x07y\x1b\\b\x1bktitle\x1b\\c", b"abc"),
        (b"\x1b(Ba\x1b7b\x1b=c", b"abc"),
        (b"a\x1b[3\x18b\x1b]0;\x1ac", b"abc"),
        (b"a\x1b[1\n2mb", b"a\nb"),  # A control character within a sequence is acted on.
        (b"\0a\x07\x0e\x7fb\b\tc", b"ab\b\tc"),
        ("\x1b[mä€".encode(), "ä€".encode()),
        (b"\x1b[1\xc3\xa4", b"\xc3\xa4"),
        (b"a\r\x1b[m\nb\r", b"a\nb\r"),
        (b"a\r\n\x1b[?2004l\rb", b"a\nb"),  # As bash ends a line.
    ],
)
def test_the_text_of_an_output(output: bytes, text: bytes) -> None:
    """Sequences and control characters are left out, and an end of line is one newline."""
    assert plain(output) == text


@given(OUTPUTS, st.lists(st.integers(0, 40)))
def test_it_is_the_same_however_the_output_is_cut(output: bytes, cuts: list[int]) -> None:
    """The pieces make up the same text, and each is at its offset in the output."""
    reader, found = PlainText(7), list[tuple[int, bytes]]()
    edges = sorted({0, len(output), *(min(each, len(output)) for each in cuts)})
    for start, end in itertools.pairwise(edges):
        found += reader.feed(output[start:end])
    found += reader.finish()
    assert b"".join(text for _, text in found) == plain(output)
    assert reader.offset == 7 + len(output)
    offsets = [offset for offset, _ in found]
    assert offsets == sorted(offsets)
    for offset, text in found:
        assert output[offset - 7 : offset - 7 + len(text)] == text


@given(OUTPUTS)
def test_text_has_no_sequence(output: bytes) -> None:
    """No escape is left, and so plain text stays as it is."""
    text = plain(output)
    assert b"\x1b" not in text
    assert b"\r\n" not in text
    assert plain(text) == text


@given(st.integers(0, 20), st.lists(st.binary(max_size=9), max_size=9))
def test_the_first_and_the_last_bytes(most: int, pieces: list[bytes]) -> None:
    """All bytes are kept or counted, and no more are kept than may be."""
    whole, kept = b"".join(pieces), HeadTail(most)
    for each in pieces:
        kept.put(each)
    head, missing, tail = kept.parts()
    assert (len(head) + missing + len(tail)) == len(whole)
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert len(head) + len(tail) == min(most, len(whole))
