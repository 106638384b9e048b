"""Spawns in a tier, and prepares the next spawn while the loop is idle."""

from __future__ import annotations

import errno
import logging
import math

import trio

from ptykill import log
from ptykill.engine.cleanup import DeferredCleanup
from ptykill.errors import SpawnError
from ptykill.rules.command import Command
from ptykill.rules.protocols import Handover, Spawned, Tier

__all__ = ["Spawner"]

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EAGAIN, errno.ENOMEM)
"""The errors of the kernel for a lack of descriptors, terminals, processes or memory."""
_SETTLE = 0.05
"""Seconds from a spawn to preparing the next: the new program starts up first."""


class Spawner:
    """Spawns the sessions of one supervisor; ``containment`` is the name of the tier."""

    def __init__(self, tier: Tier, cleanup: DeferredCleanup) -> None:
        self.containment: str = tier.name
        self._tier = tier
        self._cleanup = cleanup
        self._changed = trio.lowlevel.ParkingLot()

    async def spawn(self, command: Command, handover: Handover) -> Spawned:
        """Spawn in the tier. Raises `SpawnError`."""
        try:
            return await self._tier.spawn(command, handover)
        except SpawnError as error:
            # Ended sessions hold descriptors and processes until the next cleanup.
            if error.errno not in _EXHAUSTED or not await self._cleanup.run_now():
                raise
        return await self._tier.spawn(command, handover)

    def prepare_soon(self) -> None:
        """Have the next spawn prepared: a session has started, or has closed its descriptors."""
        self._changed.unpark()

    @trio.lowlevel.enable_ki_protection
    async def stay_ready(self) -> None:
        """Prepare the next spawn while the loop is idle, until cancelled."""
        while True:
            again: float | None = None
            await trio.sleep(_SETTLE)
            await self._cleanup.wait_idle()
            try:
                again = self._tier.prepare()
            except Exception as error:  # noqa: BLE001 - a spawn works without it
                log.event(logging.WARNING, "supervisor.unprepared", exc_info=error)
            with trio.move_on_after(math.inf if again is None else again):
                await self._changed.park()
