"""One session that has a keeper, whether the keeper lives or is lost.

While the keeper lives, `LiveKeeper` knows the session. Once it is dead, `LostKeeper` does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from ptykill import log
from ptykill.rules.protocols import Handover, Signalled
from ptykill.rules.steps import Reach
from ptykill.rules.verdict import Caveat, ExitStatus, Survivor
from ptykill.system.containment.keeper_handle import KeeperHandle
from ptykill.system.containment.live_keeper import KeeperGone, LiveKeeper
from ptykill.system.containment.lost_keeper import LostKeeper
from ptykill.system.containment.process_table import ProcessTable
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.last_pid import LastPid
from ptykill.system.pty.terminal import PtyTerminal

__all__ = ["KeeperContainment"]


class KeeperContainment:
    """The members of one session, as its keeper knows them, or as they are known without it.

    ``dies_with_keeper`` is whether the kernel sends the leader a signal when the keeper dies.
    ``sealed`` is whether no process of the session can leave its cgroup. ``give_back`` takes the
    keeper of a session that is over, for another one.
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
        give_back: Callable[[KeeperHandle], None],
    ) -> None:
        self.name: str = name
        self.pid: int = keeper.leader.pid
        self._keeper = keeper
        self._terminal = terminal
        self._table = table
        self._cgroup = None if keeper.cgroup is None else Cgroup(keeper.cgroup)
        self._dies_with_keeper = dies_with_keeper
        self._sealed = sealed
        self._give_back = give_back
        self._given_back = False
        self._closed = False
        self._session: LiveKeeper | LostKeeper
        self._session = LiveKeeper(keeper, terminal, last_pid, self._cgroup)

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

    def kill(self) -> Signalled:
        """Send SIGKILL to every member there is."""
        return Signalled() if self._closed else self._session.kill()

    def hand_over(self, handover: Handover) -> None:
        """Send the keeper the rest of the plan, in case this host dies."""
        self._session.hand_over(handover)

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status; None if it is not known."""
        return self._session.exit_status()

    def reap(self) -> ExitStatus | None:
        """Spare the members that live, if any; return the leader's status."""
        return self._session.reap()

    def survivors(self) -> tuple[Survivor, ...]:
        """Describe the members that live now, and why as far as that is known."""
        return self._session.survivors()

    def caveats(self) -> frozenset[Caveat]:
        """Return what could not be known about this session."""
        return self._session.caveats()

    @property
    def killed(self) -> bool:
        """Whether a member was sent SIGKILL though `kill` had not been called."""
        return self._session.killed

    def close(self) -> None:
        """Close the descriptors. A keeper that still has members goes on without the host."""
        if not self._closed:
            self._closed = True
            self._keeper.close()
            self._session.close()
