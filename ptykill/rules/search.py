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
_LONGEST_WRAP: Final = 3
"""How many characters one of a typed line can take, with that."""
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
    echoes: _Echoes | None = None
    best: tuple[int, re.Match[str]] | None = None
    for number, (regex, _) in enumerate(patterns):
        at = start
        # Behind the end of the text `re` would search at its end, again and again.
        while at <= len(text) and (found := regex.search(text, at)) is not None:
            if best is not None and found.start() >= best[1].start():
                break
            if echoes is None:
                echoes = _Echoes(text, typed)
            end = echoes.end_around(*found.span())
            if end is None:
                best = number, found
                break
            at = max(end, found.start() + 1)
    return best


def taken(text: str, typed: Typed, end: int) -> bool:
    """Return whether the echo of a typed text is before a position."""
    return any(_copies(text, typed.text, typed.since, end))


class _Echoes:
    """The copies of typed texts in a text.

    The first copies are looked for once, others only around a match: a program may write very many.
    """

    def __init__(self, text: str, typed: Sequence[Typed]) -> None:
        self._text = text
        self._first: list[tuple[int, int]] = []
        self._later: list[tuple[str, int]] = []
        """The typed texts, and the positions from which on a copy is not the first one."""
        for each in typed:
            since = each.since
            if each.new:
                first = next(_copies(text, each.text, since, len(text)), None)
                if first is None:
                    continue
                self._first.append(first)
                since = first[1]
            self._later.append((each.text, since))

    def end_around(self, start: int, end: int) -> int | None:
        """Return where the echo ends that a match lies in; None if it lies in none."""
        for echo_start, echo_end in self._first:
            if _is_part(start, end, echo_start, echo_end) or (
                start < echo_end and end > echo_start
            ):
                return echo_end
        for text, since in self._later:
            longest = len(text) * _LONGEST_WRAP
            around = _copies(self._text, text, max(since, end - longest), start + longest)
            for echo_start, echo_end in around:
                if echo_start > start:
                    break
                if _is_part(start, end, echo_start, echo_end):
                    return echo_end
        return None


def _is_part(start: int, end: int, echo_start: int, echo_end: int) -> bool:
    """Return whether a match lies in an echo, and is shorter."""
    return echo_start <= start and end <= echo_end and end - start < echo_end - echo_start


def _copies(text: str, typed: str, since: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each copy of a typed text between two positions."""
    if text.find("\r", since, end) >= 0:
        for found in _regex(typed).finditer(text, since, end):
            yield found.span()
        return
    at = since  # No line is wrapped, and this is a hundred times as fast.
    while (at := text.find(typed, at, end)) >= 0:
        yield at, at + len(typed)
        at += len(typed)


def _regex(text: str) -> re.Pattern[str]:
    return re.compile(_WRAP.join(map(re.escape, text)))
