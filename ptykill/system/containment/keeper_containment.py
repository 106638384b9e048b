"""One session that has a keeper, whether the keeper lives or is lost.

While the keeper lives, `LiveKeeper` knows the session. Once it is dead, `LostKeeper` does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from signal import Signals

import trio

from ptykill import log
from ptykill.rules.deadlines import Deadlines, Elapsed
from ptykill.rules.member import Member
from ptykill.rules.processor_time import ProcessorTime
from ptykill.rules.protocols import Ending, Handover, Signalled
from ptykill.rules.steps import Reach
from ptykill.rules.usage import Usage
from ptykill.rules.verdict import Caveat, ExitStatus, Survivor
from ptykill.system.containment.keeper_handle import KeeperHandle
from ptykill.system.containment.live_keeper import KeeperGone, LiveKeeper
from ptykill.system.containment.lost_keeper import LostKeeper
from ptykill.system.containment.member_list import MemberList
from ptykill.system.containment.process_table import ProcessTable
from ptykill.system.containment.session_usage import SessionUsage
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.last_pid import LastPid
from ptykill.system.pty.terminal import PtyTerminal

__all__ = ["KeeperContainment"]


class KeeperContainment:
    """The members of one session, as its keeper knows them, or as they are known without it.

    ``dies_with_keeper`` is whether the kernel sends the leader a signal when the keeper dies.
    ``sealed`` is whether no process of the session can leave its cgroup, ``limited`` whether that
    has limits; strangers in it are moved to ``refuge``. ``give_back`` takes the keeper of a session
    that is over, for another one; ``on_lost`` is called at the end of one whose keeper has died.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        name: str,
        keeper: KeeperHandle,
        terminal: PtyTerminal,
        last_pid: LastPid,
        table: ProcessTable,
        *,
        dies_with_keeper: bool,
        sealed: bool,
        limited: bool,
        refuge: str | None,
        give_back: Callable[[KeeperHandle], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.name: str = name
        self.pid: int = keeper.leader.pid
        self._keeper = keeper
        self._terminal = terminal
        self._table = table
        self._cgroup = None if keeper.cgroup is None else Cgroup(keeper.cgroup, refuge)
        self._dies_with_keeper = dies_with_keeper
        self._sealed = sealed
        self._give_back = give_back
        self._on_lost = on_lost
        self._given_back = False
        self._closed = False
        self._member_list = MemberList()
        self._ending: Ending | None = None
        self._session: LiveKeeper | LostKeeper
        self._session = LiveKeeper(keeper, terminal, last_pid, self._cgroup)
        self._usage = SessionUsage(keeper, self._cgroup if limited else None)

    def _go_on_without_keeper(self) -> None:
        if isinstance(self._session, LostKeeper):
            return  # Another task has seen it first.
        log.event(logging.ERROR, "keeper.lost", pid=self.pid, keeper=self._keeper.pid)
        self._session = LostKeeper(
            self._keeper,
            self._terminal,
            self._table,
            self._cgroup,
            self._session.exit_status(),
            kill_leader=not self._dies_with_keeper,
            sealed=self._sealed,
        )

    async def wait_exited(self) -> None:
        """Wait until the leader has exited."""
        await trio.lowlevel.checkpoint()
        try:
            return await self._session.wait_exited()
        except KeeperGone:
            self._go_on_without_keeper()
        return await self._session.wait_exited()

    async def wait_members(self) -> None:
        """Wait until it is worthwhile to look for members again."""
        try:
            await self._session.wait_members()
        except KeeperGone:
            self._go_on_without_keeper()

    def members_left(self) -> bool:
        """Return whether anything of the session is left; if not, the leader has been reaped."""
        try:
            left = self._session.members_left()
        except KeeperGone:
            self._go_on_without_keeper()
            left = self._session.members_left()
        if not left:
            self._release_keeper()
        return left

    def _release_keeper(self) -> None:
        """Give the keeper back, at once: the next spawn may come before this is closed."""
        session = self._session
        if isinstance(session, LiveKeeper) and session.reusable and not self._given_back:
            self._given_back = True
            self._give_back(self._keeper)

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal, and SIGCONT after it unless it stops or kills, to those there now."""
        return Signalled() if self._closed else self._session.signal(name, reach)

    def finish_signal(self) -> None:
        """Signal those that the leader went before, but none that was started since."""
        self._session.finish_signal()

    def signal_now(self, name: str, reach: Reach) -> Signalled:
        """Send exactly this signal to those there now."""
        if self._closed:
            return Signalled()
        return self._session.signal_now(Signals[f"SIG{name}"], reach)

    async def list_members(self) -> tuple[Member, ...]:
        """Describe the members there are now."""
        if self._closed:
            return ()
        found, foreground = self._session.folders(), self._terminal.foreground()
        return await self._member_list.describe(found, self.pid, foreground)

    def kill(self) -> Signalled:
        """Send SIGKILL to every member there is."""
        return Signalled() if self._closed else self._session.kill()

    def hand_over(self, handover: Handover) -> None:
        """Send the keeper the rest of the plan, in case this host dies."""
        self._session.hand_over(handover)

    def set_deadlines(self, deadlines: Deadlines, elapsed: Elapsed) -> None:
        """Send the keeper the deadlines, in case this host is stopped."""
        if isinstance(self._session, LiveKeeper):
            self._session.set_deadlines(deadlines, elapsed)

    def ending(self) -> Ending | None:
        """Return whether the keeper ends the session because of a deadline."""
        if isinstance(self._session, LiveKeeper):
            self._ending = self._session.ending()
        return self._ending

    def processor_time(self) -> ProcessorTime:
        """Return the processor time of the members; nothing is known without the keeper."""
        if self._closed or not isinstance(self._session, LiveKeeper):
            return ProcessorTime()
        return self._session.processor_time()

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status; None if it is not known."""
        return self._session.exit_status()

    def reap(self) -> ExitStatus | None:
        """Spare the members that live, if any; return the leader's status."""
        return self._session.reap()

    def survivors(self) -> tuple[Survivor, ...]:
        """Describe the members that live now, and why as far as that is known."""
        return self._session.survivors()

    def usage(self) -> Usage:
        """Return what the session has used, as the keeper has reported it, or as it is now."""
        session = self._session
        if isinstance(session, LiveKeeper):
            return self._usage.now(session.usage, session.members)
        return self._usage.without_keeper()

    def caveats(self) -> frozenset[Caveat]:
        """Return what could not be known about this session."""
        return self._session.caveats()

    @property
    def killed(self) -> bool:
        """Whether a member was sent SIGKILL though `kill` had not been called."""
        return self._session.killed or (self._ending is not None and self._ending.killed)

    def close(self) -> None:
        """Close the descriptors. A keeper that still has members goes on without the host."""
        if not self._closed:
            self._closed = True
            self._keeper.close()
            self._session.close()
            if isinstance(self._session, LostKeeper):
                self._on_lost()
