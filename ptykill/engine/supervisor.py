"""The supervisor: spawns sessions, finds them by id, and ends them all when it is closed."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Unpack

import trio

from ptykill.engine.cleanup import DeferredCleanup
from ptykill.engine.event_ring import EventReader, EventRing
from ptykill.engine.figures import Figures, Traffic
from ptykill.engine.keys import Keys, digest
from ptykill.engine.names import Names
from ptykill.engine.output import Output
from ptykill.engine.record import record_of
from ptykill.engine.records import Records
from ptykill.engine.run import RunOptions, run_command
from ptykill.engine.session import Session, abandon, spawn_number, traffic
from ptykill.engine.session_timer import SessionTimer
from ptykill.engine.settings import Settings, check_open
from ptykill.engine.shared import Shared
from ptykill.engine.spawner import Spawner
from ptykill.engine.tasks import run_contained, run_restarted
from ptykill.engine.timer import PreciseTimer
from ptykill.engine.unwatched import end_unwatched
from ptykill.errors import (
    InvalidArgument,
    PtykillError,
    SessionNotFound,
    SupervisorClosed,
    TooManySessions,
)
from ptykill.rules import validate
from ptykill.rules.command import Attributes, Command
from ptykill.rules.deadlines import Deadlines
from ptykill.rules.naming import Naming, Selector
from ptykill.rules.options import Options
from ptykill.rules.plan import KILL_NOW, Leftovers, Plan
from ptykill.rules.protocols import Handover, Signaller, Tier
from ptykill.rules.run_result import RunResult
from ptykill.rules.session_event import EventKind, SessionEvent
from ptykill.rules.verdict import Verdict

__all__ = [
    "Supervisor",
    "events_after",
    "events_left",
    "live_sessions",
    "live_traffic",
    "measure",
    "stop_timer",
]

_SLACK = 1.0
"""Seconds that `Supervisor.close` may outlast the longest of its plans."""
_PAUSE = 0.001
"""Seconds between two checks of a condition that has no event."""


class Supervisor:
    """Spawns, finds and ends the sessions of one program. Made by `open_supervisor`."""

    def __init__(self, nursery: trio.Nursery, tier: Tier, options: Options) -> None:
        self._defaults = Settings.defaults(options)
        self._max_sessions = options.max_sessions
        self._live: dict[str, Session] = {}
        self._records = Records(options.keep_seconds, options.keep_records, self._forget)
        self._names = Names()
        self._keys = Keys()
        self._numbers = itertools.count(1)
        self._nursery = nursery
        cleanup = DeferredCleanup()
        self._spawner = Spawner(tier, cleanup)
        self._ring = EventRing(lambda: tuple(map(record_of, self.sessions)))
        self._shared = Shared(
            start_soon=self._start_soon,
            timer=SessionTimer(),
            precise=PreciseTimer(),
            cleanup=cleanup,
            ring=self._ring,
            on_closed=self._clean_up,
        )
        for helper in (
            self._shared.timer.run,
            cleanup.run,
            self._shared.precise.run,
            self._records.run,
            self._spawner.stay_ready,
        ):
            nursery.start_soon(run_restarted, helper)
        self._figures: Figures | None = None
        self._spawning = 0
        self._longest = options.plan.longest
        self._closed = False
        """No more sessions are started."""
        self._left = False
        """`close` has returned: sessions are no longer watched."""
        self._owner = os.getpid()

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        return (
            f"<Supervisor, {self._spawner.containment} containment, {len(self._live)} live{closed}>"
        )

    @property
    def containment(self) -> str:
        """The name of the containment in force."""
        return self._spawner.containment

    @property
    def closed(self) -> bool:
        """True once `close` was called: no more sessions are started."""
        return self._closed

    @property
    def plan(self) -> Plan:
        """The default plan of the sessions."""
        return self._defaults.plan

    @property
    def deadlines(self) -> Deadlines:
        """The default deadlines of the sessions."""
        return self._defaults.deadlines

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
        terminal: tuple[int, int] | None = None,
        attributes: Attributes | None = None,
        plan: Plan | str | None = None,
        leftovers: Leftovers | str | None = None,
        signaller: Signaller | None = None,
        deadlines: Deadlines | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Session:
        """Start a program on a terminal of its own, and return its session, running.

        ``env`` None means the host's environment, without the variables that would be wrong in the
        session: those that describe the host's own terminal, and a ``PWD`` of another directory. A
        mapping replaces all of it. The command is looked up in the PATH of this environment.
        ``rows`` and ``cols`` are in characters. ``echo`` is whether the terminal echoes input,
        until a program changes that (termios(3)). ``stdin`` is a descriptor, such as a pipe or a
        file, that the program gets as its descriptor 0 in place of the terminal; it still has the
        terminal as 1 and 2 and as ``/dev/tty``, and the caller's own descriptor stays open.
        ``terminal`` is a master and its slave, as `os.openpty` returns them, in place of a terminal
        that ptykill opens: the caller reads and types by its own master (`ptyprocess.md`), and
        closes both descriptors.
        ``attributes`` are its user, limits and so on, the host's if left out. ``plan``,
        ``leftovers``, ``signaller`` and ``deadlines`` default to the supervisor's; `Deadlines()`
        means no deadlines.

        `find` finds the session by ``name`` and ``labels``. A name has up to 63 letters, digits,
        dots, dashes and underscores, and no two live sessions have the same one. A session has up
        to 16 labels, each with a value of up to 63 printable characters. ``key`` is an idempotency
        key of up to 255 printable ASCII characters: a spawn that is repeated with it returns the
        session of the first one, also while that is being spawned, and after its end, as long as
        its record is kept.

        Raises `SpawnError`, `TooManySessions`, `NameTaken`, `KeyReused`, `LimitsUnavailable`,
        `InvalidArgument` or `SupervisorClosed`, and then leaves no process behind.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        checked = Command(
            command,  # type: ignore[arg-type]  # It makes a tuple of any sequence,
            env,
            cwd,  # type: ignore[arg-type]  # and a str of any path.
            rows,
            cols,
            echo,
            self._defaults.capped(attributes),
            stdin,
            terminal,
        )
        check_open(stdin, checked.terminal)
        settings = self._defaults.having(
            plan=plan, leftovers=leftovers, signaller=signaller, deadlines=deadlines
        )
        naming = Naming.of(name, labels, key)
        if naming.key is None:
            return await self._spawn(checked, settings, naming)
        spawn = partial(self._spawn, checked, settings, naming)
        return await self._keys.once(naming.key, digest(checked, settings, naming), spawn)

    async def _spawn(self, command: Command, settings: Settings, naming: Naming) -> Session:
        """Spawn a session of checked values, and count it. Raises as `spawn` does."""
        figures = self._figures
        if figures is None:
            return await self._start(command, settings, naming)
        began = trio.current_time()
        try:
            session = await self._start(command, settings, naming)
        except PtykillError as error:
            figures.refused[error.code] += 1
            raise
        figures.note_spawned(trio.current_time() - began)
        return session

    async def _start(self, command: Command, settings: Settings, naming: Naming) -> Session:
        """Spawn a session of checked values. Raises as `spawn` does."""
        if self._closed:
            msg = "the supervisor is closed, or closing"
            raise SupervisorClosed(msg)
        if len(self._live) + self._spawning >= self._max_sessions:
            msg = f"there are {self._max_sessions} live sessions, and no more are allowed"
            raise TooManySessions(msg)
        with self._names.reserved(naming.name):
            self._spawning += 1
            try:
                spawned = await self._spawner.spawn(
                    command,
                    Handover(settings.plan, settings.leftovers, deadlines=settings.deadlines),
                )
            finally:
                self._spawning -= 1
            if self._left:  # The spawn took longer than `close`.
                await end_unwatched(spawned)
                msg = "the supervisor was closed meanwhile"
                raise SupervisorClosed(msg)
        # No await from here on: a cancel would leave a running session that is not watched.
        session = Session(
            secrets.token_hex(16),
            next(self._numbers),
            command,
            spawned,
            settings,
            naming=naming,
            on_end=self._keep_record,
            shared=self._shared,
        )
        self._longest = max(self._longest, settings.plan.longest)
        self._live[session.id] = session
        if self._ring.followed:
            self._ring.add(EventKind.CREATED, session.id, record_of(session))
        self._spawner.prepare_soon()
        return session

    async def run(self, command: Sequence[str], **options: Unpack[RunOptions]) -> RunResult:
        """Run a command in a session of its own, and return when nothing of it is left.

        Its output is kept up to ``max_output`` bytes. It is ended by its plan if it runs longer
        than ``timeout`` seconds, or does nothing for ``idle`` seconds; no exception is raised then,
        unless ``check`` is true. `RunOptions` has all options. Cancelling this ends the command by
        its plan, too. It takes at most as long as the command or the deadline, and ``plan.longest``
        after that.

        Raises what `spawn` raises, and `RunFailed` with ``check``.
        """
        return await run_command(self.spawn, self._start_soon, self.plan, command, options)

    def get(self, session_id: str) -> Session:
        """Return a session, live or ended, while its record is kept. Raises `SessionNotFound`."""
        session = self._live.get(session_id) or self._records.get(session_id)
        if session is None:
            raise SessionNotFound(session_id)
        return session

    def find(
        self, *, labels: Mapping[str, str | None] | None = None, name: str | None = None
    ) -> tuple[Session, ...]:
        """Return the sessions with this name and all these labels, live and ended, oldest first.

        A label's value None stands for any value. Raises `InvalidArgument`.
        """
        selector = Selector.of(labels, name)
        return tuple(each for each in self.sessions if selector.matches(each.name, each.labels))

    def events(self, since: str | None = None) -> AsyncIterator[SessionEvent]:
        """Return an async iterator of all that happens to the sessions, until `close` is done.

        The first event is a reset, with the records of all sessions as they are when it is read.
        ``since`` is the id of an event: if those after it are kept, they come instead. A reader
        that is so slow that events are no longer kept gets a reset, too. Raises `InvalidArgument`.
        """
        return EventReader(self._ring, None if since is None else validate.text("since", since))

    @property
    def last_event_id(self) -> str:
        """The id of the newest event: what `sessions` shows is what has happened up to it."""
        return self._ring.last_id

    async def terminate_matching(
        self,
        *,
        labels: Mapping[str, str | None] | None = None,
        name: str | None = None,
        grace: float | None = None,
        plan: Plan | str | None = None,
    ) -> tuple[Verdict, ...]:
        """End all sessions that `find` finds now, at the same time; return a verdict for each.

        Each is ended as by `terminate`; an ended one has its verdict already. Raises
        `InvalidArgument` if neither a label nor a name is given, and as `terminate` does.
        """
        if not Selector.of(labels, name):
            msg = "give a label or a name: `close` ends all sessions"
            raise InvalidArgument(msg)
        found = self.find(labels=labels, name=name)
        for session in found:
            session.request_end(grace=grace, plan=plan)
        return tuple([await session.settled() for session in found])

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
            self._count(session)
        self._ring.close()

    def _start_soon(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Start a task whose failure is logged, and ends neither the supervisor nor sessions."""
        self._nursery.start_soon(run_contained, task, *args)

    def _keep_record(self, session: Session, output: Output) -> None:
        self._live.pop(session.id, None)
        self._count(session)
        self._names.free(session.name)
        self._records.keep(session, output)

    def _clean_up(self) -> None:
        """Do what the end of a session has left to do: nobody waits for it."""
        self._records.free_dropped()
        self._spawner.prepare_soon()

    def _count(self, session: Session) -> None:
        if self._figures is not None and session.verdict is not None:
            self._figures.note_ended(session.verdict, *traffic(session))

    def _forget(self, session: Session) -> None:
        self._keys.forget(session)
        self._ring.add(EventKind.DROPPED, session.id)


def stop_timer(supervisor: Supervisor) -> None:
    """Stop the timer of all sessions, once they are over or abandoned; no cancel stops it."""
    supervisor._shared.timer.close()  # noqa: SLF001 - as if it were a method


def measure(supervisor: Supervisor) -> Figures:
    """Return a supervisor's figures; it counts from the first call on. From any thread."""
    figures = supervisor._figures  # noqa: SLF001 - as if it were a method
    if figures is None:
        figures = supervisor._figures = Figures()  # noqa: SLF001
    return figures


def live_sessions(supervisor: Supervisor) -> list[Session]:
    """Return the sessions that are not over. From any thread."""
    return list(supervisor._live.values())  # noqa: SLF001 - as above


def live_traffic(sessions: Iterable[Session]) -> Traffic:
    """Return the traffic of some sessions until now. From any thread."""
    found = Traffic()
    for session in sessions:
        found.add(*traffic(session))
    return found


async def events_after(supervisor: Supervisor, since: str | None) -> list[SessionEvent]:
    """Wait for events after the one with this id, and return some; none if the supervisor closes.

    Return a reset alone if events after it are missing. Cancelling this loses none.
    """
    ring = supervisor._ring  # noqa: SLF001 - as if it were a method
    return await ring.after(ring.position(since))


def events_left(supervisor: Supervisor, since: str | None) -> list[SessionEvent]:
    """Return some of the events after the one with this id, of a supervisor that is closed.

    From any thread, once the supervisor's trio run is over: nothing is added any more.
    """
    ring = supervisor._ring  # noqa: SLF001 - as above
    return ring.pending(ring.position(since))
