"""The options of a supervisor, as `open_supervisor` and `Host` take them."""

from __future__ import annotations

from typing import TypedDict

from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.protocols import Signaller, Tier

__all__ = ["SupervisorOptions"]


class SupervisorOptions(TypedDict, total=False):
    """The keyword arguments of `open_supervisor`, for functions that pass them on."""

    plan: Plan | str
    containment: str | Tier
    max_sessions: int
    leftovers: Leftovers | str
    signaller: Signaller | None
    backlog: int
    keep_seconds: float
    keep_records: int
