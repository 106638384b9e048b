r"""Plans: what to deliver, to whom, how long to wait; then SIGKILL until nothing is left.

A plan is data. It knows signal *names*, reaches and seconds; how a delivery is made is the
signaller's business, and when, the session's. As text it reads as it runs::

    HUP@session + TERM@escaped 2s, KILL 3s
    "^C" 500ms, "^D" 500ms, HUP@session 2s, KILL
    hangup 1s, TERM@all 1s, KILL

Commas separate the steps. A step is a delivery, or several with ``+`` between them that go out
together, and how long they are given. A delivery is the name of a signal and whom it reaches,
``hangup`` (close the terminal), or a quoted string that is typed into the terminal (``^C`` for
control characters, ``\n``, ``\\``, ``\"``, ``\^``, ``\xNN``). The last item is always ``KILL``,
with the time within which the kill has to succeed.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import re
import signal
from typing import TypeAlias

from ptykill.errors import InvalidArgument, InvalidGrace, PlanError

__all__ = [
    "ASK_FIRST",
    "HANGUP_THEN_KILL",
    "KILL_NOW",
    "LONGEST_WAIT",
    "HangUp",
    "Leftovers",
    "Plan",
    "Reach",
    "Signal",
    "Step",
    "Typed",
    "checked_grace",
]

LONGEST_WAIT = 86_400.0
"""No step, grace or kill bound is longer than this (seconds: one day)."""


class Reach(enum.StrEnum):
    """Whom a signal goes to."""

    LEADER = "leader"
    """The session leader, the program that was spawned."""
    FOREGROUND = "foreground"
    """The terminal's foreground process group (``tcgetpgrp(3)``)."""
    GROUP = "group"
    """The leader's process group."""
    SESSION = "session"
    """Every process of the POSIX session, in whatever process group."""
    ESCAPED = "escaped"
    """Every member that has left the POSIX session (``setsid(2)``): daemons, for example."""
    ALL = "all"
    """Every member that the containment knows, those that left the session included."""


class Leftovers(enum.StrEnum):
    """What becomes of members that outlive a leader which ended by itself."""

    HANGUP = "hangup"
    """They get the plan, as if the session had been terminated at that moment."""
    KILL = "kill"
    """SIGKILL at once."""
    SPARE = "spare"
    """They are recorded in the verdict and left alone: the ``nohup`` that a person meant."""

    @classmethod
    def _missing_(cls, value: object) -> Leftovers:
        known = ", ".join(each.value for each in cls)
        msg = f"leftovers are one of {known}, not {value!r}"
        raise InvalidArgument(msg)


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """A signal, by its name without ``SIG``.

    SIGCONT follows it, since a stopped process acts on no other signal but SIGKILL until it is
    continued (signal(7)); a signal that stops is left as it is.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or f"SIG{self.name}" not in signal.Signals.__members__:
            msg = f"there is no signal {self.name!r}"
            raise InvalidArgument(msg)

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True, slots=True)
class HangUp:
    """Closing the terminal's master: the kernel sends SIGHUP and SIGCONT (pty(7))."""

    def __str__(self) -> str:
        return "hangup"


@dataclasses.dataclass(frozen=True, slots=True)
class Typed:
    """Bytes typed into the terminal, as a person at the keyboard would."""

    data: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes) or not self.data:
            msg = "what is typed has to be bytes, at least one"
            raise InvalidArgument(msg)

    def __str__(self) -> str:
        return _quoted(self.data)


