"""Gives out keepers, takes those back whose session is over, and keeps one ready.

A new keeper is forked and warmed up before a session needs it. To spawn is then to send an order to
a keeper that is there.
"""

from __future__ import annotations

import math
from contextlib import suppress

import trio

from ptykill.system.containment.keeper_handle import KeeperHandle
from ptykill.system.containment.rights import Rights
from ptykill.system.containment.warden_client import WardenClient
from ptykill.system.forks import close_in_child

__all__ = ["KeeperSupply"]


_MOST_IDLE = 64
"""So many keepers are idle at most. Each has a process, and a descriptor of the host's."""
_IDLE_TIME = 20.0
"""Seconds without a new session after which one idle keeper is enough."""


class KeeperSupply:
    """A warden, and its idle keepers. Made by `start`; `close` has to be called."""

    def __init__(self, warden: WardenClient, groups: str | None, rights: Rights) -> None:
        self._warden = warden
        self._groups = groups
        self._rights = rights
        self._idle: list[KeeperHandle] = []
        """Keepers without a session. The last one is the best to take: it was used last.

        One that is not ready is put first, so that it has the most time to become ready.
        """
        self._last_taken = trio.current_time()
        close_in_child(self)

    @classmethod
    def start(cls, groups: str | None) -> KeeperSupply:
        """Start a warden, which is not ready yet. Raises OSError.

        Each keeper gets a cgroup in the folder ``groups``, if that is given.
        """
        rights = Rights()  # Before the start: a right that the host gives up meanwhile is noticed.
        try:
            warden = WardenClient.start()
        except BaseException:
            rights.close()
            raise
        supply = cls(warden, groups, rights)
        supply.prepare()
        return supply

    async def wait_ready(self) -> None:
        """Wait until the warden is ready; close this if it will not be.

        Raises OSError; `ContainmentUnavailable` if its keepers could not keep a session.
        """
        try:
            await self._warden.wait_ready()
        except BaseException:
            await self.close()
            raise

    @property
    def usable(self) -> bool:
        """Whether the warden lives, and has the rights that this host has.

        The warden's sessions have the warden's rights. A host that has given up a right since its
        start must not hand it on. Raises OSError.
        """
        return self._rights.unchanged() and self._warden.alive

    def take(self) -> KeeperHandle:
        """Return an idle keeper, the ready one that was used last, or a new one.

        Raises OSError; `NoRoom` if so many are asked for that the warden can take no request now.
        """
        self._last_taken = trio.current_time()
        keeper = self._take_idle() or self._ask()
        keeper.umask = self._rights.umask
        return keeper

    def _take_idle(self) -> KeeperHandle | None:
        for place in reversed(range(len(self._idle))):
            if self._idle[place].is_ready():
                return self._idle.pop(place)
        # The one that has been idle for the longest will be ready first.
        return self._idle.pop() if self._idle else None

    async def wait_for_room(self) -> None:
        """Wait until the warden may have room for a request; bounded."""
        await self._warden.wait_for_room()

    def give_back(self, keeper: KeeperHandle) -> None:
        """Take the keeper of a session that is over, for another one, if there is room.

        One for which there is none stays with its handle: it exits when that is closed, and so not
        while other sessions are being ended.
        """
        ours = keeper.warden is self._warden and self._warden.open
        if ours and len(self._idle) < _MOST_IDLE:
            self._idle.insert(len(self._idle) if keeper.ready else 0, keeper.release())

    def prepare(self) -> float:
        """Have a keeper ready for the next session, and not too many.

        Returns the seconds after which to call it again, if no session starts or ends till then.
        """
        for keeper in self._idle:
            keeper.get_ready()
        ready = any(keeper.ready for keeper in self._idle)
        if not ready and self._warden.open and len(self._idle) < _MOST_IDLE:
            with suppress(OSError):
                self._idle.append(self._ask())
        if len(self._idle) <= 1:
            return math.inf
        rest = self._last_taken + _IDLE_TIME - trio.current_time()
        if rest <= 0:
            self.drop_idle(but=1)
            return math.inf
        return rest

    def drop_idle(self, but: int = 0) -> bool:
        """Let idle keepers exit, all but some; return whether any does."""
        dropped = self._idle[but:]
        del self._idle[but:]
        for keeper in dropped:
            keeper.close()
        return bool(dropped)

    def _ask(self) -> KeeperHandle:
        return KeeperHandle(self._warden.ask_for_keeper(self._groups), self._warden)

    async def close(self) -> None:
        """End the warden; bounded. Keepers that have sessions go on without it."""
        self._rights.close()
        self.drop_idle()
        await self._warden.close()

    def close_copies(self) -> None:
        """Close the descriptors in a forked child."""
        self._rights.close()
