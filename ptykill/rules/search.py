"""Searches a terminal's text for a pattern, and leaves out the echo of what was typed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ptykill.errors import InvalidArgument

__all__ = ["Match", "Pattern", "Typed", "compile_patterns", "find", "typed_runs"]

_MOST_TYPED: Final = 1024
"""Characters of a typed line that are looked for: enough to tell it from others."""
_WRAP: Final = "(?: ?\r)?"
"""What readline puts between two characters at the end of a row (rl_redisplay)."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """What `Session.expect` has found."""

    text: str
    """The text that matched."""
    before: str
    """The output between what was taken before and this."""
    index: int = 0
    """Which of the patterns it was, from 0 on."""
    groups: tuple[str | None, ...] = ()
    """The groups of a regular expression; None for one that has not taken part."""
    named: dict[str, str | None] = dataclasses.field(default_factory=dict)
    """The groups that have names."""


class Pattern(NamedTuple):
    """A pattern, and how long its matches are if that is known: a text's are as long as it is."""

    regex: re.Pattern[str]
    length: int | None


class Typed(NamedTuple):
    """A text that was typed: it comes back from position ``since`` on, as far as it is echoed.

    ``new`` is False once its echo has been taken: only a second echo is left out then.
    """

    text: str
    since: int
    new: bool


def compile_patterns(patterns: Sequence[object]) -> list[Pattern]:
    """Return what to search for: a str stands for itself. Raises `InvalidArgument`."""
    if not patterns:
        msg = "give a text, or a regular expression"
        raise InvalidArgument(msg)
    return [_compile(each) for each in patterns]


def _compile(pattern: object) -> Pattern:
    if isinstance(pattern, str) and pattern:
        return Pattern(re.compile(re.escape(pattern)), len(pattern))
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        return Pattern(pattern, None)
    msg = f"a pattern must be a text, or a compiled regular expression of str, not {pattern!r}"
    raise InvalidArgument(msg)


def typed_runs(data: bytes) -> list[str]:
    """Return the texts in what was typed: each comes back in one piece, if it is echoed."""
    text = data[: 4 * _MOST_TYPED].decode(errors="replace")
    return [each[:_MOST_TYPED] for each in _CONTROL.split(text) if each]


def find(
    text: str, patterns: Sequence[Pattern], typed: Sequence[Typed], start: int = 0
) -> tuple[int, re.Match[str]] | None:
    """Return the first match that is no echo, and the number of its pattern; None if there is none.

    The first copy of a typed text is its echo. So is a later copy, for a match that is shorter:
    a shell shows a line again that was typed before its prompt.
    """
    echoes: list[tuple[int, int, bool]] | None = None
    best: tuple[int, re.Match[str]] | None = None
    for number, (regex, _) in enumerate(patterns):
        at = start
        while (found := regex.search(text, at)) is not None:
            if best is not None and found.start() >= best[1].start():
                break
            if echoes is None:
                echoes = sorted(_echoes(text, typed))
            end = _end_of_echo(found, echoes)
            if end is None:
                best = number, found
                break
            at = max(end, found.start() + 1)
    return best


def taken(text: str, typed: Typed, end: int) -> bool:
    """Return whether the echo of a typed text is before a position."""
    found = _regex(typed.text).search(text, typed.since)
    return found is not None and found.end() <= end


def _end_of_echo(found: re.Match[str], echoes: list[tuple[int, int, bool]]) -> int | None:
    """Return where the echo ends that a match lies in; None if it lies in none."""
    start, end = found.span()
    for echo_start, echo_end, first in echoes:
        within = echo_start <= start and end <= echo_end
        shorter = within and end - start < echo_end - echo_start
        overlaps = start < echo_end and end > echo_start
        if (first and overlaps) or shorter:
            return echo_end
    return None


def _echoes(text: str, typed: Sequence[Typed]) -> Iterator[tuple[int, int, bool]]:
    """Yield the start and the end of each copy of a typed text, and whether it is its echo."""
    for each in typed:
        first = each.new
        for found in _regex(each.text).finditer(text, each.since):
            yield found.start(), found.end(), first
            first = False


def _regex(text: str) -> re.Pattern[str]:
    return re.compile(_WRAP.join(map(re.escape, text)))
