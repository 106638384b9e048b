"""The supervisor: it spawns sessions, knows them by id, and ends them all when it is left."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import trio

from ptykill import log
from ptykill.engine.cleanup import DeferredCleanup
from ptykill.engine.driver import Shared
from ptykill.engine.output import Output
from ptykill.engine.records import Records
from ptykill.engine.session import Session
from ptykill.engine.signallers import StandardSignaller
from ptykill.engine.timer import PreciseTimer
from ptykill.errors import (
    InvalidArgument,
    SessionNotFound,
    SpawnError,
    SupervisorClosed,
    TooManySessions,
)
from ptykill.rules.command import Attributes, Command, as_bytes
from ptykill.rules.plan import HANGUP_THEN_KILL, KILL_NOW, Leftovers, Plan
from ptykill.rules.protocols import Handover, Signaller, Spawned, Tier
from ptykill.rules.verdict import Verdict
from ptykill.system import containment as tiers

__all__ = ["Supervisor", "open_supervisor"]

_SLACK = 1.0
"""Seconds that leaving the supervisor may outlast the longest of its plans."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EAGAIN, errno.ENOMEM)
"""What the kernel says when there are no more descriptors, terminals or processes to be had."""
_SETTLE = 0.05
"""Seconds that a program just spawned is left to itself before the next spawn is prepared."""
_MEND_FIRST, _MEND_LONGEST = 0.1, 10.0
"""Seconds after which a helper that failed is started again: doubling, up to the longest."""
_PAUSE = 0.001
"""Seconds between two looks at what tells nobody."""


