"""The keeper tier: each session has a keeper, a small process that no member can escape.

The keeper (`ptykill.system.keeper.keeper`) becomes the parent of all orphans of its session. So it
knows all members, and knows when none is left. The cgroup tier is the same, with a cgroup for each
session.
"""

from __future__ import annotations

import errno
import logging
from contextlib import suppress

import trio

from ptykill import log
from ptykill.errors import LimitsUnavailable, SpawnError
from ptykill.rules.command import Command, limits_of
from ptykill.rules.limits import SessionLimits
from ptykill.rules.protocols import Handover, Spawned
from ptykill.system.containment.keeper_containment import KeeperContainment
from ptykill.system.containment.keeper_handle import KeeperDied, KeeperHandle
from ptykill.system.containment.keeper_supply import KeeperSupply
from ptykill.system.containment.limits_place import find_place
from ptykill.system.containment.tables import open_table
from ptykill.system.containment.warden_client import NoRoom, is_stranger
from ptykill.system.kernel.cgroup import recover
from ptykill.system.kernel.cgroup_place import can_leave, why_unusable
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.last_pid import LastPid
from ptykill.system.kernel.limited_cgroup import Limits
from ptykill.system.kernel.session_leader import StartFailed
from ptykill.system.pty.order import SPAWN_TIMEOUT, spawn_error
from ptykill.system.pty.terminal import PtyTerminal, open_terminal
from ptykill.system.readiness import readable

__all__ = ["KeeperTier"]

_TRIES = 20
"""So many keepers are tried for one spawn, if each is killed before it has read its order."""
_CLEAR_TIMEOUT = 2.0
"""Seconds that a failed spawn waits until the processes that it may have started are gone."""
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_WARDEN_KILLED = (errno.EIO, errno.EPIPE, errno.ETIMEDOUT)
"""Errors of a warden that was killed, or is held up, before it forked a keeper."""


