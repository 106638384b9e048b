"""The driver: it tells the lifecycle machine what happens, on trio's clock, and does what it says.

One task lives as long as the session, in the supervisor's nursery, shielded from cancellation. It
waits for the next thing to happen to the session, inside a cancel scope whose deadline is when the
plan's next step is due: that scope is the grace. Asking for the end is a plain call that delivers
the first step and sets the deadline; a later caller can bring it nearer. So nobody who asks runs
any of the teardown, and whoever is cancelled or goes away changes nothing.
"""

from __future__ import annotations

import contextvars
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from operator import attrgetter
from typing import NamedTuple, TypeVar

import trio

from ptykill import log
from ptykill.engine.cleanup import DeferredCleanup
from ptykill.engine.timer import PreciseTimer
from ptykill.errors import DeliveryRefused, SupervisorClosed
from ptykill.rules.lifecycle import Action, Event, Machine, State
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.protocols import Containment, Handover, Signalled, Signaller, Terminal
from ptykill.rules.steps import Reach, Step
from ptykill.rules.verdict import Caveat, Delivery, ExitStatus, Outcome, Survivor, Verdict

__all__ = ["Driver", "Shared"]

T = TypeVar("T")

_LINGER = 0.002
"""Seconds that a leader is given to die before the others are looked for and signalled."""
_EARLY = 0.003
"""So many seconds before a step is due, an alarm is set that is more exact than a deadline."""
_LATE = 0.001
"""Seconds after which the deadline comes in its place: in a loop that is held up, say."""
_RETRY_FIRST, _RETRY_LONGEST = 0.005, 0.1
"""Seconds between two rounds of SIGKILL while something lives: doubling, up to the longest."""
_STUCK_LONGEST = 5.0
"""The same, once the kill bound has passed: what was in the way may be gone some time."""
_PAUSE_FIRST, _PAUSE_LONGEST = 0.005, 1.0
"""Seconds from a failure of our own to the next try: doubling, up to the longest."""
_FINISHES = 8
"""So often it is tried to reap the leader when all is over; that takes some 0.6 s."""
_FAILURES = 16
"""So many different failures of our own are logged for one session."""
_ROUNDS = 16
"""So many rounds of SIGKILL are told apart: a stuck session may see very many."""


class Shared(NamedTuple):
    """What all sessions of a supervisor have in common: its nursery's ``start_soon``, and more."""

    start_soon: Callable[..., None]
    timer: PreciseTimer
    cleanup: DeferredCleanup


