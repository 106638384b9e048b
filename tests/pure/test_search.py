"""The search in a terminal's text: the first match that is no echo."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptykill import InvalidArgument
from ptykill.rules.search import Typed, compile_patterns, find, typed_runs


def search(
    text: str, *patterns: str | re.Pattern[str], typed: str = "", new: bool = True
) -> object:
    """Return the number of the pattern and the place of its match, or None."""
    inputs = [Typed(each, 0, new) for each in typed_runs(typed.encode())]
    found = find(text, compile_patterns(patterns), inputs)
    return None if found is None else (found[0], *found[1].span())


@pytest.mark.parametrize(
    ("text", "pattern", "typed", "place"),
    [
        ("$ ls\nfile\n$ ", "file", "ls\n", (5, 9)),
        ("$ echo hi\nhi\n$ ", "hi", "echo hi\n", (10, 12)),
        ("$ echo hi\n", "hi", "echo hi\n", None),
        ("echo hi\n$ echo hi\nhi\n", "hi", "echo hi\n", (18, 20)),  # Typed before the prompt.
        ("yes\n", "yes", "yes\n", None),
        ("yes\nyes\n", "yes", "yes\n", (4, 7)),  # A cat.
        ("a long line that \rwraps: x\nx", "x", "a long line that wraps: x\n", (27, 28)),
        ("$ make\nmake: done", "make", "make\n", (7, 11)),
        ("abc", "b", "", (1, 2)),
    ],
)
def test_an_echo_does_not_match(
    text: str, pattern: str, typed: str, place: tuple[int, int] | None
) -> None:
    """The first copy of what was typed is left out, and later ones for a part of it."""
    assert search(text, pattern, typed=typed) == (None if place is None else (0, *place))


def test_an_echo_that_was_taken_is_not_left_out_again() -> None:
    """A later copy of the whole text is the program's; of a part, it may be a second echo."""
    assert search("yes\n", "yes", typed="yes\n", new=False) == (0, 0, 3)
    assert search("echo hi\n", "hi", typed="echo hi\n", new=False) is None


def test_a_match_may_not_reach_into_an_echo() -> None:
    """A regular expression that would begin in an echo, or before it, finds the next match."""
    pattern = re.compile(r"hi[^$]*")
    assert search("echo hi\nhi\n$ ", pattern, typed="echo hi\n") == (0, 8, 11)
    assert search("> echo hi\n", re.compile(r"> .*"), typed="echo hi\n") is None


def test_the_first_match_of_all_patterns() -> None:
    """The earliest one counts, and of two at one place the first pattern."""
    assert search("one two", "two", "one") == (1, 0, 3)
    assert search("one two", "on", "one") == (0, 0, 2)
    assert search("one two", re.compile("$"), "two") == (1, 4, 7)
    assert search("", re.compile("x")) is None


@pytest.mark.parametrize(
    "wrong", [(), ("",), (b"x",), (re.compile(b"x"),), (3,), (None,)], ids=repr
)
def test_what_is_no_pattern(wrong: tuple[object, ...]) -> None:
    """An empty text would match everything, and bytes are no text."""
    with pytest.raises(InvalidArgument):
        compile_patterns(wrong)


@given(st.text("ab \n", max_size=12), st.text("ab", min_size=1, max_size=3))
def test_without_input_it_is_a_plain_search(text: str, pattern: str) -> None:
    """Nothing is left out."""
    at = text.find(pattern)
    assert search(text, pattern) == (None if at < 0 else (0, at, at + len(pattern)))


@given(st.text("ab", max_size=6), st.text("ab", min_size=1, max_size=4), st.text("ab", max_size=6))
def test_a_match_is_never_within_the_first_copy(before: str, typed: str, after: str) -> None:
    """Whatever is around it."""
    text = before + typed + after
    first = text.find(typed)
    found = search(text, "a", "b", typed=typed)
    if found is not None:
        assert isinstance(found, tuple)
        assert not first <= found[1] < first + len(typed)


@pytest.mark.parametrize("pattern", ["$", "x*", r"\b", "(?=c)|$", "(?m)$"])
def test_an_empty_match_at_the_end_of_an_echo(pattern: str) -> None:
    """The search ends at the end of the text: `re` would find the same place for ever."""
    assert search("abc", re.compile(pattern), typed="abc\n") is None
    assert search("abc\n> ", re.compile("$"), typed="abc\n") == (0, 6, 6)


@pytest.mark.parametrize("line", ["make; echo done\n", "make; echo \rdone\n"], ids=["", "wrapped"])
def test_a_program_that_repeats_what_was_typed(line: str) -> None:
    """The search takes time in proportion to the text: the supervisor's loop waits for it."""
    began = time.monotonic()
    text = line * 60_000 + "done"
    place = len(line) * 60_000
    assert search(text, "done", typed="make; echo done\n") == (0, place, place + 4)
    assert time.monotonic() - began < 60  # It was half an hour.
