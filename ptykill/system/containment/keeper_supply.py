"""Gives out keepers, and keeps one warm: forked and warmed up before a session needs it.

To spawn is then to send an order to a keeper that is there.
"""

from __future__ import annotations

from contextlib import suppress

from ptykill.system.containment.keeper_handle import KeeperHandle
from ptykill.system.containment.rights import Rights
from ptykill.system.containment.warden_client import WardenClient
from ptykill.system.forks import close_in_child

__all__ = ["KeeperSupply"]


class KeeperSupply:
    """A warden, and the warm keeper. Made by `start`; `close` has to be called."""

    def __init__(self, warden: WardenClient, groups: str | None, rights: Rights) -> None:
        self._warden = warden
        self._groups = groups
        self._rights = rights
        self._warm: KeeperHandle | None = None
        close_in_child(self)

    @classmethod
    async def start(cls, groups: str | None) -> KeeperSupply:
        """Start a warden; each keeper gets a cgroup in the folder ``groups``, if that is given.

        Raises OSError; `ContainmentUnavailable` if the warden's keepers could not keep a session.
        """
        rights = Rights()  # Before the start: a right that the host gives up meanwhile is noticed.
        try:
            warden = WardenClient.start()
        except BaseException:
            rights.close()
            raise
        supply = cls(warden, groups, rights)
        try:
            supply.prepare()
            await warden.wait_ready()
        except BaseException:
            await supply.close()
            raise
        return supply

    @property
    def usable(self) -> bool:
        """Whether the warden lives, and has the rights that this host has.

        The warden's sessions have the warden's rights. A host that has given up a right since its
        start must not hand it on. Raises OSError.
        """
        return self._rights.unchanged() and self._warden.alive

    def take(self) -> KeeperHandle:
        """Return a keeper, the warm one if there is one. Raises OSError."""
        warm, self._warm = self._warm, None
        keeper = warm or self._ask()
        keeper.umask = self._rights.umask
        return keeper

    def prepare(self) -> None:
        """Have a keeper ready for the next session, if that is possible."""
        if self._warm is None and self._warden.open:
            with suppress(OSError):
                self._warm = self._ask()

    def _ask(self) -> KeeperHandle:
        return KeeperHandle(self._warden.ask_for_keeper(self._groups), self._warden)

    async def close(self) -> None:
        """End the warden; bounded. Keepers that have sessions go on without it."""
        self._rights.close()
        if self._warm is not None:
            self._warm.close()
            self._warm = None
        await self._warden.close()

    def close_copies(self) -> None:
        """Close the descriptors in a forked child."""
        self._rights.close()