What: TypeAlias = Signal | HangUp | Typed


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One polite rung of a plan.

    ``wait`` is how long (seconds) the session is given to end before the next step, counted from
    the start of the delivery, so that a slow delivery can't stretch the plan.

    ``also`` is what goes out at the same moment, in that order: pairs of a `Signal`, `HangUp` or
    `Typed` and a `Reach`. A `Signaller` is called once for each delivery, with a step that has
    nothing in ``also``.
    """

    what: What
    wait: float
    reach: Reach = Reach.SESSION
    also: tuple[tuple[What, Reach], ...] = ()
    delivery: str = dataclasses.field(init=False, repr=False, compare=False)
    """What is delivered and to whom, as in a plan's text: ``HUP@session``."""
    _parts: tuple[Step, ...] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        also = _pairs(self.also)
        for what, reach in ((self.what, self.reach), *also):
            if not isinstance(what, Signal | HangUp | Typed) or not isinstance(reach, Reach):
                msg = "a step is a Signal, HangUp or Typed, seconds to wait, and a Reach"
                raise InvalidArgument(msg)
        object.__setattr__(self, "also", also)
        object.__setattr__(self, "wait", checked_grace(self.wait))
        parts: tuple[Step, ...] = ()
        if also:
            parts = tuple(Step(w, self.wait, r) for w, r in ((self.what, self.reach), *also))
            delivery = " + ".join(part.delivery for part in parts)
        else:
            aimed = f"@{self.reach}" if isinstance(self.what, Signal) else ""
            delivery = f"{self.what}{aimed}"
        object.__setattr__(self, "delivery", delivery)
        object.__setattr__(self, "_parts", parts)

    @property
    def parts(self) -> tuple[Step, ...]:
        """The deliveries that go out together, each as a step of its own with the same wait."""
        return self._parts or (self,)

    def __str__(self) -> str:
        return f"{self.delivery} {_seconds(self.wait)}"


def _pairs(also: object) -> tuple[tuple[What, Reach], ...]:
    """Return ``also`` as a tuple of pairs; what the pairs hold is for the caller to check."""
    try:
        return tuple((what, reach) for what, reach in also)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        msg = "what goes out together with a step is pairs of a delivery and a Reach"
        raise InvalidArgument(msg) from None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """An escalation: polite steps in their order, then SIGKILL until empty, bounded.

    ``kill_bound`` is the time (seconds) within which the kill has to succeed; what lives after it
    is reported, not waited for. ``Plan(())`` kills at once.
    """

    steps: tuple[Step, ...]
    kill_bound: float = 3.0
    grace: float = dataclasses.field(init=False, repr=False, compare=False)
    """The longest wait (seconds) between the first polite step and SIGKILL."""

    def __post_init__(self) -> None:
        steps = tuple(self.steps)
        if not all(isinstance(step, Step) for step in steps):
            msg = "the steps of a plan are Step objects"
            raise InvalidArgument(msg)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "kill_bound", checked_grace(self.kill_bound))
        grace = checked_grace(math.fsum(step.wait for step in steps))
        object.__setattr__(self, "grace", grace)

    @property
    def longest(self) -> float:
        """The longest (seconds) a teardown by this plan can take."""
        return self.grace + self.kill_bound

    def with_grace(self, grace: float) -> Plan:
        """Return this plan with SIGKILL due ``grace`` seconds after its start.

        Steps that would begin later are dropped, and the last that is left waits until then; a
        plan without steps stays as it is. Raises `InvalidGrace`.
        """
        checked = checked_grace(grace)
        return self if checked == self.grace else _with_grace(self, checked)

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Read a plan from its text. Raises `PlanError`, which points at the place."""
        return _Reader(text).plan()

    def __str__(self) -> str:
        return ", ".join([*map(str, self.steps), f"KILL {_seconds(self.kill_bound)}"])


@functools.lru_cache(maxsize=64)  # A host asks for the same grace over and over.
def _with_grace(plan: Plan, grace: float) -> Plan:
    steps: list[Step] = []
    begins = 0.0
    for step in plan.steps:
        if begins >= grace:
            break
        steps.append(dataclasses.replace(step, wait=min(step.wait, grace - begins)))
        begins += step.wait
    if steps and begins < grace:
        last = steps[-1]
        steps[-1] = dataclasses.replace(last, wait=last.wait + grace - begins)
    return dataclasses.replace(plan, steps=tuple(steps))


def checked_grace(seconds: object) -> float:
    """Return a wait in seconds as a float, or raise `InvalidGrace`: 0 to `LONGEST_WAIT`."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        msg = f"a grace is a number of seconds, not {seconds!r}"
        raise InvalidGrace(msg)
    if not 0 <= seconds <= LONGEST_WAIT:  # also false for nan
        msg = f"a grace is 0 to {LONGEST_WAIT:.0f} seconds, not {seconds!r}"
        raise InvalidGrace(msg)
    return float(seconds)


