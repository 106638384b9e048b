"""The modes of a terminal: what the output has set, whatever the pieces it came in."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptykill.rules.terminal_modes import TerminalModes

PARTS = [
    *(
        b"\x1b",
        b"\xc2",
        b"\x9b",
        b"\xc2\x9b",
        b"\xc2\x9d",
        b"\xc2\x9c",
        b"\x07",
        b"\x18",
        b"\x0e",
        b"\x0f",
    ),
    *(b"[", b"]", b"P", b"X", b"\\", b"?", b">", b"<", b"=", b";", b":", b" ", b"!", b"(", b")"),
    *(b"h", b"l", b"m", b"r", b"s", b"u", b"q", b"p", b"t", b"n", b"c", b"0", b"7", b"8", b"B"),
    *(b"1", b"4", b"25", b"1049", b"1000", b"1002", b"1006", b"2004", b"38", b"5", b"22", b"23"),
    *(b"\x1b[", b"\x1b]", b"\x1b[?", b"\x1b[>", b"\x1b[31m", b"\x1b[0m", b"\x1b(0", b"\x1b7"),
    *(b"\x1b]2;title\x07", b"\x1b]8;;x\x1b\\", b"text", b"\xc3\xa9", b"\x1b[?1049h", b"\x1b[!p"),
]
OUTPUT = st.lists(st.sampled_from(PARTS) | st.binary(max_size=3), max_size=40).map(b"".join)


def modes_of(pieces: Iterable[bytes]) -> TerminalModes:
    """Feed some output in pieces."""
    modes = TerminalModes()
    for piece in pieces:
        modes.feed(piece)
    return modes


@given(output=OUTPUT, data=st.data())
def test_the_pieces_make_no_difference(output: bytes, data: st.DataObject) -> None:
    """Output in any pieces sets the modes that it sets as a whole."""
    cuts = data.draw(st.lists(st.integers(0, len(output)), max_size=8).map(sorted))
    edges = [0, *cuts, len(output)]
    pieces = [output[start:end] for start, end in pairwise(edges)]
    whole = modes_of([output])
    assert modes_of(pieces).set_up() == whole.set_up()
    assert modes_of(output[at : at + 1] for at in range(len(output))).set_up() == whole.set_up()


@given(output=OUTPUT)
def test_what_sets_the_modes_up_sets_them_up(output: bytes) -> None:
    """A terminal on which the modes are set up has the same ones."""
    modes = modes_of([output])
    once = modes.set_up()
    again = modes_of([once])
    assert again.set_up() == once
    assert again.unfinished == modes.unfinished


@given(output=OUTPUT, rest=OUTPUT)
def test_finishing_ends_where_the_sequence_does(output: bytes, rest: bytes) -> None:
    """What is left begins outside a sequence; all modes are followed."""
    modes = modes_of([output])
    used = modes.finish(rest)
    assert modes.unfinished <= (used == len(rest))
    modes.feed(rest[used:])
    assert modes.set_up() == modes_of([output + rest]).set_up()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"plain text \xc3\xa9\r\n\t", b""),
        (b"\x1b[31mred\x1b[0m", b""),
        (b"\x1b[31mred\x1b[1m", b"\x1b[31;1m"),
        (b"\x1b[1;2;38;5;9;48;2;1;2;3m\x1b[22m", b"\x1b[38;5;9;48;2;1;2;3m"),
        (b"\x1b[38;5;1m\x1b[0;4:3;58:2::1:2:3m", b"\x1b[4:3;58:2::1:2:3m"),
        (b"\x1b[4:3m\x1b[4:0m\x1b[31m\x1b[39m", b""),
        (b"\x1b[38;5m\x1b[7m", b"\x1b[38;5;7m"),
        (b"\x1b[?25l\x1b[?2004h\x1b[?25h", b"\x1b[?2004h"),
        (b"\x1b[?25;2004;7l\x1b[?1;1004h", b"\x1b[?25l\x1b[?7l\x1b[?1h\x1b[?1004h"),
        (b"\x1b[?1000h\x1b[?1002h\x1b[?1006h", b"\x1b[?1002h\x1b[?1006h"),
        (b"\x1b[?1002h\x1b[?1006h\x1b[?1000l\x1b[?1006l", b""),
        (b"\x1b[?12h\x1b[?12l", b"\x1b[?12l"),
        (b"\x1b=\x1b[4h\x1b[3 q", b"\x1b=\x1b[4h\x1b[3 q"),
        (b"\x1b[?66h\x1b>\x1b[4l\x1b[0 q", b""),
        (b"\x1b[>4;2m\x1b[>5;1m\x1b[>4m", b"\x1b[>5;1m"),
        (b"\x1b[>4;2m\x1b[>m", b""),
        (b"\x1b[>1u\x1b[>5u\x1b[<u\x1b[=8;2u", b"\x1b[>9u"),
        (b"\x1b[=5u\x1b[>1u\x1b[<9u", b""),
        (b"\x1b(0\x1b)A\x0e", b"\x1b(0\x1b)A\x0e"),
        (b"\x1b(0\x0e\x1b(B\x0f", b""),
        (b"\x1b[2;20r", b"\x1b[2;20r"),
        (b"\x1b[2;20r\x1b[r", b""),
        (b"\x1b[?6h\x1b[5r", b"\x1b[?6h\x1b[5r"),
        (b"\x1b]0;both\x07\x1b]2;title\x1b\\", b"\x1b]1;both\x1b\\\x1b]2;title\x1b\\"),
        (
            b"\x1b]2;shell\x07\x1b[22;2t\x1b]2;vim\x07",
            b"\x1b]2;shell\x1b\\\x1b[22;2t\x1b]2;vim\x1b\\",
        ),
        (b"\x1b]2;shell\x07\x1b[22;0t\x1b]2;vim\x07\x1b[23;0t", b"\x1b]2;shell\x1b\\"),
        (
            b"\x1b]11;#000\x07\x1b]10;?\x07\x1b]4;1;red;2;?\x07",
            b"\x1b]11;#000\x1b\\\x1b]4;1;red\x1b\\",
        ),
        (b"\x1b]11;#000\x07\x1b]4;1;red\x07\x1b]111\x07\x1b]104\x07", b""),
        (b"\x1b]8;id=1;http://x\x07", b"\x1b]8;id=1;http://x\x1b\\"),
        (b"\x1b]8;id=1;http://x\x07\x1b]8;;\x07", b""),
        (b"\x1b[31m\x1b7\x1b[32m", b"\x1b[31m\x1b7\x1b[m\x1b[32m"),
        (b"\x1b[31m\x1b7\x1b[32m\x1b8", b"\x1b[31m\x1b7\x1b[m\x1b[31m"),
        (b"\x1b[31m\x1b[?1049h\x1b[32m", b"\x1b[31m\x1b[?1049h\x1b[m\x1b[32m"),
        (b"\x1b[?1049h\x1b[2;3r\x1b[>1u", b"\x1b[?1049h\x1b[2;3r\x1b[>1u"),
        (b"\x1b[2;3r\x1b[?1047h\x1b[>1u\x1b[?1047l", b"\x1b[2;3r"),
        (b"\x1b[?2004h\x1b[31m\x1b[5;6r\x1b[!p", b"\x1b[?2004h\x1b[!p"),
        (b"\x1b[?2004h\x1b[31m\x1b7\x1b]2;x\x07\x1bc", b"\x1b]2;x\x1b\\"),
        (b"\xc2\x9b31m\xc2\x9d2;t\xc2\x9c", b"\x1b]2;t\x1b\\\x1b[31m"),
        (b"\x1b[3\x001\x08m\x1b[?2\r004h", b"\x1b[?2004h\x1b[31m"),
        (b"\x1b]2;cut off\x1b[?2004h", b"\x1b]2;cut off\x1b\\\x1b[?2004h"),
        (b"\x1b]2;cut off\xc2\x9b31m\x1b]2;cancelled\x18", b"\x1b[31m"),
        (b"\x1bPq\x07\x0e[31m\x1b\\", b""),
        (b"\x1b[?1s\x1b[?1r\x1b[?u\x1b[5n\x1b[?2l\x1b[?3h", b""),
        (b"\x1b[1;31", b"\x1b[1;31"),
        (b"\x1b]2;tit", b"\x1b]2;tit"),
    ],
)
def test_what_is_followed(output: bytes, expected: bytes) -> None:
    """Each mode that is not as at first is set up, in the order of xterm's dependencies."""
    assert modes_of([output]).set_up() == expected


