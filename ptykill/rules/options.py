"""The options of a supervisor, as `open_supervisor` and `Host` take them, and their checks."""

from __future__ import annotations

import dataclasses
from typing import TypedDict, Unpack

from ptykill.errors import InvalidArgument
from ptykill.rules import validate
from ptykill.rules.deadlines import Deadlines
from ptykill.rules.limits import SessionLimits
from ptykill.rules.plan import HANGUP_THEN_KILL, Leftovers, Plan
from ptykill.rules.protocols import Signaller, Tier
from ptykill.rules.window_size import WindowPolicy

__all__ = [
    "STRONGEST_FIRST",
    "Options",
    "SupervisorOptions",
    "check_containment",
    "check_signaller",
]

STRONGEST_FIRST = ("cgroup", "keeper", "session")
"""The names of the containments, in the order in which ``"auto"`` tries them."""


class SupervisorOptions(TypedDict, total=False):
    """The keyword arguments of `open_supervisor` and `Host`, to annotate ``**options`` with."""

    plan: Plan | str
    containment: str | Tier
    max_sessions: int
    leftovers: Leftovers | str
    signaller: Signaller | None
    backlog: int
    keep_seconds: float
    keep_records: int
    window_size: WindowPolicy | str
    deadlines: Deadlines | None
    memory_max: int | None
    pids_max: int | None
    cpu_max: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Checked options, as `open_supervisor` describes them. Raises `InvalidArgument`."""

    plan: Plan = HANGUP_THEN_KILL
    containment: str | Tier = "auto"
    max_sessions: int = 64
    leftovers: Leftovers = Leftovers.HANGUP
    signaller: Signaller | None = None
    backlog: int = 1 << 20
    keep_seconds: float = 300.0
    keep_records: int = 256
    window_size: WindowPolicy = WindowPolicy.LATEST
    deadlines: Deadlines | None = None
    memory_max: int | None = None
    pids_max: int | None = None
    cpu_max: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", Plan.of(self.plan))
        check_containment(self.containment)
        validate.whole("max_sessions", self.max_sessions, 1)
        leftovers = validate.member("leftovers", self.leftovers, Leftovers)
        object.__setattr__(self, "leftovers", leftovers)
        check_signaller(self.signaller)
        validate.whole("backlog", self.backlog, 0)
        object.__setattr__(
            self, "keep_seconds", validate.seconds("keep_seconds", self.keep_seconds)
        )
        validate.whole("keep_records", self.keep_records, 0)
        window_size = validate.member("window_size", self.window_size, WindowPolicy)
        object.__setattr__(self, "window_size", window_size)
        if self.deadlines is not None:
            validate.instance("deadlines", self.deadlines, Deadlines)
        object.__setattr__(self, "cpu_max", self.caps.cpu_max)

    @property
    def caps(self) -> SessionLimits:
        """The limits of each session, which a spawn can lower."""
        return SessionLimits(self.memory_max, self.pids_max, self.cpu_max)

    @classmethod
    def of(cls, **options: Unpack[SupervisorOptions]) -> Options:
        """Check options. Raises TypeError for an unknown name, as any function does."""
        unknown = [each for each in options if each not in SupervisorOptions.__annotations__]
        if unknown:
            known = ", ".join(SupervisorOptions.__annotations__)
            msg = f"there is no option {unknown[0]!r}: the options are {known}"
            raise TypeError(msg)
        return cls(**options)  # type: ignore[arg-type]  # It parses the texts.


def check_containment(containment: object) -> None:
    """Raise `InvalidArgument` unless this is the name of a containment, or a `Tier`."""
    if not isinstance(containment, str):
        validate.has_methods("containment", containment, "spawn", "prepare", "close")
    elif containment not in ("auto", *STRONGEST_FIRST):
        known = ", ".join(STRONGEST_FIRST)
        msg = f"containment is one of auto, {known}, not {containment!r}"
        raise InvalidArgument(msg)


def check_signaller(signaller: object) -> None:
    """Raise `InvalidArgument` unless this is None or a `Signaller`."""
    if signaller is not None:
        validate.has_methods("signaller", signaller, "deliver")