# --- text ---------------------------------------------------------------------------------------

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?\s*(ms|s|m)?", re.IGNORECASE)
_CHARACTER = re.compile(r'\\x([0-9A-Fa-f]{2})|\\([nrt\\"^])|\^([@-_a-z?])|([^"\\^])')
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t"}


class _Reader:
    """Reads one plan from left to right; every complaint knows where it stands."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            msg = f"a plan's text is a str, not {type(text).__name__}"
            raise InvalidArgument(msg)
        self.text = text
        self.at = 0

    def plan(self) -> Plan:
        steps: list[Step] = []
        while True:
            start = self.skip_space()
            step = self.step()
            if step is None:
                bound = self.duration() if self.skip_space() < len(self.text) else None
                if self.skip_space() < len(self.text):
                    raise self.error("KILL ends a plan, and here is more")
                plan = Plan(tuple(steps))
                return plan if bound is None else dataclasses.replace(plan, kill_bound=bound)
            steps.append(step)
            if sum(each.wait for each in steps) > LONGEST_WAIT:
                raise self.error(f"the grace is longer than {LONGEST_WAIT:.0f}s", start)
            if self.skip_space() == len(self.text):
                raise self.error("a plan ends with KILL")
            if self.text[self.at] != ",":
                raise self.error("expected a comma")
            self.at += 1

    def step(self) -> Step | None:
        """Read one step, or the closing KILL (as None: its bound follows)."""
        first = self.delivery()
        if first is None:
            return None
        also: list[tuple[What, Reach]] = []
        while self.text[self.skip_space() : self.at + 1] == "+":
            self.at += 1
            start = self.skip_space()
            delivery = self.delivery()
            if delivery is None:
                raise self.error("KILL ends a plan; in a step it wants a reach", start)
            also.append(delivery)
        what, reach = first
        return Step(what, self.duration(), reach, tuple(also))

    def delivery(self) -> tuple[What, Reach] | None:
        """Read what is delivered and to whom; None for KILL without a reach."""
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
            raise self.error("a time wants a unit: ms, s or m", match.end())
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
                raise self.error(
                    "not an escape that is known" if here else "the quote is not closed"
                )
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
            raise self.error("there is nothing to type", start)
        return bytes(data)

    def skip_space(self) -> int:
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return self.at

    def error(self, problem: str, position: int | None = None) -> PlanError:
        return PlanError(problem, self.text, self.at if position is None else position)


def _quoted(data: bytes) -> str:
    shown = []
    for byte in data:
        character = chr(byte)
        if byte < 0x20 or byte == 0x7F:
            shown.append(f"^{chr(byte ^ 0x40)}")
        elif byte > 0x7F:
            shown.append(f"\\x{byte:02x}")
        elif character in '\\"^':
            shown.append(f"\\{character}")
        else:
            shown.append(character)
    return f'"{"".join(shown)}"'


def _seconds(seconds: float) -> str:
    return f"{seconds!r}s".replace(".0s", "s")


# --- presets ------------------------------------------------------------------------------------

_HANG_UP = Step(Signal("HUP"), 2.0, also=((Signal("TERM"), Reach.ESCAPED),))

HANGUP_THEN_KILL = Plan((_HANG_UP,))
"""The default: SIGHUP to the whole session and, at the same moment, SIGTERM to members that have
left it, since daemons expect that; two seconds of grace; SIGKILL to all."""

KILL_NOW = Plan(())
"""SIGKILL at once."""

ASK_FIRST = Plan(
    (Step(Typed(b"\x03"), 0.5), Step(Typed(b"\x04"), 0.5), _HANG_UP),
)
"""Ctrl-C and Ctrl-D as a person would type them, then the default."""
