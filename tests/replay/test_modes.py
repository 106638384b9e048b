"""A replay that is cut: the modes before it are those that a real terminal has there."""

from __future__ import annotations

import random
from collections.abc import Iterator

from ptykill.rules.backlog import Backlog
from ptykill.rules.queries import without_queries
from ptykill.rules.replay import ReplayStart
from tests.replay.conftest import Judge

CASES = 400
NUMBERS = (1, 6, 7, 25, 45, 66, 9, 1000, 1002, 1003, 1004, 1006, 1016, 47, 1047, 1048, 1049, 2004)
SEQUENCES = (
    *(b"\x1b[?%d%c" % (number, final) for number in NUMBERS for final in b"hl"),
    *(b"\x1b[4h", b"\x1b[4l", b"\x1b=", b"\x1b>", b"\x1b7", b"\x1b8", b"\x1b[s", b"\x1b[u"),
    *(
        b"\x1b[m",
        b"\x1b[1;31m",
        b"\x1b[0;4;38;5;200m",
        b"\x1b[48;2;1;2;3m",
        b"\x1b[4:3m",
        b"\x1b[7;9m",
    ),
    *(b"\x1b[22m", b"\x1b[39;49m", b"\x1b[38:5:9m", b"\x1b[3;38;2;9;8;7;1m", b"\x1b[24;27m"),
    *(b"\x1b[2;20r", b"\x1b[r", b"\x1b[5;10r", b"\x1b[1;24r"),
    *(b"\x1b(0", b"\x1b(B", b"\x1b)0", b"\x1b)B", b"\x0e", b"\x0f", b"\x1b(A", b"\x1bn", b"\x1b*0"),
    *(b"\x1b[%d q" % style for style in range(7)),
    *(b"\x1b]2;one\x07", b"\x1b]0;t\xc3\xaftle\x1b\\", b"\x1b[22;2t", b"\x1b[23;2t", b"\x1b[22;0t"),
    *(
        b"\x1b[!p",
        b"\x1b[?25h\x1bc",
        b"\x1bPq#0~\x1b\\",
        b"\x1b_Gi=1;x\x1b\\",
    ),
    *(
        b"\xc2\x9b31m",
        b"\xc2\x9d2;c1\xc2\x9c",
        b"\x1b[3\x0a2m",
        b"\x1b[1;\x18",
        b"\x1b]2;cut",
        b"\x1b[",
    ),
    *(
        b"abc",
        b"q",
        b"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
        b"\r\n",
        b"\x1b[H",
        b"\x1b[5;5H",
        b"\x1b[2J",
    ),
)
QUERIES = (
    *(
        b"\x1b[c",
        b"\x1b[0c",
        b"\x1b[>c",
        b"\x1b[5n",
        b"\x1b[6n",
        b"\x1b[?6n",
        b"\x1b[4$p",
        b"\x1b[?25$p",
    ),
    *(
        b"\x1bP$qm\x1b\\",
        b"\x1bP$qr\x1b\\",
        b"\x1b[\x00c",
        b"\xc2\x9b6n",
        b"\x1b[3\x1b[6n",
        b"\x1bP$q q\x1b\\",
    ),
)
RESTORES = (b"\x1b8", b"\x1b[u", b"\x1b[?1048l", b"\x1b[?1049l")
PARTS = ("modes", "screen", "hidden", "style", "encoding", "margins", "pen", "charset", "titles")
"""What is compared: not the text, which was dropped, and not the cursor's place."""


def outputs() -> Iterator[bytes]:
    """Make random outputs, the same ones in each run."""
    for seed in range(CASES):
        randomly = random.Random(seed)
        yield b"".join(randomly.choices(SEQUENCES, k=randomly.randrange(1, 30)))


def cut(output: bytes, at: int) -> list[bytes]:
    """Return a replay that begins at a byte or soon after it: the modes, and the output."""
    kept, start = Backlog(), ReplayStart()
    kept.put(output)
    start.advance(kept, at)
    beginning = start.begin(kept)
    return [beginning.modes, output[beginning.offset :]]


def is_compared(part: str, output: bytes) -> bool:
    """Return whether a part of the state has to be the same after some output.

    xterm.js does not shift back to G0 where a cursor is restored that was not saved.
    """
    return part != "charset" or not any(each in output for each in RESTORES)


def test_random_modes_are_the_same_after_a_cut_anywhere(judge: Judge) -> None:
    """Whatever the output is, and wherever it is cut."""
    made = list(outputs())
    cuts = [random.Random(output).randrange(len(output) + 1) for output in made]
    whole = judge([[output] for output in made])
    replayed = judge([cut(output, at) for output, at in zip(made, cuts, strict=True)])
    wrong = [
        (output[:at], output[at:], part, expected[part], state[part])
        for output, at, expected, state in zip(made, cuts, whole, replayed, strict=True)
        for part in PARTS
        if expected[part] != state[part] and is_compared(part, output)
    ]
    assert wrong == []


def test_no_query_in_a_replay_is_answered(judge: Judge) -> None:
    """A terminal answers the output, and not the replay; all else is the same."""
    asking = (*SEQUENCES, *4 * QUERIES)
    made = [b"".join(random.Random(seed).choices(asking, k=30)) for seed in range(CASES // 2)]
    whole = judge([[output] for output in made])
    replayed = judge([[without_queries(output)] for output in made])
    assert sum(len(state["answers"]) for state in whole) > CASES
    assert [state["answers"] for state in replayed] == [[] for _ in made]
    for expected, state in zip(whole, replayed, strict=True):
        del expected["answers"], state["answers"]
        assert state == expected
