"""Waits for text in a session's output: for a pattern, or until nothing comes any more.

Nothing is taken from the output before a wait is over. So a wait that is cancelled, or times out,
loses nothing, and the next one looks at the same output again. A text that was taken is neither
found nor received again.
"""

from __future__ import annotations

import bisect
import codecs
import re
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from ptykill.engine.caller import if_undelivered
from ptykill.engine.output import Output
from ptykill.errors import ExpectTimeout, OutputEnded
from ptykill.rules import validate
from ptykill.rules.backlog import Backlog
from ptykill.rules.plain_text import PlainText
from ptykill.rules.search import Match, Typed, compile_patterns, find, taken, typed_runs

__all__ = ["Transcript"]

_CHUNK: Final = 65_536
_WINDOW: Final = 65_536
"""Characters before new output that a regular expression may match, too."""
_MOST_TEXT: Final = 1 << 21
"""Characters after which text is dropped whose output is kept no more."""
_MOST_TYPED: Final = 64
"""So many inputs are remembered: their echoes come soon."""
_LONGEST_TYPED: Final = 4096
_ESCAPED: Final = "surrogateescape"
"""Bytes that are no UTF-8 become surrogates, so that the offset of each character is known."""


class Transcript:
    """The text of one session's output, from the place where it was last taken."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._typed: deque[_Input] = deque(maxlen=_MOST_TYPED)

    def note_typed(self, data: bytes) -> None:
        """Note what was typed just now, which may come back as an echo."""
        while self._typed and not self._typed[0].new:
            self._typed.popleft()
        self._typed.append(_Input(data[:_LONGEST_TYPED], self._output.kept.end))

    async def expect(self, patterns: tuple[object, ...], timeout: float) -> Match:  # noqa: ASYNC109 - as users expect it
        """Wait for the first match of a pattern, and take the output up to its end.

        Raises `ExpectTimeout`, `OutputEnded` and `InvalidArgument`.
        """
        wanted = compile_patterns(patterns)
        seconds = validate.seconds("timeout", timeout)
        lengths = [each.length for each in wanted]
        window = _WINDOW if None in lengths else max(filter(None, lengths))
        text, searched = self._text(), 0
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(seconds):
            while True:
                before, text = text, self._catch_up(text)
                start = max(0, searched - window) if text is before else 0
                found = find(text.text, wanted, self._inputs(text), start)
                if found is not None:
                    return self._matched(text, *found)
                if self._output.ended:
                    raise OutputEnded(_seen(text.text))
                searched = len(text.text)
                await self._output.wait_news()
        raise ExpectTimeout(seconds, _seen(text.text))

    async def until_quiet(self, seconds: float, timeout: float) -> str:  # noqa: ASYNC109 - as above
        """Wait until nothing has come for some seconds, and take and return the output so far.

        Raises `InvalidArgument`.
        """
        quiet = validate.seconds("seconds", seconds)
        until = trio.current_time() + validate.seconds("timeout", timeout)
        text = self._text()
        await trio.lowlevel.checkpoint()
        while not self._output.ended:
            left = until - trio.current_time()
            if left <= 0:
                break
            end = self._output.kept.end
            with trio.move_on_after(min(quiet, left)):
                await self._output.wait_news()
            text = self._catch_up(text)
            if end == self._output.kept.end and left > quiet:
                break
        text = self._catch_up(text)
        give_back = self._take(text, len(text.text))
        seen = _seen(text.text)
        if_undelivered(seen, give_back)
        return seen

    def _text(self) -> _Text:
        return _Text(max(self._output.taken, self._output.kept.start))

    def _catch_up(self, text: _Text) -> _Text:
        """Read what has come since; from the start of what is kept, if that is far behind it."""
        kept = self._output.kept
        if len(text.text) > _MOST_TEXT and text.start < kept.start:
            text = self._text()
        text.read(kept)
        if self._output.ended:
            text.finish()
        return text

    def _inputs(self, text: _Text) -> list[Typed]:
        return [
            Typed(run, since, each.new)
            for each in self._typed
            for since in [text.position(each.offset)]
            for run in each.runs
        ]

    def _matched(self, text: _Text, index: int, found: re.Match[str]) -> Match:
        give_back = self._take(text, found.end())
        groups = tuple(None if each is None else _seen(each) for each in found.groups())
        named = {
            name: None if each is None else _seen(each) for name, each in found.groupdict().items()
        }
        before = _seen(text.text[: found.start()])
        match = Match(_seen(found.group()), before, index, groups, named)
        if_undelivered(match, give_back)
        return match

    def _take(self, text: _Text, end: int) -> Callable[[], None]:
        """Take the output up to a position in the text; return a function that gives it back."""
        new = [each for each in self._typed if each.new]
        for each in self._typed:
            since = text.position(each.offset)
            each.new = each.new and not all(
                taken(text.text, Typed(run, since, new=True), end) for run in each.runs
            )
        untake = self._output.take(text.offset(end))

        def give_back() -> None:
            untake()
            for each in new:
                each.new = True

        return give_back


class _Input:
    """Something that was typed, and the offset of the output at that time."""

    __slots__ = ("data", "new", "offset")

    def __init__(self, data: bytes, offset: int) -> None:
        self.data = data
        self.offset = offset
        self.new = True
        """Its echo has not been taken."""

    @property
    def runs(self) -> list[str]:
        return typed_runs(self.data)


class _Text:
    """The text of the output from an offset on; knows the offset of each character."""

    def __init__(self, start: int) -> None:
        self.start: int = start
        self.text: str = ""
        self._plain = PlainText(start)
        self._decoder = codecs.getincrementaldecoder("utf-8")(_ESCAPED)
        self._positions: list[int] = [0]
        """The position in the text at which each piece begins, and the offset of that."""
        self._offsets: list[int] = [start]

    def read(self, kept: Backlog) -> None:
        """Add the output that has come."""
        pieces: list[str] = []
        length = len(self.text)
        while self._plain.offset < kept.end:
            # There is a gap if what was there has been dropped.
            self._plain.offset = max(self._plain.offset, kept.start)
            for offset, data in self._plain.feed(kept.read(self._plain.offset, _CHUNK)):
                length += self._add(offset, data, length, pieces)
        self.text += "".join(pieces)

    def finish(self) -> None:
        """Add what has waited for more: nothing more comes."""
        pieces: list[str] = []
        length = len(self.text)
        for offset, data in self._plain.finish():
            length += self._add(offset, data, length, pieces)
        self.text += "".join([*pieces, self._decoder.decode(b"", final=True)])
        self._decoder.reset()

    def _add(self, offset: int, data: bytes, position: int, pieces: list[str]) -> int:
        held = len(self._decoder.getstate()[0])
        text = self._decoder.decode(data)
        self._positions.append(position)
        self._offsets.append(offset - held)
        pieces.append(text)
        return len(text)

    def offset(self, position: int) -> int:
        """Return the offset behind the character before a position."""
        piece = bisect.bisect_left(self._positions, position) - 1
        if piece < 0:
            return self.start
        before = self.text[self._positions[piece] : position]
        return self._offsets[piece] + len(before.encode(errors=_ESCAPED))

    def position(self, offset: int) -> int:
        """Return the position of the first character at an offset or behind it."""
        piece = bisect.bisect_right(self._offsets, offset) - 1
        if piece < 0:
            return 0
        start = self._positions[piece]
        end = self._positions[piece + 1] if piece + 1 < len(self._positions) else len(self.text)
        data = self.text[start:end].encode(errors=_ESCAPED)[: offset - self._offsets[piece]]
        return start + len(data.decode(errors="ignore"))


def _seen(text: str) -> str:
    """Return a text with a sign in place of each byte that is no UTF-8."""
    return text.encode(errors=_ESCAPED).decode(errors="replace")
