"""The steps of a plan: a delivery, its reach, and the wait after it."""

from __future__ import annotations

import dataclasses
import enum
from typing import TypeAlias

from ptykill.errors import InvalidArgument
from ptykill.rules import validate

__all__ = ["HangUp", "Reach", "Signal", "Step", "Typed", "What", "seconds_text"]


class Reach(enum.StrEnum):
    """The processes that a signal goes to."""

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
    """Every member that the containment finds, those that left the session included."""


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """A signal, by its name without ``SIG``.

    SIGCONT follows it, since a stopped process acts on no other signal but SIGKILL until it is
    continued (signal(7)); a signal that stops is left as it is.
    """

    name: str
    """Its name without ``SIG``, in capitals."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", validate.signal_name(self.name))

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
    """The bytes."""

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes) or not self.data:
            msg = "data to type must be bytes, at least one"
            raise InvalidArgument(msg)

    def __str__(self) -> str:
        return _quoted(self.data)


What: TypeAlias = Signal | HangUp | Typed


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Step:
    """One step of a plan before SIGKILL."""

    what: What
    """What is delivered."""
    wait: float
    """Seconds until the next step, within which the session may end. They count from the start of
    the delivery, so that a slow delivery can't make the plan longer."""
    reach: Reach = Reach.SESSION
    """The processes that it goes to."""
    also: tuple[tuple[What, Reach], ...] = ()
    """What goes out at the same moment, in that order: pairs of a `Signal`, `HangUp` or `Typed` and
    a `Reach`. A `Signaller` is called once for each delivery, with a step that has nothing here."""
    delivery: str = dataclasses.field(init=False, repr=False, compare=False)
    """The delivery and its reach, as in a plan's text: ``HUP@session``."""
    _parts: tuple[Step, ...] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        also = _pairs(self.also)
        for what, reach in ((self.what, self.reach), *also):
            if not isinstance(what, Signal | HangUp | Typed) or not isinstance(reach, Reach):
                msg = "a step is a Signal, HangUp or Typed, seconds to wait, and a Reach"
                raise InvalidArgument(msg)
        object.__setattr__(self, "also", also)
        object.__setattr__(self, "wait", validate.grace(self.wait, "a step's wait"))
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
        return f"{self.delivery} {seconds_text(self.wait)}"

    def __repr__(self) -> str:
        return f"<Step {self}>"


def _pairs(also: object) -> tuple[tuple[What, Reach], ...]:
    """Return ``also`` as a tuple of pairs; the caller checks their types."""
    try:
        return tuple((what, reach) for what, reach in also)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        msg = "also must be pairs of a delivery and a Reach"
        raise InvalidArgument(msg) from None


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


def seconds_text(seconds: float) -> str:
    """Return a time in the form of a plan's text: ``2s``, ``0.5s``."""
    return f"{seconds!r}s".replace(".0s", "s")