@pytest.mark.parametrize("start", [b"\x1b]2;", b"\x1bP", b"\x1b_", b"\x1bX", b"\x1b[", b"\x1b( "])
def test_endless_sequences_are_not_kept(start: bytes) -> None:
    """A sequence without an end takes little memory, and sets nothing when it ends."""
    modes = modes_of([b"\x1b[?2004h", start])
    for _ in range(100):
        modes.feed(b"1" * 10_000 if start != b"\x1b( " else b" " * 10_000)
    assert len(modes.set_up()) < 5000
    assert modes.unfinished
    copied = modes.copy()
    copied.feed(b"\x1b\\\x1b[31m")
    assert copied.set_up() == b"\x1b[?2004h\x1b[31m"
    assert modes.finish(b"11\x18after") <= 3
    assert modes.set_up() == b"\x1b[?2004h"


def test_hostile_output_takes_a_bounded_amount_of_memory() -> None:
    """However many modes, titles, colours and saved cursors there are."""
    modes = TerminalModes()
    for number in range(20_000):
        modes.feed(b"\x1b[?%d;%dh\x1b[%d;9h" % (number, number + 1, number))
        modes.feed(b"\x1b]0;%s\x07\x1b[22;0t\x1b]4;%d;%s\x07" % (b"t" * 1024, number, b"c" * 64))
        modes.feed(b"\x1b[>%du\x1b[>%d;%dm\x1b7\x1b[?1047h\x1b7" % (number, number, number))
        modes.feed(b"\x1b]8;;%s\x07\x1b[38;%dm" % (b"x" * 1000, number))
    assert len(modes.set_up()) < 64 << 10
    assert sys.getsizeof(modes.set_up()) < 64 << 10
