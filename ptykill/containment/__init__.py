"""How the members of a session are known and reached: the tiers, and the choice among them."""

from __future__ import annotations

from ptykill.containment.session import SessionTier
from ptykill.contract import Tier
from ptykill.errors import ContainmentUnavailable, InvalidArgument

__all__ = ["choose"]

_KNOWN = ("auto", "cgroup", "keeper", "session")


def choose(name: str) -> Tier:
    """Return the tier of that name; ``"auto"`` is the strongest there is.

    Raises `ContainmentUnavailable` if it can't be had: a weaker one is never taken silently.
    """
    if name not in _KNOWN:
        msg = f"containment is one of {', '.join(_KNOWN)}, not {name!r}"
        raise InvalidArgument(msg)
    if name in ("auto", "session"):
        return SessionTier()
    msg = f"the {name} containment is not part of this version of ptykill"
    raise ContainmentUnavailable(msg)
