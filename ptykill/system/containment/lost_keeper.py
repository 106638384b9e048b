"""A session whose keeper was killed: finds its members without the keeper, and proves its end.

The warden inherits the orphans of a dead keeper. It kills them, and knows when none is left: that
is the proof. If the warden is dead as well, the orphans belong to a process that reports nothing.
The members that can be found are killed then: the POSIX session, its descendants, and the cgroup.
That none is found is no proof (`Caveat.UNPROVEN`), unless the cgroup is empty and no process could
leave it.
"""

from __future__ import annotations

import math
import signal
import socket
from collections.abc import Generator
from contextlib import suppress

import trio

from ptykill.rules.protocols import Handover, Signalled
from ptykill.rules.steps import Reach
from ptykill.rules.verdict import Caveat, ExitStatus, Survivor
from ptykill.system.containment.identity import identify
from ptykill.system.containment.keeper_handle import KeeperHandle
from ptykill.system.containment.leader import Leader
from ptykill.system.containment.process_table import ProcessTable
from ptykill.system.containment.session_containment import SessionContainment
from ptykill.system.containment.warden_client import is_stranger
from ptykill.system.keeper import wire
from ptykill.system.kernel.cgroup import Cgroup, started_before
from ptykill.system.kernel.pidfd import open_pidfd
from ptykill.system.kernel.proc_folder import ProcFolder
from ptykill.system.kernel.procfs import children, in_other_pid_namespace, read_proc
from ptykill.system.pty.terminal import PtyTerminal
from ptykill.system.readiness import readable

__all__ = ["LostKeeper"]

_DYING = 1.0
"""Time-out for the death of a warden that has closed its sockets, in seconds."""
_PAUSE = 0.01
"""Seconds between two looks if no event reports the end."""


