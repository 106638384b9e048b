"""The keeper tier: each session has a keeper, a small process that nothing of it can escape.

The keeper (`ptykill.keeper.keep`) parents and reaps, and tells when the leader has exited and when
nobody is left. Signals are sent from here, to whoever descends from the keeper, so that it need not
be awake for that; SIGKILL is sent from both sides, until nobody is left.

With a cgroup for each session, it is the cgroup tier: the same, and the kernel kills and counts.

If the keeper itself is killed, its leader is killed too, and the warden kills the rest; all that is
known of the session from then on is what the process table tells (`containment.session`).
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from signal import Signals
from typing import NamedTuple

import trio

from ptykill import log
from ptykill.command import Command
from ptykill.containment.identity import identify
from ptykill.containment.leader import Leader
from ptykill.containment.process_table import ProcessTable, process_table
from ptykill.containment.session import SessionContainment
from ptykill.containment.warden import Kept, Stillborn, Warden, connected
from ptykill.contract import Signalled, Spawned, Will
from ptykill.errors import SpawnError
from ptykill.keeper import wire
from ptykill.keeper.alone import within
from ptykill.kernel.births import Births
from ptykill.kernel.cgroup import Cgroup, recover
from ptykill.kernel.descent import children, members
from ptykill.kernel.handle import Pidfd, deliver, open_pidfd
from ptykill.kernel.reserve import reserve
from ptykill.plan import Reach
from ptykill.pty.birth import failed
from ptykill.pty.terminal import PtyTerminal
from ptykill.pty.terminals import Terminals
from ptykill.verdict import Caveat, ExitStatus, Survivor

__all__ = ["KeeperContainment", "KeeperTier"]

_PAUSE = 0.01
"""Seconds between two looks at a cgroup whose keeper is dead."""


class KeeperTier:
    """Spawns sessions that have a keeper each; and, if ``groups`` is a folder, a cgroup in it."""

    def __init__(self, warden: Warden, groups: str | None) -> None:
        self.name: str = "keeper" if groups is None else "cgroup"
        self._warden = warden
        self._groups = groups
        self._births = Births()
        self._table = process_table()
        self._terminals = Terminals()
        self._tidy = False
        """No keeper has died, as far as is known, before it could remove its cgroup."""
        self._tidy_up()

    @classmethod
    async def open(cls, groups: str | None = None) -> KeeperTier:
        """Start the warden. Raises OSError."""
        return cls(await Warden.start(groups), groups)

    async def spawn(self, command: Command, will: Will) -> Spawned:
        """Start a session. Raises `SpawnError`, and then nothing is left of the attempt."""
        reserve.fill()
        terminal = self._terminals.take(command)
        try:
            try:
                kept = await self._born(command, terminal, will)
            except Stillborn:  # Somebody had killed the one that was kept warm.
                kept = await self._born(command, terminal, will)
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
            kept,
            terminal,
            self._births,
            self._table,
            told_of_loss=command.attributes.death_signal is not None,
        )
        return Spawned(containment, terminal)

    async def _born(self, command: Command, terminal: PtyTerminal, will: Will) -> Kept:
        warden = await self._usable_warden()
        kept = warden.take()
        try:
            kept.ask(command, terminal.slave, _written(will))
            await kept.wait_born()
        except BaseException:
            kept.close()
            self._tidy = False  # It may have been killed.
            raise
        return kept

    def prepare(self) -> None:
        """Have a keeper and a terminal ready for the next session."""
        self._tidy_up()
        self._warden.keep_warm()
        self._terminals.prepare()

    async def _usable_warden(self) -> Warden:
        """Return the warden, or a new one if it is dead or this host has become another user.

        The keepers of a warden that is given up go on; they need it no more.
        """
        if not self._warden.usable:
            log.event(logging.WARNING, "warden.replaced")
            new = await Warden.start(self._groups)
            # Two spawns may have come here at once.
            old, self._warden = self._warden, new
            await old.close()
        return self._warden

    def _tidy_up(self) -> None:
        """End what dead keepers have left in their cgroups, and remove these."""
        if not self._tidy and self._groups is not None:
            for path in recover(self._groups):
                log.event(logging.WARNING, "cgroup.recovered", path=path)
        self._tidy = True

    async def close(self) -> None:
        """End the warden, and give back what all sessions shared."""
        self._terminals.close()
        await self._warden.close()
        self._tidy_up()
        self._births.close()
        self._table.close()
        reserve.empty()


class KeeperContainment:
    """One session, as its keeper has it."""

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        name: str,
        kept: Kept,
        terminal: PtyTerminal,
        births: Births,
        table: ProcessTable,
        *,
        told_of_loss: bool,
    ) -> None:
        self.name: str = name
        self._told_of_loss = told_of_loss
        self._kept = kept
        self._leader = kept.leader
        self._terminal = terminal
        self._births = births
        self._table = table
        self._cgroup = None if kept.cgroup is None else Cgroup(kept.cgroup)
        self._status: ExitStatus | None = None
        self._exited = False
        self._empty = False
        self._closed = False
        self._rounds = 0
        self._pending: list[_Pending] = []
        self._lost: SessionContainment | None = None
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
        last, there = self._births.last(), self._those_there()
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

    def _those_there(self) -> set[int] | None:
        """Return everybody there is, where births can't be told; or else None."""
        return None if self._births.known else {member.pid for member in self._members()}

    def kill(self) -> Signalled:
        """Send SIGKILL to every member there is."""
        if self._closed:
            return Signalled()
        self._rounds += 1
        self._pending = []
        if self._lost is not None:
            signalled = self._lost.kill()
        else:
            signalled = Signalled()
            if not self._leader.dead():
                self._send(signal.SIGKILL, self._leader, signalled)
            alone = True
            for member in self._members():
                if member.pid != self.pid:
                    alone = False
                    self._send(signal.SIGKILL, member, signalled)
            if self._rounds > 1 or not alone:
                self._tell(wire.KILL)
            if self._rounds > 1:
                self._rouse()
        if self._cgroup is not None and self._lost is not None:
            self._cgroup.kill()  # While its keeper lives, that may be in it, and does this itself.
            signalled.refused |= self._cgroup.kill_each()
        return signalled

    def _send(self, number: int, process: Pidfd, signalled: Signalled) -> None:
        try:
            if deliver(number, process.send):
                signalled.reached.add(process.pid)
        except PermissionError:
            signalled.refused.add(process.pid)

    def _members(self) -> Iterator[Pidfd]:
        """Yield a handle on each living member."""
        with self._keeper() as keeper:
            if keeper is not None:
                yield from members(keeper)

    @contextmanager
    def _keeper(self) -> Iterator[Pidfd | None]:
        """Hold the keeper; None if it is dead."""
        handle = None
        with suppress(OSError):  # EMFILE, with no reserve left.
            handle = open_pidfd(self._kept.pid)
        try:
            # Its end of the socket is open, so it has not been reaped, and the number was its own.
            yield handle if handle is not None and connected(self._kept.channel) else None
        finally:
            if handle is not None:
                handle.close()

    def _rouse(self) -> None:
        """Let a keeper go on that somebody has stopped."""
        with self._keeper() as keeper:
            if keeper is not None:
                with suppress(PermissionError):
                    keeper.send(signal.SIGCONT)

    # --- the keeper -------------------------------------------------------------------------------

    def entrust(self, will: Will) -> None:
        """Tell the keeper what is left to be done if this host dies."""
        wire.send(self._kept.channel, _written(will))
        self._rouse()  # It should have told of a death by now, if there was one.

    def _tell(self, what: str) -> None:
        wire.send(self._kept.channel, (what,))

    def _hear(self) -> None:
        """Take in what the keeper has said."""
        while not self._empty and self._lost is None:
            try:
                message, _ = wire.receive(self._kept.channel)
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
                    self._lose()

    def _lose(self) -> None:
        """Go on without the keeper, which is dead."""
        log.event(logging.ERROR, "keeper.lost", pid=self.pid, keeper=self._kept.pid)
        if not self._told_of_loss:  # By a death signal of its own.
            with suppress(PermissionError):
                self._leader.send(signal.SIGKILL)
        leader = Leader.of_another(self._leader)
        self._lost = SessionContainment(leader, self._terminal, self._table)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while True:
            self._hear()
            if self._lost is not None or condition():
                return
            await trio.lowlevel.wait_readable(self._kept.channel)

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
        self._hear()
        if self._lost is not None:
            left = self._lost.members_left()
            return left or (self._cgroup is not None and self._cgroup.populated())
        if not self._empty:
            self.finish_signal()
        return not self._empty

    async def wait_members(self) -> None:
        """Wait until nobody is left."""
        if self._lost is None:
            await self._until(lambda: self._empty)
        elif self._lost.members_left():
            await self._lost.wait_members()
        else:
            await trio.sleep(_PAUSE)

    def reap(self) -> ExitStatus | None:
        """Leave those that are left alone, if there are any; return the leader's status."""
        if not self._empty:
            self._tell(wire.SPARE)
        return self._status

    def survivors(self) -> tuple[Survivor, ...]:
        """Who lives now, and why as far as can be told."""
        if self._lost is not None:
            return self._lost.survivors()
        alive = [identify(member.pid, member) for member in self._members()]
        if not alive and not self._empty:
            # Dead, but not to be reaped: somebody traces them.
            with self._keeper() as keeper:
                for pid in children(keeper.pid) if keeper is not None else ():
                    zombie = open_pidfd(pid)
                    if zombie is not None:
                        alive.append(identify(pid, zombie))
                        zombie.close()
        return tuple(alive)

    def caveats(self) -> frozenset[Caveat]:
        """What could not be known about this session."""
        if self._lost is None:
            return frozenset()
        # With a cgroup too: who may write to one above it can move out of it.
        return self._lost.caveats() - {Caveat.REAPED_BY_OTHERS} | {Caveat.KEEPER_LOST}

    def close(self) -> None:
        """Give back the descriptors. A keeper that still keeps somebody goes on alone."""
        if not self._closed:
            self._closed = True
            self._kept.close()
            if self._lost is not None:
                self._lost.close()
                if self._cgroup is not None:
                    self._cgroup.remove()


class _Pending(NamedTuple):
    """A signal that the leader has got and the others have not."""

    number: int
    reach: Reach
    last: int
    there: set[int] | None
    signalled: Signalled


def _written(will: Will) -> wire.Will:
    plan, leftovers = str(will.plan), will.leftovers.value
    return wire.Will(wire.WILL, plan, leftovers, will.steps, will.due, will.grace)