class KeeperTier:
    """Spawns sessions that have a keeper each; and, if ``groups`` is a folder, a cgroup in it."""

    def __init__(self, keepers: KeeperSupply, groups: str | None) -> None:
        self.name: str = "keeper" if groups is None else "cgroup"
        self._keepers = keepers
        self._groups = groups
        self._last_pid = LastPid()
        self._table = open_table()
        self._controllers: set[str] = set()
        """The controllers by which sessions are known to be able to have limits."""
        self._limits_place: str | None = None
        """The cgroup below which sessions with limits have theirs."""
        self._may_have_leftovers = True
        """A keeper may have died before it could remove its cgroup."""
        self._recover_cgroups()

    async def spawn(self, command: Command, handover: Handover) -> Spawned:
        """Start a session. Raises `SpawnError`, and then nothing is left of the attempt."""
        limits = self._limits_of(command)
        reserve.fill(self)
        terminal = self._open_terminal(command)
        try:
            keeper = await self._start_leader(command, terminal, handover)
        except OSError as error:
            terminal.hang_up()
            if isinstance(error, SpawnError):
                raise
            raise spawn_error(error.errno, getattr(error, "stage", "keeper"), command) from error
        except BaseException:
            terminal.hang_up()
            raise
        containment = KeeperContainment(
            self.name,
            keeper,
            terminal,
            self._last_pid,
            self._table,
            dies_with_keeper=command.attributes.death_signal is not None,
            sealed=self._is_sealed(command),
            limited=limits is not None,
            refuge=self._groups,
            give_back=self._give_back,
            on_lost=self._note_leftovers,
        )
        return Spawned(containment, terminal)

    def check_limits(self, limits: SessionLimits) -> None:
        """Raise `LimitsUnavailable` if sessions can't have such limits."""
        if self._groups is None:
            reason = why_unusable() or "sessions have no cgroups in the keeper containment"
            raise LimitsUnavailable(limits.controllers, reason)
        self._limits_place = find_place(limits.controllers)
        self._controllers.update(limits.controllers)
        self._may_have_leftovers = True
        self._recover_cgroups()

    def _limits_of(self, command: Command) -> Limits | None:
        """Return the limits of a session, as its keeper gets them. Raises `LimitsUnavailable`."""
        limits = limits_of(command.attributes)
        if not limits:
            return None
        if not self._controllers.issuperset(limits.controllers):
            self.check_limits(limits)
        assert self._limits_place is not None
        assert self._groups is not None
        return Limits(
            self._limits_place, self._groups, limits.memory_max, limits.pids_max, limits.cpu_max
        )

    def _open_terminal(self, command: Command) -> PtyTerminal:
        """Open a terminal, at the cost of idle keepers if there is no descriptor left."""
        try:
            return open_terminal(command)
        except SpawnError as error:
            if error.errno not in _NO_DESCRIPTOR or not self._keepers.drop_idle():
                raise
        return open_terminal(command)

    async def _start_leader(
        self, command: Command, terminal: PtyTerminal, handover: Handover
    ) -> KeeperHandle:
        """Have a keeper start the leader; another one, if a keeper dies before it has its order.

        A session may kill each keeper that it sees, until one is faster. But an order that a keeper
        may have read is not given again: the command would run twice.
        """
        tries = _TRIES
        while True:
            tries -= 1
            try:
                return await self._try_to_start(command, terminal, handover)
            except StartFailed as error:
                # EAGAIN: the limit of processes (fork(2)), and idle keepers count. Nothing ran.
                crowded = error.errno == errno.EAGAIN and self._keepers.drop_idle()
                if not tries or not (crowded or isinstance(error, KeeperDied)):
                    raise
                # What has hit one idle keeper may have hit all, and there may be more than the
                # tries. The next one is new.
                self._keepers.drop_idle()

    async def _try_to_start(
        self, command: Command, terminal: PtyTerminal, handover: Handover
    ) -> KeeperHandle:
        try:
            keeper = await self._take_keeper()
        except OSError as error:
            if error.errno in _WARDEN_KILLED:
                raise KeeperDied(error.errno, "keeper") from error
            raise
        try:
            self._send_order(keeper, command, terminal, handover)
            await keeper.wait_started()
        except BaseException as error:
            keeper.close()
            self._may_have_leftovers = True
            if not isinstance(error, KeeperDied) and not keeper.clean:
                await self._wait_until_clear(keeper)
            raise
        return keeper

    async def _take_keeper(self) -> KeeperHandle:
        """Return a keeper; wait while hundreds of others are asked for. Raises OSError."""
        until = trio.current_time() + SPAWN_TIMEOUT
        while True:
            keepers = await self._usable_keepers()
            try:
                return keepers.take()
            except NoRoom:
                if trio.current_time() > until:
                    raise
            await keepers.wait_for_room()

    def _send_order(
        self, keeper: KeeperHandle, command: Command, terminal: PtyTerminal, handover: Handover
    ) -> None:
        """Send the order; without a descriptor for it, let idle keepers exit and try another one.

        Raises as `KeeperHandle.send_order` does, always before the keeper has the order.
        """
        try:
            keeper.send_order(command, terminal.slave, handover, self._limits_of(command))
        except OSError as error:
            if error.errno in _NO_DESCRIPTOR and self._keepers.drop_idle():
                raise KeeperDied(error.errno, "keeper") from error
            raise

    async def _wait_until_clear(self, keeper: KeeperHandle) -> None:
        """Wait until no process is left of what a dead keeper may have started; bounded."""
        answer = None
        with suppress(OSError):
            answer = keeper.warden.ask_when_clear(keeper.pid)
        if answer is None:
            self._recover_cgroups()  # The warden is dead too: only the cgroup lists the members.
            return
        with answer, trio.move_on_after(_CLEAR_TIMEOUT, shield=True):
            keeper.warden.kill_orphans()
            while not await readable(answer):
                pass

    def _is_sealed(self, command: Command) -> bool:
        """Return whether no process of the session will be able to leave its cgroup."""
        uid = command.attributes.uid
        return self._groups is not None and uid is not None and not can_leave(self._groups, uid)

    async def _usable_keepers(self) -> KeeperSupply:
        """Return a warden's keepers; a new warden's, if it is dead or the host has other rights.

        The keepers that the old warden has forked go on; they do not need it.
        """
        if not self._keepers.usable:
            log.event(logging.WARNING, "warden.replaced")
            new = KeeperSupply.start(self._groups)
            await new.wait_ready()
            # Two spawns may be here at once: each closes the one that it replaces.
            old, self._keepers = self._keepers, new
            await old.close()
        return self._keepers

    def _recover_cgroups(self) -> None:
        """End the processes that dead keepers have left in their cgroups, and remove these."""
        if self._may_have_leftovers and self._groups is not None:
            for parent in filter(None, {self._groups, self._limits_place}):
                for path in recover(parent, is_stranger, self._groups):
                    log.event(logging.WARNING, "cgroup.recovered", path=path)
        self._may_have_leftovers = False

    def _note_leftovers(self) -> None:
        """Remove the cgroups of a dead keeper later: one that it had made ahead, say."""
        self._may_have_leftovers = True

    def _give_back(self, keeper: KeeperHandle) -> None:
        self._keepers.give_back(keeper)

    def prepare(self) -> float:
        """Have a keeper ready for the next session; return when to call this again (seconds)."""
        self._recover_cgroups()
        return self._keepers.prepare()

    async def close(self) -> None:
        """End the warden, and close the descriptors that all sessions shared."""
        await self._keepers.close()
        self._recover_cgroups()
        self._last_pid.close()
        self._table.close()
        reserve.release(self)