class Driver:
    """Ends one session. ``exited`` is set by the leader's death, ``over`` by the session's end.

    What it does is shielded from cancellation, and protected from KeyboardInterrupt, which trio
    would otherwise raise wherever code happens to run: in the middle of a kill.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - a session has that many parts
        self,
        session_id: str,
        containment: Containment,
        terminal: Terminal,
        signaller: Signaller,
        plan: Plan,
        leftovers: Leftovers,
        on_exit: Callable[[], None],
        on_end: Callable[[], None],
        shared: Shared,
    ) -> None:
        self.session_id: str = session_id
        self.pid: int = containment.pid
        self.containment = containment
        self.terminal = terminal
        self.exit_status: ExitStatus | None = None
        self.verdict: Verdict | None = None
        self.ended_at: float | None = None
        self.exited: trio.Event = trio.Event()
        self.over: trio.Event = trio.Event()
        self.began: float = math.inf
        self._on_exit = on_exit
        self._on_end = on_end
        self._machine = Machine(plan, leftovers)
        self._leftovers = leftovers
        self._signaller = signaller
        self._shared = shared
        self._shield = trio.CancelScope(shield=True)
        self._context = contextvars.Context()
        self._closed = False
        self._owner = os.getpid()
        self._settled = trio.Event()
        self._wait = trio.CancelScope()
        self._due = self._wake_at = math.inf
        self._grace_until = self._kill_until = self._kill_began = math.inf
        self._kill_bound = plan.kill_bound
        self._retry = _RETRY_FIRST
        self._deliveries: list[_Delivery] = []
        self._step: tuple[_Delivery, ...] = ()
        """The deliveries of the current step, which go out together."""
        self._step_failed = False
        self._kills: _Kills | None = None
        self._empty = False
        self._unproven = False
        """Nobody is found any more, which is no proof."""
        self._failure: str | None = None
        """What failed of our own since the session was last seen as it is."""
        self._logged: set[str] = set()
        self._pause = _PAUSE_FIRST
        self._finishes = 0

    @property
    def state(self) -> State:
        """Where the session is in its life."""
        return self._machine.state

    @property
    def ours(self) -> bool:
        """False in a forked child of the host: the session is its parent's."""
        return self._owner == os.getpid()

    @trio.lowlevel.enable_ki_protection
    async def live(self) -> None:
        """Watch the session until it is over: its one long-lived task."""
        self._context = trio.lowlevel.current_task().context
        try:
            with self._shield:
                await self._watch()
                self._call_off()
                if not self._deliveries and self._kills is None:
                    self._on_exit()  # It has ended by itself: somebody may be reading.
                # Whoever waits for another session's verdict goes first.
                await self._shared.cleanup.wait_idle()
        except Exception as error:  # noqa: BLE001 - no session may take the others down
            self._fail(error)
        finally:
            self._closed = True
            if self.ours:
                self._call_off()
                for give_back in self._on_exit, self.terminal.hang_up, self.containment.close:
                    try:
                        give_back()
                    except Exception as error:  # noqa: BLE001 - as above
                        self._fail(error)
            self._let_go()

    @trio.lowlevel.enable_ki_protection
    def request(self, plan: Plan) -> None:
        """Ask for the end. The first to ask chooses the plan; later ones can only hurry it.

        Raises `SupervisorClosed` in a forked child of the host.
        """
        if not self.ours:
            msg = "this process was forked: the session is its parent's"
            raise SupervisorClosed(msg)
        if self._closed:
            return  # Over or abandoned: the verdict stands.
        now = trio.current_time()
        if self.state in (State.RUNNING, State.SWEEPING):
            self._machine.choose(plan)
            self._kill_bound = plan.kill_bound
        elif self.state is State.STUCK:
            self._settled = trio.Event()
            self._kill_bound = plan.kill_bound
        else:
            self._kill_bound = min(self._kill_bound, plan.kill_bound)
            self._grace_until = min(self._grace_until, now + plan.grace)
            self._kill_until = min(self._kill_until, now + plan.longest)
            if self.state is State.STOPPING and self._grace_until <= now:
                self._handle(Event.KILL_REQUESTED, now)
                return
            until = self._grace_until if self.state is State.STOPPING else self._kill_until
            self._be_due(min(self._due, until), now)
        self._handle(Event.STOP_REQUESTED, now)

    async def settled(self) -> Verdict:
        """Wait for the verdict: the session's end, or the end of the kill bound."""
        await self._settled.wait()
        assert self.verdict is not None
        return self.verdict

    def abandon(self) -> None:
        """Stop watching a session that could not be ended."""
        if not self._closed and self.state is not State.ENDED:
            self._publish(Outcome.STUCK)
            self.over.set()  # Nobody shall wait for what nobody watches.
            self._shield.cancel()

    def _let_go(self) -> None:
        """Refer to nobody who refers to this: what is over is gone with its record, at once.

        Left to the collector, a thousand sessions keep the loop waiting for a tenth of a second.
        Nor is what the caller's variables held, a request say, kept as long as the record.
        """
        self._on_exit = self._on_end = _nothing
        self._deliveries.clear()
        self._step = ()
        self._context = contextvars.Context()

    # --- what is observed -------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Wait for what happens to the session, and see to the plan's times, until it is over.

        A failure of our own, such as a system call for which there is no memory, gives nobody up:
        after a pause it is tried again, and what is due by the plan is done meanwhile.
        """
        failed = False
        while not self.over.is_set():
            try:
                if failed:
                    await self._hold_on()
                    if self._due <= trio.current_time():
                        self._be_in_time(trio.current_time())
                    if self.exited.is_set() and self.state is not State.ENDED:
                        self._look()  # What was waited for has happened, perhaps.
                        failed = False
                        continue
                await self._watch_once()
                failed = False
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody has to be ended
                failed = True
                self._fail(error)

    async def _watch_once(self) -> None:
        """Wait for the next thing to happen, or to be due."""
        if self.state is State.ENDED:
            self._finish()  # Again: it failed.
            return
        with trio.CancelScope(deadline=self._wake_at) as self._wait:
            if self.exited.is_set():
                await self.containment.wait_members()
            else:
                await self.containment.wait_exited()
            self._look()
            if self.over.is_set():
                await _after_those_who_wait()
            return
        self._be_in_time(trio.current_time())

    async def _hold_on(self) -> None:
        """Pause after a failure, longer after each in a row, but not beyond what is due."""
        now = trio.current_time()
        until = max(now + _PAUSE_FIRST, min(now + self._pause, self._wake_at))
        self._pause = min(self._pause * 2, _PAUSE_LONGEST)
        with trio.CancelScope(deadline=until) as self._wait:
            await trio.sleep_forever()

    def _fail(self, error: Exception) -> None:
        """Note a failure of our own. Each is logged once, however often it comes."""
        failure = self._failure = f"{type(error).__name__}: {error}"
        if failure in self._logged or len(self._logged) == _FAILURES:
            return
        self._logged.add(failure)
        with suppress(Exception):  # A logger may be what fails.
            log.event(
                logging.ERROR,
                "session.broken",
                session_id=self.session_id,
                pid=self.pid,
                state=self.state.value,
                exc_info=error,
            )

    def _look(self) -> None:
        """See who is left, now that the leader is dead, or others are, and tell the machine."""
        if not self.exited.is_set():
            now = trio.current_time()
            self.began = min(self.began, now)
            self.exited.set()
            self._handle(Event.LEADER_EXITED, now)
        left = self.containment.members_left()
        self._failure = None  # The session was seen as it is.
        self._pause = _PAUSE_FIRST
        if left:
            self._on_exit()
            self.exit_status = self.containment.exit_status()
            self._handle(Event.MEMBERS_FOUND, trio.current_time())
        else:
            self._unproven = Caveat.UNPROVEN in self.containment.caveats()
            self._empty = not self._unproven
            self._handle(Event.SESSION_EMPTY, trio.current_time())

    def _be_in_time(self, now: float) -> None:
        """Do what is due by the plan, if anything is yet."""
        if now < self._due:
            self._look_ahead(now)
        elif self.state is State.STOPPING:
            if self._step_failed:
                self._handle(Event.DELIVERY_FAILED, now)
            else:
                expired = now >= self._grace_until
                self._handle(Event.GRACE_EXPIRED if expired else Event.STEP_DUE, now)
        elif self.state is State.KILLING:
            late = now >= self._kill_until
            self._handle(Event.KILL_BOUND_PASSED if late else Event.RETRY_DUE, now)
        elif self.state is State.STUCK:
            self._handle(Event.RETRY_DUE, now)

    def _look_ahead(self, now: float) -> None:
        """Do what is to be done before the plan's next step is due."""
        self.containment.finish_signal()
        if self.state is State.STOPPING:
            machine = self._machine
            due, end = self._due - now, self._grace_until - now
            handover = Handover(machine.plan, self._leftovers, machine.begun, due, end)
            self.containment.hand_over(handover)
        if now < self._due - _EARLY:
            self._wake_at = self._due - _EARLY
        else:
            exact = self._shared.timer.call_at(self._due, self._ring)
            self._wake_at = self._due + _LATE * exact

    def _ring(self) -> None:
        """Do what is due, in the alarm's task; the session's own goes on waiting."""
        if self._closed or trio.current_time() < self._due:
            return
        try:
            # In that task's context: a log has what was bound when the session was spawned.
            self._context.run(self._be_in_time, trio.current_time())
        except Exception as error:  # noqa: BLE001 - no session may take the others down
            self._fail(error)
        self._wait.deadline = self._wake_at

    def _be_due(self, when: float, now: float) -> None:
        """Let something be done at that time, if what is waited for has not happened by then."""
        self._note_due(when, now)
        self._wait.deadline = self._wake_at

    def _note_due(self, when: float, now: float) -> None:
        """Note what `_be_due` is told, for who sets the wait's deadline later."""
        self._due = when
        self._wake_at = min(when, now + _LINGER)

    # --- what is done -----------------------------------------------------------------------------

    def _handle(self, event: Event, now: float) -> None:
        before = self.state
        actions = self._machine.handle(event)
        if self.state is not before:
            self._enter(now)
        # What is done comes first, and the log last: a signal does not wait for a line of text.
        # What is not done for a failure of our own is made up for: a step by the next, SIGKILL by
        # the next round, and the end by `_watch_once`.
        for action in actions:
            try:
                self._do(action, now)
            except Exception as error:  # noqa: BLE001 - whoever asked, or has rung, can't help it
                self._fail(error)
        if self.state is not before:
            self._log(logging.WARNING if self.state is State.STUCK else logging.INFO, now)

    def _do(self, action: Action, now: float) -> None:
        match action:
            case Action.DELIVER:
                self._deliver(self._machine.step, now)
            case Action.KILL:
                self._kill(now)
            case Action.REPORT:
                self._publish(Outcome.STUCK)
            case Action.FINISH:
                self._finish()

    def _enter(self, now: float) -> None:
        """Take in a change of state."""
        if self.state is State.STOPPING:
            self.began = min(self.began, now)
            self._grace_until = now + self._machine.plan.grace
        elif self.state is State.KILLING:
            self.began = min(self.began, now)
            self._kill_began = min(self._kill_began, now)
            self._kill_until = now + self._kill_bound
            self._retry = _RETRY_FIRST
            self._call_off()
        elif self.state is State.STUCK:
            self._due = self._wake_at = now + self._retry

    def _deliver(self, step: Step, now: float) -> None:
        """Have a step delivered: at once by a plain signaller, in its own task by another.

        In its own, since a signaller is somebody else's code, and one that is slow, or shields
        itself from cancellation, must not hold the plan up.
        """
        self._call_off()
        self._step = tuple(_Delivery(self, part, now) for part in step.parts)
        self._step_failed = False
        self._deliveries.extend(self._step)
        # Before anybody else's code runs: whatever that does, the plan goes on.
        self._note_due(min(now + step.wait, self._grace_until), now)
        started = [(each, each.start(self._signaller)) for each in self._step]
        self.terminal.resume_output()  # Or a clean-up that writes would wait until SIGKILL.
        self._wait.deadline = self._wake_at  # Now: the signal did not wait for trio's heap.
        for delivery, waiting in started:
            if waiting is not None:
                self._shared.start_soon(delivery.finish, waiting)

    def _call_off(self) -> None:
        """Stop deliveries that are not done: their time is over."""
        for delivery in self._deliveries:
            delivery.cancel()

    def delivered(self, delivery: _Delivery, step: Step) -> None:
        """Take in that a delivery is done. A step that has failed makes the next one due at once.

        A step fails when one of its deliveries does, unless another of them is under way or has
        reached a process.
        """
        level = logging.INFO if delivery.error is None else logging.WARNING
        if log.wanted(level):
            self._log_delivery(level, delivery.record(), step)
        if self.state is not State.STOPPING or delivery not in self._step:
            return
        if any(each.error for each in self._step) and all(each.in_vain for each in self._step):
            self._step_failed = True
            now = trio.current_time()
            self._be_due(now, now)

    def _kill(self, now: float) -> None:
        """Send SIGKILL to all, and again soon."""
        if self._kills is None:
            self._kills = _Kills(now)
        try:
            self._kills.add(self.containment.kill())
        except Exception as error:  # noqa: BLE001 - there is another round
            self._fail(error)
            self._kills.failure = self._failure
        else:
            self._kills.failure = None
        finally:
            now = trio.current_time()  # Many may have had to be looked for.
            if self.state is State.KILLING:
                self._be_due(min(now + self._retry, self._kill_until), now)
                self._retry = min(self._retry * 2, _RETRY_LONGEST)
            elif self.state is State.STUCK:
                self._be_due(now + self._retry, now)
                self._retry = min(self._retry * 2, _STUCK_LONGEST)
        if len(self._kills.rounds) == 1 and log.wanted(logging.INFO):
            self._log_delivery(logging.INFO, self._kills.record(self.began), None)

    def _finish(self) -> None:
        survivors: tuple[Survivor, ...] = ()
        self._finishes += 1
        try:
            survivors = () if self._empty else self.containment.survivors()
            self.exit_status = self.containment.reap() or self.exit_status
        except Exception as error:
            if self._finishes < _FINISHES:
                raise
            self._fail(error)
        else:
            self._failure = None
        killed = self._kills is not None and self._kills.record(self.began).reached
        if not self._empty:
            outcome = Outcome.UNPROVEN if self._unproven else Outcome.SPARED
        elif killed or self.containment.killed:
            outcome = Outcome.KILLED
        else:
            outcome = Outcome.GRACEFUL if self._deliveries else Outcome.EXITED
        self._end(outcome, survivors)

    def _end(self, outcome: Outcome, survivors: tuple[Survivor, ...] | None = None) -> None:
        self.ended_at = time.time()
        self._publish(outcome, survivors)
        self.over.set()
        self._on_end()

    def _publish(self, outcome: Outcome, survivors: tuple[Survivor, ...] | None = None) -> None:
        """Give the verdict to all who wait for it."""
        now = trio.current_time()
        began = min(self.began, now)
        kill_began = min(self._kill_began, now)
        deliveries = [delivery.record() for delivery in self._deliveries]
        if self._kills is not None:
            deliveries.append(self._kills.record(began))
        if not self._empty and self._kills is not None and self._kills.failure is not None:
            self._failure = self._failure or self._kills.failure
        caveats = self._told(self.containment.caveats) or frozenset()
        if survivors is None:
            survivors = self._told(self.containment.survivors) or ()
        self.verdict = Verdict(
            session_id=self.session_id,
            pid=self.pid,
            outcome=outcome,
            empty=self._empty,
            exit_status=self.exit_status,
            deliveries=tuple(deliveries),
            survivors=survivors,
            containment=self.containment.name,
            caveats=caveats | {Caveat.INTERNAL_ERROR} if self._failure else caveats,
            took=now - began,
            grace=kill_began - began,
            kill=now - kill_began,
        )
        self._settled.set()

    def _told(self, ask: Callable[[], T]) -> T | None:
        """Return what the containment says; None if that fails, which the verdict tells then."""
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - a verdict there has to be
            self._fail(error)
            return None

    # --- what is logged ---------------------------------------------------------------------------

    def _log(self, level: int, now: float) -> None:
        if log.wanted(level):
            verdict = self.verdict if self.state in (State.STUCK, State.ENDED) else None
            told = (
                {"outcome": verdict.outcome.value, "empty": verdict.empty}
                if verdict is not None
                else {}
            )
            log.event(
                level,
                f"session.{self.state}",
                session_id=self.session_id,
                pid=self.pid,
                state=self.state.value,
                ms=round(1000 * max(0.0, now - self.began), 3),
                **told,
            )

    def _log_delivery(self, level: int, delivery: Delivery, step: Step | None) -> None:
        log.event(
            level,
            "session.delivery",
            session_id=self.session_id,
            pid=self.pid,
            state=self.state.value,
            signal=str(step.what) if step else "KILL",
            reach=(step.reach if step else Reach.ALL).value,
            reached=delivery.reached,
            refused=delivery.refused,
            error=delivery.error,
            ms=round(1000 * delivery.at, 3),
        )