class LostKeeper:
    """Finds and kills the members of a session whose keeper is dead.

    ``status`` is the leader's, if the keeper has reported it. ``kill_leader`` is whether to kill
    the leader at once: the keeper's death ends the session. ``sealed`` is whether no process of the
    session can leave its cgroup.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        keeper: KeeperHandle,
        terminal: PtyTerminal,
        table: ProcessTable,
        cgroup: Cgroup | None,
        status: ExitStatus | None,
        *,
        kill_leader: bool,
        sealed: bool,
    ) -> None:
        self.killed: bool = False
        """Whether a member was sent SIGKILL though `kill` had not been called."""
        self._keeper_pid = keeper.pid
        self._warden = keeper.warden
        self._session = SessionContainment(Leader.of_another(keeper.leader), terminal, table)
        self._cgroup = cgroup
        self._status = status
        self._sealed = sealed
        self._answer: socket.socket | None = None
        """The socket on which the warden says that no orphan is left."""
        self._proven = False
        """The warden has said that no orphan is left."""
        self._unprovable = False
        """The warden is dead or dying, so no answer will come."""
        self._dying_until = -math.inf
        self._ask_warden()
        # Not before: while the leader lives, its pid is known to be the session's.
        if kill_leader and not keeper.leader.dead():
            with suppress(PermissionError):
                self.killed = keeper.leader.send(signal.SIGKILL)

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal to the members that are found."""
        return self._session.signal(name, reach)

    def finish_signal(self) -> None:
        """Send the pending signals to all but the leader."""
        self._session.finish_signal()

    def signal_now(self, number: int, reach: Reach) -> Signalled:
        """Send exactly this signal to the members that are found."""
        return self._session.send_now(number, reach)

    def folders(self) -> Generator[ProcFolder]:
        """Yield the folder in /proc of each member that is found, as `SessionContainment` does."""
        return self._session.folders()

    def kill(self) -> Signalled:
        """Send SIGKILL to the members that are found, and have the warden do so."""
        self._warden.kill_orphans()
        signalled = self._session.kill()
        if self._cgroup is not None:
            refused = self._cgroup.kill_each(self._is_ours)
            with suppress(OSError):
                # As a keeper does it: `KeptSession._kill_descendants`.
                if refused and refused.issuperset(self._cgroup.members()):
                    self._cgroup.kill()
            signalled.refused |= refused
        return signalled

    def hand_over(self, handover: Handover) -> None:
        """Do nothing: there is no keeper that could carry it out."""

    async def wait_exited(self) -> None:
        """Wait until the leader has exited."""
        await self._session.wait_exited()

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status, if the keeper has reported it."""
        return self._status

    def reap(self) -> ExitStatus | None:
        """Return the leader's status, if the keeper has reported it: it is not our child."""
        return self._status

    def members_left(self) -> bool:
        """Return whether a member is found, or the warden may still have one."""
        self._read_answer()
        if self._proven:
            left = False
        elif self._unprovable:
            left = self._session.members_left() or self._warden_is_dying()
        else:
            self._session.finish_signal()
            left = True
        return left or (self._cgroup is not None and self._cgroup.any_of_ours(self._is_ours))

    async def wait_members(self) -> None:
        """Wait until it is worthwhile to look again."""
        if self._answer is not None:
            await readable(self._answer)
        elif self._unprovable and self._session.members_left():
            await self._session.wait_members()
        else:
            await trio.sleep(_PAUSE)

    def survivors(self) -> tuple[Survivor, ...]:
        """Describe the members that live now; the warden's orphans may be of other sessions."""
        if self._proven:
            return ()
        found = {each.pid: each for each in self._session.survivors()}
        for pid in children(self._warden.pid) if self._warden.alive else ():
            handle = open_pidfd(pid)
            if handle is None:
                continue
            is_orphan = not read_proc(f"{pid}/comm").startswith(b"ptykill-")
            if is_orphan and pid not in found and not handle.dead():
                found[pid] = identify(pid, handle)
            handle.close()
        return tuple(found.values())

    def caveats(self) -> frozenset[Caveat]:
        """Return what could not be known about this session."""
        if self._proven:
            return frozenset({Caveat.KEEPER_LOST})
        if self._sealed and self._cgroup is not None and not self._cgroup.populated():
            return frozenset({Caveat.KEEPER_LOST})
        session = self._session.caveats() - {Caveat.REAPED_BY_OTHERS}
        return session | {Caveat.KEEPER_LOST, Caveat.UNPROVEN}

    def close(self) -> None:
        """Close the descriptors, and remove the cgroup if nothing of the session is in it."""
        self._session.close()
        self._close_answer()
        if self._cgroup is not None and not self._cgroup.any_of_ours(self._is_ours):
            self._cgroup.remove()

    def _is_ours(self, pid: int) -> bool:
        """Return whether a process in the cgroup is the session's, and was not moved in by it."""
        assert self._cgroup is not None
        if started_before(pid, self._cgroup.began) or is_stranger(pid):
            return False
        # The warden knows all those in its own pid namespace.
        return self._unprovable or in_other_pid_namespace(pid)

    # --- the warden -------------------------------------------------------------------------------

    def _ask_warden(self) -> None:
        """Ask the warden to say when no orphan is left, if it has not been asked."""
        if self._answer is None and not (self._proven or self._unprovable):
            with suppress(OSError):  # No descriptors now: it is asked at the next look.
                self._answer = self._warden.ask_when_clear(self._keeper_pid)
                self._unprovable = self._answer is None

    def _read_answer(self) -> None:
        self._ask_warden()
        if self._answer is None:
            return
        try:
            message, _ = wire.receive(self._answer)
        except BlockingIOError:
            return
        self._close_answer()
        if message[0] == wire.CLEAR:
            self._proven = True
            self.killed |= message[1]
        else:
            self._unprovable = True
            self._dying_until = trio.current_time() + _DYING

    def _warden_is_dying(self) -> bool:
        """Return whether the warden has closed its sockets, but its children are still its own.

        A dying process closes its files before its children get another parent (Linux do_exit:
        exit_files, then exit_notify). Until then they descend from the host, as strangers do.
        """
        return self._warden.alive and trio.current_time() < self._dying_until

    def _close_answer(self) -> None:
        if self._answer is not None:
            trio.lowlevel.notify_closing(self._answer)
            self._answer.close()
            self._answer = None
