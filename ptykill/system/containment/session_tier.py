"""The portable tier: members are known by their POSIX session, and by descent while it shows."""

from __future__ import annotations

import trio

from ptykill.errors import LimitsUnavailable
from ptykill.rules.command import Command, limits_of
from ptykill.rules.limits import SessionLimits
from ptykill.rules.protocols import Handover, Spawned
from ptykill.system.containment.leader import Leader
from ptykill.system.containment.session_containment import SessionContainment
from ptykill.system.containment.tables import open_table
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.pty.spawn import spawn
from ptykill.system.pty.terminal import open_terminal

__all__ = ["SessionTier"]


class SessionTier:
    """Spawns sessions whose members are found in the process table."""

    name: str = SessionContainment.name

    def __init__(self) -> None:
        self._table = open_table()

    async def spawn(self, command: Command, handover: Handover) -> Spawned:
        """Start a session. Raises `SpawnError`, and then nothing is left of the attempt."""
        del handover  # No process could carry it out.
        await trio.lowlevel.checkpoint()
        self.check_limits(limits_of(command.attributes))
        reserve.fill(self)
        terminal = open_terminal(command)
        try:
            leader = Leader(await spawn(command, terminal))
        except BaseException:
            terminal.hang_up()
            raise
        return Spawned(SessionContainment(leader, terminal, self._table), terminal)

    def check_limits(self, limits: SessionLimits) -> None:
        """Raise `LimitsUnavailable` if there are limits: a session has no cgroup here."""
        if limits:
            reason = "sessions have no cgroups in the session containment"
            raise LimitsUnavailable(limits.controllers, reason)

    def prepare(self) -> None:
        """Prepare nothing: a spawn needs nothing that could be made before it."""

    async def close(self) -> None:
        """Close the descriptors that all sessions shared."""
        self._table.close()
        reserve.release(self)
