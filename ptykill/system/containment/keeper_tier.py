"""The keeper tier: each session has a keeper, a small process that nothing of it can escape.

The keeper (`ptykill.system.keeper.keeper`) is the parent of all orphans of its session. It reaps
them, and tells when the leader has exited and when no member is left. Signals are sent from here,
to the keeper's descendants, so that it need not be awake for that. SIGKILL is sent from both sides,
until no member is left.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from signal import Signals
from typing import NamedTuple

import trio

from ptykill import log
from ptykill.errors import SpawnError
from ptykill.rules.command import Command
from ptykill.rules.protocols import Handover, Signalled, Spawned
from ptykill.rules.steps import Reach
from ptykill.rules.verdict import Caveat, ExitStatus, Survivor
from ptykill.system.containment.identity import identify
from ptykill.system.containment.lost_keeper import LostKeeper
from ptykill.system.containment.process_table import ProcessTable, process_table
from ptykill.system.containment.warden_client import (
    KeeperDied,
    KeeperHandle,
    WardenClient,
    connected,
    is_stranger,
)
from ptykill.system.keeper import wire
from ptykill.system.keeper.orphaned import within
from ptykill.system.kernel.cgroup import Cgroup, can_be_left, recover, take_here
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.last_pid import Births
from ptykill.system.kernel.pidfd import Pidfd, deliver, open_pidfd
from ptykill.system.kernel.procfs import children, members
from ptykill.system.pty.order import failed
from ptykill.system.pty.terminal import PtyTerminal, open_terminal
from ptykill.system.readiness import readable

__all__ = ["KeeperContainment", "KeeperTier"]

_TRIES = 20
"""So many keepers are tried for one spawn, if one after the other is killed before its order."""
_CLEAR_TIMEOUT = 2.0
"""Seconds that a spawn which has failed waits for what may have been born to be gone."""
_HELD_UP = 3
"""So many rounds of SIGKILL in a row in which a keeper is held up, with nobody left but it."""


_KILLED = (errno.EIO, errno.EPIPE, errno.ETIMEDOUT)
"""How a warden tells that it was killed, or is held up, before it made a keeper."""


class KeeperTier:
    """Spawns sessions that have a keeper each; and, if ``groups`` is a folder, a cgroup in it."""

    def __init__(self, warden: WardenClient, groups: str | None) -> None:
        self.name: str = "keeper" if groups is None else "cgroup"
        self._warden = warden
        self._groups = groups
        self._births = Births()
        self._table = process_table()
        self._cgroups_clean = False
        """No keeper has died, as far as is known, before it could remove its cgroup."""
        self._recover_cgroups()

    @classmethod
    async def open(cls, groups: str | None = None) -> KeeperTier:
        """Start the warden. Raises OSError, or `ContainmentUnavailable`."""
        return cls(await WardenClient.start(groups), groups)

    async def spawn(self, command: Command, handover: Handover) -> Spawned:
        """Start a session. Raises `SpawnError`, and then nothing is left of the attempt."""
        reserve.fill()
        terminal = open_terminal(command)
        try:
            keeper = await self._start_leader(command, terminal, handover)
        except OSError as error:
            terminal.hang_up()
            if isinstance(error, SpawnError):
                raise
            raise failed(error.errno, getattr(error, "stage", "keeper"), command) from error
        except BaseException:
            terminal.hang_up()
            raise
        containment = KeeperContainment(
            self.name,
            keeper,
            terminal,
            self._births,
            self._table,
            dies_with_keeper=command.attributes.death_signal is not None,
            sealed=self._is_sealed(command),
        )
        return Spawned(containment, terminal)

    async def _start_leader(
        self, command: Command, terminal: PtyTerminal, handover: Handover
    ) -> KeeperHandle:
        """Have the leader be born, by another keeper if one is killed before it knew its order.

        A session may kill whatever keeper it sees; those after it find one in the end. But no order
        is given twice that may have been obeyed: the command would run twice.
        """
        tries = _TRIES
        while True:
            tries -= 1
            try:
                return await self._try_to_start(command, terminal, handover)
            except KeeperDied:
                if not tries:
                    raise

    async def _try_to_start(
        self, command: Command, terminal: PtyTerminal, handover: Handover
    ) -> KeeperHandle:
        try:
            warden = await self._usable_warden()
            keeper = warden.take_keeper()
        except OSError as error:
            if error.errno in _KILLED:
                raise KeeperDied(error.errno, "keeper") from error
            raise
        try:
            keeper.send_order(command, terminal.slave, _to_wire(handover))
            await keeper.wait_started()
        except BaseException as error:
            keeper.close()
            self._cgroups_clean = False  # It may have been killed.
            if not isinstance(error, KeeperDied) and not keeper.clean:
                await self._wait_until_clear(keeper)
            raise
        return keeper

    async def _wait_until_clear(self, keeper: KeeperHandle) -> None:
        """Wait until nothing is left of what a lost keeper may have had born; bounded."""
        answer = None
        with suppress(OSError):
            answer = keeper.warden.ask_when_clear(keeper.pid)
        if answer is None:
            self._recover_cgroups()  # The cgroup is what is left to know it by.
            return
        with answer, trio.move_on_after(_CLEAR_TIMEOUT, shield=True):
            keeper.warden.kill_orphans()
            while not await readable(answer):
                pass

    def _is_sealed(self, command: Command) -> bool:
        """Return whether no process of the session will be able to leave its cgroup."""
        uid = command.attributes.uid
        return self._groups is not None and uid is not None and not can_be_left(self._groups, uid)

    def prepare(self) -> None:
        """Have a keeper ready for the next session."""
        self._recover_cgroups()
        self._warden.prepare_keeper()

    async def _usable_warden(self) -> WardenClient:
        """Return the warden, or a new one if it is dead or this host has become another user.

        The keepers of a warden that is given up go on; they need it no more.
        """
        if not self._warden.usable:
            log.event(logging.WARNING, "warden.replaced")
            new = await WardenClient.start(self._groups)
            # Two spawns may have come here at once.
            old, self._warden = self._warden, new
            await old.close()
        return self._warden

    def _recover_cgroups(self) -> None:
        """End what dead keepers have left in their cgroups, and remove these."""
        if not self._cgroups_clean and self._groups is not None:
            for path in recover(self._groups, is_stranger):
                log.event(logging.WARNING, "cgroup.recovered", path=path)
        self._cgroups_clean = True

    async def close(self) -> None:
        """End the warden, and give back what all sessions shared."""
        await self._warden.close()
        self._recover_cgroups()
        self._births.close()
        self._table.close()
        reserve.empty()


class KeeperContainment:
    """One session, as its keeper has it."""

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        name: str,
        keeper: KeeperHandle,
        terminal: PtyTerminal,
        births: Births,
        table: ProcessTable,
        *,
        dies_with_keeper: bool,
        sealed: bool,
    ) -> None:
        self.name: str = name
        self.killed: bool = False
        self._told_of_loss = dies_with_keeper
        self._sealed = sealed
        self._keeper = keeper
        self._leader = keeper.leader
        self._terminal = terminal
        self._births = births
        self._table = table
        self._cgroup = None if keeper.cgroup is None else Cgroup(keeper.cgroup)
        self._status: ExitStatus | None = None
        self._exited = False
        self._empty = False
        self._closed = False
        self._rounds = 0
        self._held_up = 0
        """Rounds of SIGKILL in a row in which nobody was left, and the keeper did not run."""
        self._pending: list[_Pending] = []
        self._lost: LostKeeper | None = None
        """What is left to know the session by if its keeper is dead."""

    @property
    def pid(self) -> int:
        """The leader's pid."""
        return self._leader.pid

    # --- signals ----------------------------------------------------------------------------------

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal, and SIGCONT after it unless it stops or kills, to those there now."""
        if self._closed:
            return Signalled()
        if self._lost is not None:
            return self._lost.signal(name, reach)
        number = Signals[f"SIG{name}"]
        signalled = Signalled()
        if reach is Reach.LEADER:
            if not self._exited:
                self._send(number, self._leader, signalled)
            return signalled
        together = reach is Reach.ESCAPED and bool(self._pending)
        if not together:
            self.finish_signal()
        last, there = self._births.last(), self._present_members()
        self._pending.append(_Pending(number, reach, last, there, signalled))
        if reach in (Reach.SESSION, Reach.ALL) and not self._exited:
            # It goes first: mostly it is alone, and then nobody has to be looked for. Its death
            # hides nobody here, since its children become the keeper's.
            self._send(number, self._leader, signalled)
        elif not together:
            self.finish_signal()
        return signalled

    def finish_signal(self) -> None:
        """Signal those that the leader went before, but none that was born since."""
        if self._lost is not None:
            self._lost.finish_signal()
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        front = self._terminal.foreground()
        for member in self._members():
            pid = member.pid
            for number, reach, last, there, signalled in pending:
                if pid in signalled.reached or pid in signalled.refused:
                    continue
                # Asked once it has been found: it may have been born since this walk began.
                there_then = pid not in self._births.since(last) if there is None else pid in there
                if there_then and within(reach, pid, self.pid, front):
                    self._send(number, member, signalled)

    def _present_members(self) -> set[int] | None:
        """Return everybody there is, where births can't be told; or else None."""
        return None if self._births.known else {member.pid for member in self._members()}

    def kill(self) -> Signalled:
        """Send SIGKILL to every member there is."""
        if self._closed:
            return Signalled()
        self._rounds += 1
        self._pending = []
        if self._lost is not None:
            return self._lost.kill()
        signalled = Signalled()
        if not self._leader.dead():
            self._send(signal.SIGKILL, self._leader, signalled)
        alone = True
        for member in self._members():
            if member.pid != self.pid:
                alone = False
                self._send(signal.SIGKILL, member, signalled)
        if self._rounds > 1 or not alone:
            with suppress(OSError):  # It is told in the next round.
                self._send_message(wire.KILL)
        if self._rounds > 1:
            self._resume()
            self._unfreeze(alone=alone)
        return signalled

    def _send(self, number: int, process: Pidfd, signalled: Signalled) -> None:
        try:
            if deliver(number, process.send):
                signalled.reached.add(process.pid)
        except PermissionError:
            signalled.refused.add(process.pid)
        except OSError:
            if number != signal.SIGKILL:
                raise
            # The others are killed all the same, and this one in the next round.

    def _members(self) -> Iterator[Pidfd]:
        """Yield a handle on each living member."""
        with self._open_keeper() as keeper:
            if keeper is not None:
                yield from members(keeper)

    @contextmanager
    def _open_keeper(self) -> Iterator[Pidfd | None]:
        """Hold the keeper; None if it is dead."""
        handle = None
        with suppress(OSError):  # EMFILE, with no reserve left.
            handle = open_pidfd(self._keeper.pid)
        try:
            # Its end of the socket is open, so it has not been reaped, and the number was its own.
            yield handle if handle is not None and connected(self._keeper.channel) else None
        finally:
            if handle is not None:
                handle.close()

    def _resume(self) -> None:
        """Let a keeper go on that somebody has stopped."""
        with self._open_keeper() as keeper:
            if keeper is not None:
                with suppress(OSError):
                    keeper.send(signal.SIGCONT)

    def _unfreeze(self, *, alone: bool) -> None:
        """Let a keeper go on that its session has frozen, or put where it can't run (cgroups(7)).

        If nothing helps, end it: its warden inherits what it has, and tells of the end as well.
        """
        if self._cgroup is not None:
            self._cgroup.thaw()
        held_up = alone and self._leader.dead() and self._keeper.resume_if_held_up()
        self._held_up = self._held_up + 1 if held_up else 0
        if self._held_up < _HELD_UP:
            return
        with self._open_keeper() as keeper:
            if keeper is None:
                return
            if self._held_up == _HELD_UP:
                with suppress(OSError):  # It is not where we may take it from.
                    take_here(keeper.pid)
            else:
                log.event(logging.ERROR, "keeper.held_up", pid=self.pid, keeper=keeper.pid)
                with suppress(PermissionError):
                    keeper.send(signal.SIGKILL)

    # --- the keeper -------------------------------------------------------------------------------

    def hand_over(self, handover: Handover) -> None:
        """Tell the keeper what is left to be done if this host dies."""
        with suppress(OSError):  # What it was told before has to do.
            wire.send(self._keeper.channel, _to_wire(handover))
        self._resume()  # It should have told of a death by now, if there was one.

    def _send_message(self, what: str) -> None:
        """Tell the keeper something. Raises OSError if that can't be done now."""
        if not wire.send(self._keeper.channel, (what,)) and connected(self._keeper.channel):
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), what)

    def _read_messages(self) -> None:
        """Take in what the keeper has said."""
        while not self._empty and self._lost is None:
            try:
                message, _ = wire.receive(self._keeper.channel)
            except BlockingIOError:
                return
            match message[0]:
                case wire.EXITED | wire.EMPTY:
                    self._exited = True
                    self._status = None if message[1] is None else ExitStatus(*message[1])
                    self._empty = message[0] == wire.EMPTY
                case wire.BROKEN:
                    log.event(logging.ERROR, "keeper.broken", pid=self.pid, traceback=message[1])
                case wire.GONE:
                    self._go_on_without_keeper()

    def _go_on_without_keeper(self) -> None:
        """Go on without the keeper, which is dead."""
        log.event(logging.ERROR, "keeper.lost", pid=self.pid, keeper=self._keeper.pid)
        # First: while the leader lives, its number is known to be the session's.
        self._lost = LostKeeper(
            self._keeper, self._terminal, self._table, self._cgroup, sealed=self._sealed
        )
        if not self._told_of_loss and not self._leader.dead():  # By a death signal of its own.
            with suppress(PermissionError):
                self.killed = self._leader.send(signal.SIGKILL)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while True:
            self._read_messages()
            if self._lost is not None or condition():
                return
            await readable(self._keeper.channel)

    # --- its end ----------------------------------------------------------------------------------

    async def wait_exited(self) -> None:
        """Wait until the leader has exited."""
        await trio.lowlevel.checkpoint()
        await self._until(lambda: self._exited)
        if self._lost is not None:
            await self._lost.wait_exited()

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status; None if it can't be known."""
        return self._status

    def members_left(self) -> bool:
        """Ask whether anything of the session is left; if not, the leader has been reaped."""
        self._read_messages()
        if self._lost is not None:
            left = self._lost.members_left()
            self.killed |= self._lost.killed
            return left
        if not self._empty:
            self.finish_signal()
        return not self._empty

    async def wait_members(self) -> None:
        """Wait until nobody is left."""
        if self._lost is None:
            await self._until(lambda: self._empty)
        else:
            await self._lost.wait_members()

    def reap(self) -> ExitStatus | None:
        """Leave those that are left alone, if there are any; return the leader's status."""
        if not self._empty:
            self._send_message(wire.SPARE)
        return self._status

    def survivors(self) -> tuple[Survivor, ...]:
        """Who lives now, and why as far as can be told."""
        if self._lost is not None:
            return self._lost.survivors()
        alive = [identify(member.pid, member) for member in self._members()]
        if not alive and not self._empty:
            # Dead, but not to be reaped: somebody traces them.
            with self._open_keeper() as keeper:
                for pid in children(keeper.pid) if keeper is not None else ():
                    zombie = open_pidfd(pid)
                    if zombie is not None:
                        alive.append(identify(pid, zombie))
                        zombie.close()
        return tuple(alive)

    def caveats(self) -> frozenset[Caveat]:
        """What could not be known about this session."""
        return frozenset() if self._lost is None else self._lost.caveats()

    def close(self) -> None:
        """Give back the descriptors. A keeper that still keeps somebody goes on alone."""
        if not self._closed:
            self._closed = True
            self._keeper.close()
            if self._lost is not None:
                self._lost.close()


class _Pending(NamedTuple):
    """A signal that the leader has got and the others have not."""

    number: int
    reach: Reach
    last: int
    there: set[int] | None
    signalled: Signalled


def _to_wire(handover: Handover) -> wire.Will:
    plan, leftovers = str(handover.plan), handover.leftovers.value
    return wire.Will(wire.WILL, plan, leftovers, handover.steps, handover.due, handover.grace)
