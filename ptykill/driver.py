"""The driver: it tells the lifecycle machine what happens, on trio's clock, and does what it says.

One trio task, shielded from its caller's cancellation, holds a nursery for the session's life: a
task that watches, and while there is an end to bring about, one that carries out the plan. Nobody
who asks for an end runs any of it, so whoever is cancelled or goes away changes nothing.

The grace wait is a cancel scope. Its deadline is when the next step is due; a later caller may
bring it nearer, and the session's end cancels it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from ptykill import log
from ptykill.contract import Containment, Signalled, Signaller, Terminal
from ptykill.errors import DeliveryRefused
from ptykill.lifecycle import Action, Event, Machine, State
from ptykill.plan import Leftovers, Plan, Reach, Step
from ptykill.verdict import Caveat, Delivery, ExitStatus, Outcome, Survivor, Verdict

__all__ = ["Driver"]

_RETRY_FIRST, _RETRY_LONGEST = 0.005, 0.1
"""Seconds between two rounds of SIGKILL while something lives: doubling, up to the longest."""


class Driver:
    """Ends one session. ``exited`` is set by the leader's death, ``over`` by the session's end."""

    def __init__(  # noqa: PLR0913 - a session has that many parts
        self,
        session_id: str,
        containment: Containment,
        terminal: Terminal,
        signaller: Signaller,
        plan: Plan,
        leftovers: Leftovers,
        on_exit: Callable[[], None],
    ) -> None:
        self.session_id = session_id
        self.pid = containment.pid
        self.containment = containment
        self.terminal = terminal
        self.exit_status: ExitStatus | None = None
        self.verdict: Verdict | None = None
        self.ended_at: float | None = None
        self.exited = trio.Event()
        self.over = trio.Event()
        self._on_exit = on_exit
        self._machine = Machine(plan, leftovers)
        self._signaller = signaller
        self._settled = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._carrying_out = False
        self._wait = trio.CancelScope()
        self._began = self._kill_began = math.inf
        self._grace_until = self._kill_until = self._kill_bound = math.inf
        self._deliveries: list[_Delivery] = []
        self._kills: Delivery | None = None
        self._empty = False
        self._broken = False

    @property
    def state(self) -> State:
        """Where the session is in its life."""
        return self._machine.state

    async def live(
        self,
        *tasks: Callable[[], Awaitable[None]],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Watch the session until it is over, running ``tasks`` beside; the one long-lived task."""
        try:
            with trio.CancelScope(shield=True):  # Until `abandon`, or the session is over.
                async with trio.open_nursery() as self._nursery:
                    for task in (*tasks, self._watch):
                        self._nursery.start_soon(task)
                    task_status.started()
        except Exception as error:  # noqa: BLE001 - no session may take the others down
            self._break(error)
        finally:
            self._nursery = None
            self.terminal.hang_up()
            self.containment.close()

    def request(self, plan: Plan) -> None:
        """Ask for the end. The first to ask chooses the plan; later ones can only hurry it."""
        now = trio.current_time()
        if self._nursery is None:
            return  # Over, broken or abandoned: the verdict stands.
        if self.state in (State.RUNNING, State.SWEEPING):
            self._machine.choose(plan)
        elif self.state is State.STUCK:
            self._settled = trio.Event()
            self._kill_bound = plan.kill_bound
        elif self.state is State.STOPPING and plan.grace == 0:
            self._kill_bound = min(self._kill_bound, plan.kill_bound)
            self._handle(Event.KILL_REQUESTED)
            return
        else:
            self._kill_bound = min(self._kill_bound, plan.kill_bound)
            self._grace_until = min(self._grace_until, now + plan.grace)
            self._kill_until = min(self._kill_until, now + plan.longest)
            until = self._grace_until if self.state is State.STOPPING else self._kill_until
            self._wait.deadline = min(self._wait.deadline, until)
        self._handle(Event.STOP_REQUESTED)

    async def settled(self) -> Verdict:
        """Wait for the verdict: the session's end, or the end of the kill bound."""
        await self._settled.wait()
        assert self.verdict is not None
        return self.verdict

    def abandon(self) -> None:
        """Stop watching a session that could not be ended."""
        if self._nursery is not None:
            self._publish(Outcome.STUCK)
            self._nursery.cancel_scope.cancel()

    # --- what is observed (Watcher) ---------------------------------------------------------------

    async def _watch(self) -> None:
        await self.containment.watch(self)

    def leader_exited(self, status: ExitStatus | None) -> None:
        """The leader has exited; as a zombie it still pins the session's number."""
        self.exit_status = status
        self._began = min(self._began, trio.current_time())
        self.exited.set()
        self._on_exit()  # Before the session may be found empty, and its terminal is closed.
        self._handle(Event.LEADER_EXITED)

    def members_found(self) -> None:
        """The leader is dead, and others live."""
        self._handle(Event.MEMBERS_FOUND)

    def session_empty(self) -> None:
        """Nothing is left but the leader's zombie."""
        self._empty = True
        self._handle(Event.SESSION_EMPTY)

    # --- what is done -----------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        before = self.state
        actions = self._machine.handle(event)
        now = trio.current_time()
        if self.state is not before:
            if self.state in (State.STOPPING, State.KILLING):
                self._enter(now)
            self._log(logging.WARNING if self.state is State.STUCK else logging.INFO, now)
        for action in actions:
            match action:
                case Action.DELIVER:
                    pass  # `_carry_out` asks the machine for its step.
                case Action.KILL:
                    self._kill(now)
                case Action.REPORT:
                    self._publish(Outcome.STUCK)
                case Action.FINISH:
                    self._finish()
        if self.state in (State.STOPPING, State.KILLING) and not self._carrying_out:
            assert self._nursery is not None
            self._carrying_out = True
            self._nursery.start_soon(self._carry_out)

    def _enter(self, now: float) -> None:
        self._began = min(self._began, now)
        self._kill_bound = min(self._kill_bound, self._machine.plan.kill_bound)
        if self.state is State.STOPPING:
            self._grace_until = min(self._grace_until, now + self._machine.plan.grace)
        else:
            self._kill_began = min(self._kill_began, now)
            self._kill_until = now + self._kill_bound
            self._wait.cancel()  # The grace is over.

    async def _carry_out(self) -> None:
        """Walk the plan: its polite steps, each with its wait, then SIGKILL until empty."""
        while self.state is State.STOPPING:
            step = self._machine.step
            due = min(trio.current_time() + step.wait, self._grace_until)
            failed = False
            with trio.CancelScope(deadline=due) as self._wait:
                failed = not await self._deliver(step)
                if not failed:
                    await trio.sleep_forever()
            if self.state is State.STOPPING:
                if trio.current_time() >= self._grace_until:
                    self._handle(Event.GRACE_EXPIRED)
                else:
                    self._handle(Event.DELIVERY_FAILED if failed else Event.STEP_DUE)
        pause = _RETRY_FIRST
        while self.state is State.KILLING:
            with trio.CancelScope(deadline=min(trio.current_time() + pause, self._kill_until)) as (
                self._wait
            ):
                await trio.sleep_forever()
            late = trio.current_time() >= self._kill_until
            self._handle(Event.KILL_BOUND_PASSED if late else Event.RETRY_DUE)
            pause = min(pause * 2, _RETRY_LONGEST)
        self._carrying_out = False

    async def _deliver(self, step: Step) -> bool:
        """Have a step delivered, in a task of its own; return False if that failed.

        A signaller is somebody else's code: one that shields itself from cancellation must not
        hold the plan up.
        """
        assert self._nursery is not None
        delivery = _Delivery(self, step)
        self._deliveries.append(delivery)
        self._nursery.start_soon(delivery.run, self._signaller)
        try:
            await delivery.done.wait()
        finally:
            delivery.scope.cancel()
            self._log_delivery(delivery.record(self._began), step)
        return delivery.error is None

    def _kill(self, now: float) -> None:
        """Send SIGKILL to all. The rounds make one entry: how many it took, who refuses still."""
        reached, refused = self.containment.kill()
        kills = self._kills
        if kills is not None:
            now, reached = self._began + kills.at, reached + kills.reached
        elif not reached and not refused:
            return
        took = trio.current_time() - now
        self._kills = Delivery(f"KILL@{Reach.ALL.value}", now - self._began, took, reached, refused)
        if kills is None:
            self._log_delivery(self._kills, None)

    def _finish(self) -> None:
        survivors = () if self._empty else self.containment.survivors()
        self.exit_status = self.containment.reap() or self.exit_status
        self.terminal.hang_up()
        if not self._empty:
            outcome = Outcome.SPARED
        elif self._kills is not None:
            outcome = Outcome.KILLED
        else:
            outcome = Outcome.GRACEFUL if self._deliveries else Outcome.EXITED
        self.ended_at = time.time()
        self._publish(outcome, survivors)
        self.over.set()
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

    def _publish(self, outcome: Outcome, survivors: tuple[Survivor, ...] | None = None) -> None:
        """Give the verdict to all who wait for it."""
        now = trio.current_time()
        began = min(self._began, now)
        kill_began = min(self._kill_began, now)
        deliveries = [delivery.record(began) for delivery in self._deliveries]
        if self._kills is not None:
            deliveries.append(self._kills)
        caveats = self.containment.caveats()
        self.verdict = Verdict(
            session_id=self.session_id,
            pid=self.pid,
            outcome=outcome,
            empty=self._empty,
            exit_status=self.exit_status,
            deliveries=tuple(deliveries),
            survivors=self.containment.survivors() if survivors is None else survivors,
            containment=self.containment.name,
            caveats=caveats | {Caveat.INTERNAL_ERROR} if self._broken else caveats,
            took=now - began,
            grace=kill_began - began,
            kill=now - kill_began,
        )
        self._settled.set()

    def _break(self, error: Exception) -> None:
        """Our own code failed: kill what can be killed, and claim nothing."""
        self._broken = True
        log.event(
            logging.ERROR,
            "session.broken",
            session_id=self.session_id,
            pid=self.pid,
            state=self.state.value,
            exc_info=error,
        )
        self._empty = False
        with suppress(Exception):
            self.containment.kill()
        self.ended_at = time.time()
        self._publish(Outcome.STUCK)
        self.exited.set()
        self.over.set()

    # --- what is logged ---------------------------------------------------------------------------

    def _log(self, level: int, now: float) -> None:
        log.event(
            level,
            f"session.{self.state.value}",
            session_id=self.session_id,
            pid=self.pid,
            state=self.state.value,
            ms=round(1000 * max(0.0, now - self._began), 3),
        )

    def _log_delivery(self, delivery: Delivery, step: Step | None) -> None:
        log.event(
            logging.INFO if delivery.error is None else logging.WARNING,
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


class _Delivery:
    """One step being delivered, and the target that its signaller sees (`contract.Target`)."""

    def __init__(self, driver: Driver, step: Step) -> None:
        self.session_id = driver.session_id
        self.pid = driver.pid
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.error: str | None = None
        self._containment = driver.containment
        self._terminal = driver.terminal
        self._step = step
        self._began = trio.current_time()
        self._took: float | None = None
        self._reached = 0
        self._refused: tuple[int, ...] = ()

    async def run(self, signaller: Signaller) -> None:
        """Deliver, whatever the signaller does."""
        with self.scope:
            try:
                await signaller.deliver(self, self._step)
            except Exception as error:  # noqa: BLE001 - recorded, and the plan goes on
                self.error = f"{type(error).__name__}: {error}"
        self._took = trio.current_time() - self._began
        self.done.set()

    def record(self, began: float) -> Delivery:
        """Return what is known of it by now."""
        unfinished = None if self.done.is_set() else "not finished when the next step was due"
        return Delivery(
            what=self._step.delivery,
            at=self._began - began,
            took=trio.current_time() - self._began if self._took is None else self._took,
            reached=self._reached,
            refused=self._refused,
            error=self.error or unfinished,
        )

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal by its name. Raises `DeliveryRefused` if it is refused for everybody."""
        signalled = self._containment.signal(name, reach)
        self._reached += signalled.reached
        self._refused += signalled.refused
        if signalled.refused and not signalled.reached:
            msg = f"not permitted to send {name} to {', '.join(map(str, signalled.refused))}"
            raise DeliveryRefused(msg)
        return signalled

    def hang_up(self) -> None:
        """Close the terminal."""
        self._terminal.hang_up()

    async def type_in(self, data: bytes) -> None:
        """Type into the terminal."""
        await self._terminal.send_all(data)
