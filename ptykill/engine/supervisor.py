"""The supervisor: spawns sessions, finds them by id, and ends them all when it is closed."""

from __future__ import annotations

import errno
import itertools
import logging
import math
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import trio

from ptykill import log
from ptykill.engine.cleanup import DeferredCleanup
from ptykill.engine.driver import Shared
from ptykill.engine.output import Output
from ptykill.engine.records import Records
from ptykill.engine.session import Session, abandon, spawn_number
from ptykill.engine.settings import Settings
from ptykill.engine.tasks import run_contained, run_restarted
from ptykill.engine.timer import PreciseTimer
from ptykill.errors import (
    InvalidArgument,
    SessionNotFound,
    SpawnError,
    SupervisorClosed,
    TooManySessions,
)
from ptykill.rules.command import Attributes, Command
from ptykill.rules.options import Options
from ptykill.rules.plan import KILL_NOW, Leftovers, Plan
from ptykill.rules.protocols import Handover, Signaller, Spawned, Tier
from ptykill.rules.verdict import Verdict

__all__ = ["Supervisor"]

_SLACK = 1.0
"""Seconds that `Supervisor.close` may outlast the longest of its plans."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EAGAIN, errno.ENOMEM)
"""The errors of the kernel for a lack of descriptors, terminals, processes or memory."""
_SETTLE = 0.05
"""Seconds from a spawn to preparing the next: the new program starts up first."""
_PAUSE = 0.001
"""Seconds between two checks of a condition that has no event."""


class Supervisor:
    """Spawns, finds and ends the sessions of one program. Made by `open_supervisor`."""

    def __init__(self, nursery: trio.Nursery, tier: Tier, options: Options) -> None:
        self._tier = tier
        self._defaults = Settings.defaults(options)
        self._max_sessions = options.max_sessions
        self._live: dict[str, Session] = {}
        self._records = Records(options.keep_seconds, options.keep_records)
        self._numbers = itertools.count(1)
        self._nursery = nursery
        self._changed = trio.lowlevel.ParkingLot()
        self._shared = Shared(
            self._start_soon, PreciseTimer(), DeferredCleanup(), self._changed.unpark
        )
        for helper in (
            self._shared.timer.run,
            self._shared.cleanup.run,
            self._records.run,
            self._stay_ready,
        ):
            nursery.start_soon(run_restarted, helper)
        self._spawning = 0
        self._longest = options.plan.longest
        self._closed = False
        """No more sessions are started."""
        self._left = False
        """`close` has returned: sessions are no longer watched."""
        self._owner = os.getpid()

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        return f"<Supervisor, {self._tier.name} containment, {len(self._live)} live{closed}>"

    @property
    def containment(self) -> str:
        """The name of the containment in force."""
        return self._tier.name

    @property
    def closed(self) -> bool:
        """True once `close` was called: no more sessions are started."""
        return self._closed

    @property
    def plan(self) -> Plan:
        """The default plan of the sessions."""
        return self._defaults.plan

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The live sessions, and the ended ones whose record is kept, the oldest first."""
        known = [*self._records, *self._live.values()]
        return tuple(sorted(known, key=spawn_number))

    @trio.lowlevel.enable_ki_protection
    async def spawn(  # noqa: PLR0913 - all but the command have their defaults
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        rows: int = 24,
        cols: int = 80,
        echo: bool = True,
        stdin: int | None = None,
        attributes: Attributes | None = None,
        plan: Plan | str | None = None,
        leftovers: Leftovers | str | None = None,
        signaller: Signaller | None = None,
    ) -> Session:
        """Start a program on a terminal of its own, and return its session, running.

        ``env`` None means the host's environment, without the variables that would be wrong in the
        session: those that describe the host's own terminal, and a ``PWD`` of another directory. A
        mapping replaces all of it. The command is looked up in the PATH of this environment.
        ``rows`` and ``cols`` are in characters. ``echo`` is whether the terminal echoes input,
        until a program changes that (termios(3)). ``stdin`` is a descriptor, such as a pipe or a
        file, that the program gets as its descriptor 0 in place of the terminal; it still has the
        terminal as 1 and 2 and as ``/dev/tty``, and the caller's own descriptor stays open.
        ``attributes`` are its user, limits and so on, the host's if left out. ``plan``,
        ``leftovers`` and ``signaller`` default to the supervisor's. Raises `SpawnError`,
        `TooManySessions`, `InvalidArgument` or `SupervisorClosed`, and then leaves no process
        behind.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        checked = Command(
            command,  # type: ignore[arg-type]  # It makes a tuple of any sequence,
            env,
            cwd,  # type: ignore[arg-type]  # and a str of any path.
            rows,
            cols,
            echo,
            Attributes() if attributes is None else attributes,
            stdin,
        )
        _check_open(stdin)
        settings = self._defaults.having(plan=plan, leftovers=leftovers, signaller=signaller)
        if self._closed:
            msg = "the supervisor is closed, or closing"
            raise SupervisorClosed(msg)
        if len(self._live) + self._spawning >= self._max_sessions:
            msg = f"there are {self._max_sessions} live sessions, and no more are allowed"
            raise TooManySessions(msg)
        self._spawning += 1
        try:
            spawned = await self._spawn_in_tier(
                checked, Handover(settings.plan, settings.leftovers)
            )
        finally:
            self._spawning -= 1
        if self._left:  # The spawn took longer than `close`.
            await _end_unwatched(spawned)
            msg = "the supervisor was closed meanwhile"
            raise SupervisorClosed(msg)
        # No await from here on: a cancel would leave a running session that is not watched.
        session = Session(
            secrets.token_hex(16),
            next(self._numbers),
            checked,
            spawned,
            settings,
            on_end=self._keep_record,
            shared=self._shared,
        )
        self._longest = max(self._longest, settings.plan.longest)
        self._live[session.id] = session
        self._changed.unpark()
        return session

    def get(self, session_id: str) -> Session:
        """Return a session, live or ended, while its record is kept. Raises `SessionNotFound`."""
        session = self._live.get(session_id) or self._records.get(session_id)
        if session is None:
            raise SessionNotFound(session_id)
        return session

    async def terminate(
        self, session_id: str, *, grace: float | None = None, plan: Plan | str | None = None
    ) -> Verdict:
        """End a session by its id, as `Session.terminate` does. Raises `SessionNotFound`."""
        return await self.get(session_id).terminate(grace=grace, plan=plan)

    @property
    def longest(self) -> float:
        """The longest (seconds) that `close` can take: the longest plan of any session."""
        return self._longest + _SLACK

    def hurry(self) -> None:
        """Kill every session now, without waiting for it."""
        for session in list(self._live.values()):
            session.request_end(plan=KILL_NOW)

    async def close(self, *, plan: Plan | str | None = None) -> None:
        """End every session, by ``plan`` or else its own, and start no more; bounded in time.

        The end of the block calls this. A session that could not be ended in time is no longer
        watched, and has a verdict that is not empty, which is also logged. In a forked child of the
        host this ends no session. Raises `PlanError` and `InvalidArgument`, and then does nothing.
        """
        chosen = None if plan is None else Plan.of(plan)
        self._closed = True
        longest = self.longest if chosen is None else max(self.longest, chosen.longest + _SLACK)
        ours = self._owner == os.getpid()
        with trio.move_on_after(longest):
            asked: set[str] = set()
            while ours:
                for session in list(self._live.values()):
                    if session.id not in asked:
                        asked.add(session.id)
                        session.request_end(plan=chosen)
                if not self._spawning:
                    break
                await trio.sleep(_PAUSE)  # A spawn can't be cancelled; mostly it is short.
            for session in list(self._live.values()) if ours else ():
                await session.settled()
        self._left = True
        for session in list(self._live.values()):
            abandon(session)

    def _start_soon(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Start a task whose failure is logged, and ends neither the supervisor nor sessions."""
        self._nursery.start_soon(run_contained, task, *args)

    async def _spawn_in_tier(self, command: Command, handover: Handover) -> Spawned:
        try:
            return await self._tier.spawn(command, handover)
        except SpawnError as error:
            # Ended sessions hold descriptors and processes until the next cleanup.
            if error.errno not in _EXHAUSTED or not await self._shared.cleanup.run_now():
                raise
        return await self._tier.spawn(command, handover)

    @trio.lowlevel.enable_ki_protection
    async def _stay_ready(self) -> None:
        """Prepare the next spawn after a session has started or ended, while the loop is idle."""
        while True:
            again: float | None = None
            await trio.sleep(_SETTLE)
            await self._shared.cleanup.wait_idle()
            try:
                again = self._tier.prepare()
            except Exception as error:  # noqa: BLE001 - a spawn works without it
                log.event(logging.WARNING, "supervisor.unprepared", exc_info=error)
            with trio.move_on_after(math.inf if again is None else again):
                await self._changed.park()

    def _keep_record(self, session: Session, output: Output) -> None:
        self._live.pop(session.id, None)
        self._records.keep(session, output)


async def _end_unwatched(spawned: Spawned) -> None:
    """End a session that can no longer be watched; shielded, and bounded in time."""
    containment = spawned.containment
    with trio.move_on_after(_SLACK, shield=True):
        while True:
            with suppress(OSError):  # Tried again until the bound.
                containment.kill()
                await containment.wait_exited()
                if not containment.members_left():
                    break
            await trio.sleep(_PAUSE)
    for give_back in containment.reap, spawned.terminal.hang_up, containment.close:
        with suppress(OSError):
            give_back()


def _check_open(stdin: int | None) -> None:
    """Raise `InvalidArgument` for a descriptor that is not open."""
    if stdin is not None:
        try:
            os.fstat(stdin)
        except OSError:
            msg = f"stdin is not an open descriptor: {stdin!r}"
            raise InvalidArgument(msg) from None