class Supervisor:
    """All sessions of one program. Made by `open_supervisor`."""

    def __init__(  # noqa: PLR0913 - made in one place, by keyword
        self,
        nursery: trio.Nursery,
        tier: Tier,
        *,
        plan: Plan,
        leftovers: Leftovers,
        signaller: Signaller,
        max_sessions: int,
        backlog: int,
        keep_seconds: float,
        keep_records: int,
    ) -> None:
        self._tier = tier
        self._plan = plan
        self._leftovers = leftovers
        self._signaller = signaller
        self._max_sessions = max_sessions
        self._backlog = backlog
        self._live: dict[str, Session] = {}
        self._records = Records(keep_seconds, keep_records)
        self._numbers = itertools.count(1)
        self._nursery = nursery
        self._shared = Shared(self._start_soon, PreciseTimer(), DeferredCleanup())
        self._spawned = trio.lowlevel.ParkingLot()
        for helper in (
            self._shared.timer.run,
            self._shared.cleanup.run,
            self._records.run,
            self._stay_ready,
        ):
            nursery.start_soon(_kept_up, helper)
        self._spawning = 0
        self._longest = plan.longest
        self._closed = False
        """No more sessions are started."""
        self._left = False
        """Nor watched."""
        self._owner = os.getpid()

    @property
    def containment(self) -> str:
        """The name of the containment in force."""
        return self._tier.name

    @property
    def closed(self) -> bool:
        """True once it is closed, or being closed: it starts no more sessions."""
        return self._closed

    @property
    def plan(self) -> Plan:
        """The plan of every session that was given none of its own."""
        return self._plan

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Every session that is known, the oldest first: the live ones, and the kept records."""
        known = [*self._records, *self._live.values()]
        # Not by `created_at`: the wall clock can be set back.
        return tuple(sorted(known, key=lambda session: session.number))

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

        ``env`` None is the host's environment, without what is untrue in the session: variables
        that tell of the host's own terminal, and a ``PWD`` of another directory. A mapping replaces
        all of it. The command is looked up in *its* PATH. ``rows`` and ``cols`` are characters;
        ``echo`` is whether the terminal shows what is typed, until a program has it otherwise
        (termios(3)). ``stdin`` is a descriptor, a pipe or a file say, that the program gets as its
        descriptor 0 in place of the terminal, which it still has as 1 and 2 and by ``/dev/tty``;
        the caller's own stays open. ``attributes`` are its user, limits and the like, the host's if
        left out. ``plan``, ``leftovers`` and ``signaller`` default to the supervisor's. Raises
        `SpawnError`, `TooManySessions`, `InvalidArgument` or `SupervisorClosed`; then nothing is
        left of the attempt.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        checked = checked_command(
            command, env, cwd, rows, cols, echo, attributes or Attributes(), stdin
        )
        chosen = self._plan if plan is None else Plan.parse(plan) if isinstance(plan, str) else plan
        policy = self._leftovers if leftovers is None else Leftovers(leftovers)
        if self._closed:
            msg = "the supervisor is closed, or closing"
            raise SupervisorClosed(msg)
        if len(self._live) + self._spawning >= self._max_sessions:
            msg = f"there are {self._max_sessions} live sessions, and no more are allowed"
            raise TooManySessions(msg)
        self._spawning += 1
        try:
            spawned = await self._born(checked, Handover(chosen, policy))
        finally:
            self._spawning -= 1
        if self._left:  # It was a long birth.
            await _end_unwatched(spawned)
            msg = "the supervisor was closed meanwhile"
            raise SupervisorClosed(msg)
        # No await from here on: a session that runs is known, and watched.
        session = Session(
            secrets.token_hex(16),
            next(self._numbers),
            checked,
            spawned,
            plan=chosen,
            leftovers=policy,
            signaller=signaller or self._signaller,
            backlog=self._backlog,
            on_end=self._keep_record,
            shared=self._shared,
        )
        self._longest = max(self._longest, chosen.longest)
        self._live[session.id] = session
        self._spawned.unpark()
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
        """End a session by its id; see `Session.terminate`. Raises `SessionNotFound`."""
        return await self.get(session_id).terminate(grace=grace, plan=plan)

    @property
    def longest(self) -> float:
        """The longest (seconds) that `close` can take: the longest plan of any session."""
        return self._longest + _SLACK

    def hurry(self) -> None:
        """Have every session killed now."""
        for session in list(self._live.values()):
            session.request_end(plan=KILL_NOW)

    async def close(self, *, plan: Plan | None = None) -> None:
        """End every session, by ``plan`` or else its own, and start no more; bounded.

        Leaving the block does this. What could not be ended in time is no longer watched; the log
        and the session's verdict say so. A forked child of the host ends nothing.
        """
        self._closed = True
        longest = self.longest if plan is None else max(self.longest, plan.longest + _SLACK)
        ours = self._owner == os.getpid()
        with trio.move_on_after(longest):
            asked: set[str] = set()
            while ours:
                for session in list(self._live.values()):
                    if session.id not in asked:
                        asked.add(session.id)
                        session.request_end(plan=plan)
                if not self._spawning:
                    break
                await trio.sleep(_PAUSE)  # A birth can't be called back; mostly it is short.
            for session in list(self._live.values()) if ours else ():
                await session.settled()
        self._left = True
        for session in list(self._live.values()):
            session.abandon()

    def _start_soon(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Start a task whose failure is logged, and ends neither the supervisor nor sessions."""
        self._nursery.start_soon(_contained, task, *args)

    async def _born(self, command: Command, handover: Handover) -> Spawned:
        try:
            return await self._tier.spawn(command, handover)
        except SpawnError as error:
            # Sessions that are over may hold, until the next cleanup, what there is none of.
            if error.errno not in _EXHAUSTED or not await self._shared.cleanup.run_now():
                raise
        return await self._tier.spawn(command, handover)

    @trio.lowlevel.enable_ki_protection
    async def _stay_ready(self) -> None:
        """Have ready what the next birth needs, but get it when nobody waits for anything."""
        while True:
            await trio.sleep(_SETTLE)
            await self._shared.cleanup.wait_idle()
            try:
                self._tier.prepare()
            except Exception as error:  # noqa: BLE001 - it may be anybody's, and can be done without
                log.event(logging.WARNING, "supervisor.unprepared", exc_info=error)
            await self._spawned.park()

    def _keep_record(self, session: Session, output: Output) -> None:
        self._live.pop(session.id, None)
        self._records.keep(session, output)


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_supervisor(  # noqa: PLR0913 - all have their defaults
    *,
    plan: Plan | str = HANGUP_THEN_KILL,
    containment: str | Tier = "auto",
    max_sessions: int = 64,
    leftovers: Leftovers | str = Leftovers.HANGUP,
    signaller: Signaller | None = None,
    backlog: int = 1 << 20,
    keep_seconds: float = 300.0,
    keep_records: int = 256,
) -> AsyncIterator[Supervisor]:
    """Open a supervisor. Leaving the block, for whatever reason, ends every session.

    That takes at most the longest of their plans (and a second), also when the block is cancelled:
    the end is shielded, and the shield is bounded.

    ``plan`` is how sessions are ended (a `Plan` or its text); ``containment`` how their members
    are known (``"auto"`` takes the strongest there is; anything else is that or an error);
    ``max_sessions`` how many may live at once; ``leftovers`` what becomes of members when a leader
    ends by itself; ``backlog`` how many bytes of output are kept for a slow receiver. Records of
    ended sessions are kept for ``keep_seconds``, and at most ``keep_records`` of them; fewer if
    their commands and environments take more than 16 MiB. All records together hold 32 MiB of
    output, of the sessions that ended last.
    Raises `PlanError`, `InvalidArgument` or `ContainmentUnavailable`.
    """
    chosen = Plan.parse(plan) if isinstance(plan, str) else plan
    policy = Leftovers(leftovers)
    tier = await tiers.open_tier(containment) if isinstance(containment, str) else containment
    owner = os.getpid()
    failure: BaseException | None = None
    interrupt: KeyboardInterrupt | None = None
    try:
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(
                nursery,
                tier,
                plan=chosen,
                leftovers=policy,
                signaller=signaller or StandardSignaller(),
                max_sessions=max_sessions,
                backlog=backlog,
                keep_seconds=keep_seconds,
                keep_records=keep_records,
            )
            try:
                yield supervisor
            except BaseException as error:  # noqa: BLE001 - raised again below, as it was
                # Held back until the nursery is closed, which would wrap it in a group.
                failure = error
            interrupt = await _uninterrupted(supervisor.close, supervisor.hurry)
            failure = failure or interrupt
            nursery.cancel_scope.cancel()  # What is left are the timer and the cleanup.
    except BaseExceptionGroup as group:
        interrupts, others = group.split(KeyboardInterrupt)
        if interrupts is None or others is not None:
            raise
        failure = failure or KeyboardInterrupt()  # It came while the nursery was being left.
    finally:
        if owner == os.getpid():  # A forked child's copy is not to send the warden away.
            try:
                interrupt = await _uninterrupted(tier.close)
            except Exception as error:  # noqa: BLE001 - all sessions are over
                log.event(logging.WARNING, "supervisor.unclosed", exc_info=error)
    failure = failure or interrupt
    if failure is not None:
        raise failure