class _Kills:
    """The rounds of SIGKILL, which make one delivery."""

    def __init__(self, began: float) -> None:
        self.rounds: list[Signalled] = []
        self.failure: str | None = None
        """Why the last round failed, if it did."""
        self._began = began

    def add(self, signalled: Signalled) -> None:
        """Take in one more round; of the oldest of very many, only whom they reached is kept."""
        self.rounds.append(signalled)
        if len(self.rounds) > _ROUNDS:
            self.rounds[0].reached |= self.rounds.pop(1).reached

    def record(self, began: float) -> Delivery:
        """Return how many processes took it in any round, and which refused it in the last."""
        return Delivery(
            what=f"KILL@{Reach.ALL}",
            at=self._began - began,
            error=self.failure,
            reached=len(_all(_reached, self.rounds)),
            refused=tuple(sorted(self.rounds[-1].refused)) if self.rounds else (),
        )


class _Delivery:
    """One step being delivered, and the target that its signaller sees (`contract.Target`)."""

    def __init__(self, driver: Driver, step: Step, now: float) -> None:
        self.session_id: str = driver.session_id
        self.pid: int = driver.pid
        self.error: str | None = None
        self._driver = driver
        self._step = step
        self._began = now
        self._took: float | None = None
        self._signalled: list[Signalled] = []
        self._scope: trio.CancelScope | None = None

    def start(self, signaller: Signaller) -> Awaitable[None] | None:
        """Call the signaller; return what is to be awaited, if it is not done by that."""
        try:
            waiting = signaller.deliver(self, self._step)
        except BaseException as error:  # noqa: BLE001 - recorded, SystemExit too: the plan goes on
            self._end(error)
            return None
        if waiting is None:
            self._end(None)
        else:
            self._scope = trio.CancelScope(shield=True)
        return waiting

    @trio.lowlevel.enable_ki_protection
    async def finish(self, waiting: Awaitable[None]) -> None:
        """Await the signaller, whatever it does, until `cancel`."""
        assert self._scope is not None
        failure: BaseException | None = None
        with self._scope:
            try:
                await waiting
            except trio.Cancelled:
                raise
            except BaseException as error:  # noqa: BLE001 - as above
                failure = error
        self._end(failure)

    @property
    def in_vain(self) -> bool:
        """Whether it is done, and has failed or signalled nobody."""
        if self._took is None or self.error is not None:
            return self._took is not None
        if not self._signalled:
            return False  # It was typed, or the signaller's way to reach the session is its own.
        # Some have not been signalled yet, perhaps: the leader goes first.
        self._driver.containment.finish_signal()
        return not _all(_reached, self._signalled)

    def cancel(self) -> None:
        """Stop a delivery that is not done when its time is over."""
        if self._took is None and self._scope is not None:
            self.error = _UNFINISHED
            self._scope.cancel()

    def _end(self, failure: BaseException | None) -> None:
        if failure is not None:
            self.error = f"{type(failure).__name__}: {failure}"
        self._took = trio.current_time() - self._began
        self._driver.delivered(self, self._step)

    def record(self) -> Delivery:
        """Return what is known of it by now."""
        began = self._driver.began
        return Delivery(
            what=self._step.delivery,
            at=self._began - began,
            took=trio.current_time() - self._began if self._took is None else self._took,
            reached=len(_all(_reached, self._signalled)),
            refused=tuple(sorted(_all(_refused, self._signalled))),
            error=self.error,
        )

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal by its name. Raises `DeliveryRefused` if it is refused for everybody."""
        signalled = self._driver.containment.signal(name, reach)
        self._signalled.append(signalled)
        if signalled.refused and not signalled.reached:
            msg = (
                f"not permitted to send {name} to {', '.join(map(str, sorted(signalled.refused)))}"
            )
            raise DeliveryRefused(msg)
        return signalled

    def hang_up(self) -> None:
        """Close the terminal."""
        self._driver.terminal.hang_up()

    async def type_in(self, data: bytes) -> None:
        """Type into the terminal."""
        await self._driver.terminal.send_all(data)


def _all(whom: Callable[[Signalled], set[int]], signalled: list[Signalled]) -> set[int]:
    """Return those whom any of these signals reached, or was refused by."""
    return whom(signalled[0]) if len(signalled) == 1 else set().union(*map(whom, signalled))


async def _after_those_who_wait() -> None:
    """Go on when those who were just woken have run: what is left to do can wait, they can't.

    They run in the next pass of trio's loop, in no order, and so does this; hence the one after it.
    """
    for _ in range(2):
        await trio.lowlevel.cancel_shielded_checkpoint()


def _nothing() -> None:
    """Nobody is left to be told."""


_UNFINISHED = "not finished when its time was over"
_reached = attrgetter("reached")
_refused = attrgetter("refused")
