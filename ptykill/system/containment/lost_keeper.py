"""A session whose keeper was killed: what is known of it, and what proves that it is over.

The warden inherits the orphans of a dead keeper, kills them, and knows when none is left: that is
the proof. If the warden is dead as well, the orphans have gone to somebody who tells nothing. All
that can be found is killed then: the POSIX session, descendants, the cgroup. Nothing found is no
proof, unless a cgroup is empty that nobody could leave: `Caveat.UNPROVEN`.
"""

from __future__ import annotations

import socket
from contextlib import suppress

import trio

from ptykill.rules.protocols import Signalled
from ptykill.rules.steps import Reach
from ptykill.rules.verdict import Caveat, Survivor
from ptykill.system.containment.identity import identify
from ptykill.system.containment.leader import Leader
from ptykill.system.containment.process_table import ProcessTable
from ptykill.system.containment.session_tier import SessionContainment
from ptykill.system.containment.warden_client import KeeperHandle, is_stranger
from ptykill.system.keeper import wire
from ptykill.system.kernel.cgroup import Cgroup, older
from ptykill.system.kernel.pidfd import open_pidfd
from ptykill.system.kernel.procfs import children, in_other_pid_namespace, told
from ptykill.system.pty.terminal import PtyTerminal
from ptykill.system.readiness import readable

__all__ = ["LostKeeper"]

_PAUSE = 0.01
"""Seconds between two looks where no event tells the end."""


class LostKeeper:
    """The members of a session whose keeper is dead.

    ``sealed`` is whether no process of the session could leave its cgroup. ``killed`` is whether
    any has been sent SIGKILL though nobody had asked for it here.
    """

    def __init__(
        self,
        keeper: KeeperHandle,
        terminal: PtyTerminal,
        table: ProcessTable,
        cgroup: Cgroup | None,
        *,
        sealed: bool,
    ) -> None:
        self.killed: bool = False
        self._keeper_pid = keeper.pid
        self._warden = keeper.warden
        self._session = SessionContainment(Leader.of_another(keeper.leader), terminal, table)
        self._cgroup = cgroup
        self._sealed = sealed
        self._answer: socket.socket | None = None
        self._proven = False
        """The warden has said that nobody is left."""
        self._mute = False
        """It will not say so any more."""
        self._ask()

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal to those that are found."""
        return self._session.signal(name, reach)

    def finish_signal(self) -> None:
        """Signal those that the leader went before."""
        self._session.finish_signal()

    def kill(self) -> Signalled:
        """Send SIGKILL to those that are found, and have the warden do so."""
        self._warden.kill_orphans()
        signalled = self._session.kill()
        if self._cgroup is not None:
            refused = self._cgroup.kill_each(self._is_ours)
            with suppress(OSError):
                # As a keeper does it: `Keeper._kill_deep_down`.
                if refused and refused.issuperset(self._cgroup.members()):
                    self._cgroup.kill()
            signalled.refused |= refused
        return signalled

    async def wait_exited(self) -> None:
        """Wait until the leader has exited."""
        await self._session.wait_exited()

    def members_left(self) -> bool:
        """Return whether anybody is left who can be found, or whom the warden may still have."""
        self._read_messages()
        if self._proven:
            left = False
        elif self._mute:
            left = self._session.members_left()
        else:
            self._session.finish_signal()
            left = True
        return left or (self._cgroup is not None and self._cgroup.any_of_ours(self._is_ours))

    async def wait_members(self) -> None:
        """Wait until it is worthwhile to look again."""
        if self._answer is not None:
            await readable(self._answer)
        elif self._mute and self._session.members_left():
            await self._session.wait_members()
        else:
            await trio.sleep(_PAUSE)

    def survivors(self) -> tuple[Survivor, ...]:
        """Who lives now, of those that are known: the warden's orphans may be of other sessions."""
        if self._proven:
            return ()
        found = {each.pid: each for each in self._session.survivors()}
        for pid in children(self._warden.pid) if self._warden.alive else ():
            handle = open_pidfd(pid)
            if handle is None:
                continue
            ours = not told(f"{pid}/comm").startswith(b"ptykill-")
            if ours and pid not in found and not handle.dead():
                found[pid] = identify(pid, handle)
            handle.close()
        return tuple(found.values())

    def caveats(self) -> frozenset[Caveat]:
        """What could not be known about this session."""
        if self._proven:
            return frozenset({Caveat.KEEPER_LOST})
        if self._sealed and self._cgroup is not None and not self._cgroup.populated():
            return frozenset({Caveat.KEEPER_LOST})
        session = self._session.caveats() - {Caveat.REAPED_BY_OTHERS}
        return session | {Caveat.KEEPER_LOST, Caveat.UNPROVEN}

    def close(self) -> None:
        """Give back the descriptors."""
        self._session.close()
        self._hang_up()
        if self._cgroup is not None and not self._cgroup.any_of_ours(self._is_ours):
            self._cgroup.remove()

    def _is_ours(self, pid: int) -> bool:
        """Return whether a process in the cgroup is the session's, and was not moved in by it."""
        assert self._cgroup is not None
        if older(pid, self._cgroup.began) or is_stranger(pid):
            return False
        # The warden knows all those in its own pid namespace.
        return self._mute or in_other_pid_namespace(pid)

    def _ask(self) -> None:
        """Ask the warden, if that is not done."""
        if self._answer is None and not (self._proven or self._mute):
            with suppress(OSError):  # It can't be asked now: at the next look.
                self._answer = self._warden.ask_when_clear(self._keeper_pid)
                self._mute = self._answer is None

    def _read_messages(self) -> None:
        """Take in what the warden has said."""
        self._ask()
        if self._answer is None:
            return
        try:
            message, _ = wire.receive(self._answer)
        except BlockingIOError:
            return
        self._hang_up()
        if message[0] == wire.CLEAR:
            self._proven = True
            self.killed |= message[1]
        else:
            self._mute = True

    def _hang_up(self) -> None:
        if self._answer is not None:
            trio.lowlevel.notify_closing(self._answer)
            self._answer.close()
            self._answer = None
