r"""Parses the text of a plan; an error points at the place in the text.

Examples::

    HUP@session + TERM@escaped 2s, KILL 3s
    "^C" 500ms, "^D" 500ms, HUP@session 2s, KILL
    hangup 1s, TERM@all 1s, KILL

Commas separate the steps. A step is a delivery, or several with ``+`` between them that go out
together, and the wait after them. A delivery is the name of a signal with its reach, ``hangup``
(close the terminal), or a quoted string that is typed into the terminal (``^C`` for control
characters, ``\n``, ``\\``, ``\"``, ``\^``, ``\xNN``). The last item is always ``KILL``, with the
time within which the kill has to succeed.
"""

from __future__ import annotations

import re

from ptykill.errors import InvalidArgument, PlanError
from ptykill.rules.steps import HangUp, Reach, Signal, Step, Typed, What
from ptykill.rules.validate import LONGEST_WAIT

__all__ = ["read_plan"]

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?\s*(ms|s|m)?", re.IGNORECASE)
_CHARACTER = re.compile(r'\\x([0-9A-Fa-f]{2})|\\([nrt\\"^])|\^([@-_a-z?])|([^"\\^])')
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t"}


def read_plan(text: str) -> tuple[tuple[Step, ...], float | None]:
    """Return the steps of a plan, and its kill bound if the text has one. Raises `PlanError`."""
    return _Reader(text).plan()


class _Reader:
    """Parses one plan from left to right; ``at`` is the position for errors."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            msg = f"a plan's text is a str, not {type(text).__name__}"
            raise InvalidArgument(msg)
        self.text = text
        self.at = 0

    def plan(self) -> tuple[tuple[Step, ...], float | None]:
        steps: list[Step] = []
        while True:
            start = self.skip_space()
            step = self.step()
            if step is None:
                bound = self.duration() if self.skip_space() < len(self.text) else None
                if self.skip_space() < len(self.text):
                    raise self.error("KILL ends a plan: nothing may follow it")
                return tuple(steps), bound
            steps.append(step)
            if sum(each.wait for each in steps) > LONGEST_WAIT:
                raise self.error(f"the grace is longer than {LONGEST_WAIT:.0f}s", start)
            if self.skip_space() == len(self.text):
                raise self.error("a plan ends with KILL")
            if self.text[self.at] != ",":
                raise self.error("expected a comma")
            self.at += 1

    def step(self) -> Step | None:
        """Parse one step; return None for the closing KILL, whose bound follows."""
        first = self.delivery()
        if first is None:
            return None
        also: list[tuple[What, Reach]] = []
        while self.text[self.skip_space() : self.at + 1] == "+":
            self.at += 1
            start = self.skip_space()
            delivery = self.delivery()
            if delivery is None:
                raise self.error("KILL ends a plan; in a step it needs a reach", start)
            also.append(delivery)
        what, reach = first
        return Step(what, self.duration(), reach, tuple(also))

    def delivery(self) -> tuple[What, Reach] | None:
        """Parse one delivery and its reach; return None for KILL without a reach."""
        start = self.at
        if self.text[start : start + 1] == '"':
            return Typed(self.quoted()), Reach.SESSION
        match = _WORD.match(self.text, start)
        if match is None:
            raise self.error("expected a signal, hangup, a quoted text or KILL")
        self.at = match.end()
        word = match[0]
        if word.lower() == "hangup":
            return HangUp(), Reach.SESSION
        name = word.upper().removeprefix("SIG")
        reach = self.reach()
        if name == "KILL" and reach is None:
            return None
        try:
            what = Signal(name)
        except InvalidArgument as error:
            raise self.error(str(error), start) from None
        return what, reach or Reach.SESSION

    def reach(self) -> Reach | None:
        if self.text[self.at : self.at + 1] != "@":
            return None
        match = _WORD.match(self.text, self.at + 1)
        known = ", ".join(reach.value for reach in Reach)
        if match is None or match[0].lower() not in {reach.value for reach in Reach}:
            raise self.error(f"expected one of {known}", self.at + 1)
        self.at = match.end()
        return Reach(match[0].lower())

    def duration(self) -> float:
        match = _DURATION.match(self.text, self.at)
        if match is None:
            raise self.error("expected a time to wait, such as 2s or 500ms")
        if match[3] is None:
            raise self.error("a time needs a unit: ms, s or m", match.end())
        seconds = float(match[1] + (match[2] or "")) * _UNITS[match[3].lower()]
        if seconds > LONGEST_WAIT:
            raise self.error(f"a time is at most {LONGEST_WAIT:.0f}s")
        self.at = match.end()
        return seconds

    def quoted(self) -> bytes:
        start = self.at
        self.at += 1
        data = bytearray()
        while self.text[self.at : self.at + 1] != '"':
            match = _CHARACTER.match(self.text, self.at)
            if match is None:
                here = self.at < len(self.text)
                raise self.error("unknown escape" if here else "the quote is not closed")
            number, escape, control, plain = match.groups()
            if number is not None:
                data.append(int(number, 16))
            elif escape is not None:
                data += _ESCAPES.get(escape, escape.encode())
            elif control is not None:
                data.append(ord(control.upper()) ^ 0x40)
            else:
                data += plain.encode("utf-8", "surrogateescape")
            self.at = match.end()
        self.at += 1
        if not data:
            raise self.error("the text to type is empty", start)
        return bytes(data)

    def skip_space(self) -> int:
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return self.at

    def error(self, problem: str, position: int | None = None) -> PlanError:
        return PlanError(problem, self.text, self.at if position is None else position)