async def _contained(task: Callable[..., Awaitable[None]], *args: object) -> None:
    """Run a task whose failure is logged, and takes nobody down."""
    try:
        await task(*args)
    except Exception as error:  # noqa: BLE001 - it may be anybody's: a tier's, a terminal's
        _log_failure(task, error)


async def _kept_up(helper: Callable[[], Awaitable[None]]) -> None:
    """Run a helper of all sessions, and again after a pause whenever it fails."""
    pause = _MEND_FIRST
    while True:
        try:
            await helper()
        except Exception as error:  # noqa: BLE001 - as above
            _log_failure(helper, error)
        else:
            return
        await trio.sleep(pause)
        pause = min(pause * 2, _MEND_LONGEST)


def _log_failure(task: Callable[..., object], error: Exception) -> None:
    name = getattr(task, "__qualname__", repr(task))
    with suppress(Exception):  # A logger may be what fails.
        log.event(logging.ERROR, "supervisor.task_failed", task=name, exc_info=error)


async def _end_unwatched(spawned: Spawned) -> None:
    """End a session that nobody can watch any more; bounded, and not to be cancelled."""
    containment = spawned.containment
    with trio.move_on_after(_SLACK, shield=True):
        while True:
            with suppress(OSError):  # It is tried again until the bound.
                containment.kill()
                await containment.wait_exited()
                if not containment.members_left():
                    break
            await trio.sleep(_PAUSE)
    for give_back in containment.reap, spawned.terminal.hang_up, containment.close:
        with suppress(OSError):
            give_back()


async def _uninterrupted(
    close: Callable[[], Awaitable[None]], hurry: Callable[[], None] = lambda: None
) -> KeyboardInterrupt | None:
    """Close something, whatever is going on; return the KeyboardInterrupt that came meanwhile.

    No shield stops trio from delivering that to the main task. It is a wish to hurry.
    """
    interrupt = None
    while True:
        try:
            with trio.CancelScope(shield=True):  # It is bounded.
                await close()
        except KeyboardInterrupt as error:
            interrupt = interrupt or error
            hurry()
        else:
            return interrupt


def checked_command(  # noqa: PLR0913, PLR0917 - as `spawn` has them
    command: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
    rows: int,
    cols: int,
    echo: bool,  # noqa: FBT001
    attributes: Attributes,
    stdin: int | None,
) -> Command:
    """Return what to spawn, or raise `InvalidArgument` before anything has happened."""
    if isinstance(command, str | bytes) or not all(isinstance(each, str) for each in command):
        msg = f"a command is a sequence of str, such as ['bash', '-i'], not {command!r}"
        raise InvalidArgument(msg)
    if not command or not command[0]:
        msg = "the command is empty"
        raise InvalidArgument(msg)
    variables = None if env is None else dict(env)
    for name, value in (variables or {}).items():
        if not isinstance(name, str) or not isinstance(value, str) or not name or "=" in name:
            msg = f"not a name and a value for the environment: {name!r}: {value!r}"
            raise InvalidArgument(msg)
    if not isinstance(attributes, Attributes):
        msg = f"attributes are an Attributes, not {attributes!r}"
        raise InvalidArgument(msg)
    folder = None if cwd is None else os.fspath(cwd)
    for text in (*command, *itertools.chain(*(variables or {}).items()), folder or ""):
        _check_text(text)
    for count in (rows, cols):
        if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= 65_535:
            msg = f"rows and columns are 1 to 65535, not {count!r}"
            raise InvalidArgument(msg)
    _check_descriptor(stdin)
    return Command(tuple(command), variables, folder, rows, cols, echo, attributes, stdin)


def _check_descriptor(stdin: int | None) -> None:
    if stdin is not None:
        try:
            os.fstat(stdin)
        except (OSError, TypeError, OverflowError):
            msg = f"stdin is no open descriptor: {stdin!r}"
            raise InvalidArgument(msg) from None


def _check_text(text: str) -> None:
    """Raise `InvalidArgument` for what is no argument, variable or path of any program."""
    if "\0" in text:
        msg = f"a NUL byte can't be passed to a program: {text!r}"
        raise InvalidArgument(msg)
    try:
        as_bytes(text)
    except UnicodeEncodeError:
        msg = f"a lone surrogate stands for no byte, and can't be passed on: {text!a}"
        raise InvalidArgument(msg) from None
