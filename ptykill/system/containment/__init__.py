"""Chooses the containment: how the members of a session are known and reached."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ptykill import log
from ptykill.errors import ContainmentUnavailable, LimitsUnavailable
from ptykill.rules.limits import NO_LIMITS, SessionLimits
from ptykill.rules.options import STRONGEST_FIRST, check_containment
from ptykill.rules.protocols import Tier
from ptykill.system.containment.keeper_supply import KeeperSupply
from ptykill.system.containment.tables import unusable
from ptykill.system.containment.warden_client import unavailable
from ptykill.system.kernel import cgroup_place

if TYPE_CHECKING:
    from ptykill.system.containment.keeper_tier import KeeperTier
    from ptykill.system.containment.session_tier import SessionTier

__all__ = ["STRONGEST_FIRST", "open_tier", "why_not"]


async def open_tier(name: str, caps: SessionLimits = NO_LIMITS) -> Tier:
    """Open the tier of that name; ``"auto"`` opens the strongest that this machine offers.

    Raises `ContainmentUnavailable` if it is not there: a weaker one is never taken silently. Raises
    `LimitsUnavailable` if its sessions can't have ``caps`` as their limits.
    """
    check_containment(name)
    lacking: dict[str, str] = {}
    for each in STRONGEST_FIRST if name == "auto" else (name,):
        try:
            tier = await _open(each)
            if caps:
                await _check_limits(tier, caps)
        except LimitsUnavailable:
            raise
        except OSError as error:
            lacking[each] = f"the warden could not be started: {error}"
        except ContainmentUnavailable as error:
            lacking[each] = str(error)
        else:
            log.event(logging.INFO, "containment.chosen", containment=each, lacking=lacking)
            return tier
    msg = "; ".join(f"no {each} containment: {reason}" for each, reason in lacking.items())
    raise ContainmentUnavailable(msg)


async def _check_limits(tier: KeeperTier | SessionTier, caps: SessionLimits) -> None:
    try:
        tier.check_limits(caps)
    except BaseException:
        await tier.close()
        raise


async def _open(name: str) -> KeeperTier | SessionTier:
    reason = why_not(name)
    if reason is not None:
        raise ContainmentUnavailable(reason)
    if name == "session":
        from ptykill.system.containment.session_tier import SessionTier  # noqa: PLC0415

        return SessionTier()
    groups = cgroup_place.own_cgroup() if name == "cgroup" else None
    keepers = KeeperSupply.start(groups)
    try:
        # The warden takes as long to start as this takes to be imported.
        from ptykill.system.containment.keeper_tier import KeeperTier  # noqa: PLC0415

        await keepers.wait_ready()
        return KeeperTier(keepers, groups)
    except BaseException:  # No descriptor is left for the import, say.
        await keepers.close()
        raise


def why_not(name: str) -> str | None:
    """Return why a tier does not work here, None if it does; checked without a warden.

    Raises OSError.
    """
    if name == "session":
        return unusable()
    reason = unavailable()
    return cgroup_place.why_unusable() if reason is None and name == "cgroup" else reason
