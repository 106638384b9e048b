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
    """The steps by which sessions are ended; `HANGUP_THEN_KILL` by default."""
    containment: str | Tier
    """How members are found: ``"auto"`` (the default), a name, or a `Tier`."""
    max_sessions: int
    """The most sessions that may live at once: 64."""
    leftovers: Leftovers | str
    """What to do with members when a leader ends by itself: `Leftovers.HANGUP`."""
    signaller: Signaller | None
    """What delivers the steps of plans; None means the system's signals."""
    backlog: int
    """Bytes of output that are kept for a slow receiver: 1 MiB."""
    keep_seconds: float
    """Seconds for which the record of an ended session is kept: 300."""
    keep_records: int
    """The most records that are kept: 256."""
    window_size: WindowPolicy | str
    """Whose size a window gets that several attachments see: ``"latest"``."""
    deadlines: Deadlines | None
    """The deadlines of sessions that have none of their own: none."""
    memory_max: int | None
    """The most memory that a session may have, in bytes: None, no limit."""
    pids_max: int | None
    """The most processes and threads that a session may have: None, no limit."""
    cpu_max: float | None
    """The most processors that a session may use: None, no limit."""


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
