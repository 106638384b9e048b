"""Ends one session: passes events to the lifecycle machine, and carries out its actions.

Only `Driver.settled` waits. A request for the end is a plain call: it delivers the first step, and
sets the time of the next one (`Schedule`). A timer, which all sessions share, does the other steps:
the time until then is the grace, which a later request can only shorten. No caller's task runs a
part of the teardown, so cancelling a caller does not stop it.
"""

from __future__ import annotations

import contextvars
import os
import time
from collections.abc import Callable

import trio

from ptykill.engine.deliveries import KillRounds, StepDelivery
from ptykill.engine.events import SessionEvents
from ptykill.engine.report import Report
from ptykill.engine.schedule import Schedule
from ptykill.engine.shared import Shared
from ptykill.errors import SupervisorClosed
from ptykill.rules.lifecycle import Action, Event, Machine, State
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.protocols import Containment, Ending, Handover, Signaller, Terminal
from ptykill.rules.steps import Step
from ptykill.rules.verdict import EndReason, ExitStatus, Outcome, Survivor, Verdict

__all__ = ["Driver"]

_FINISHES = 8
"""How often reaping the leader is tried when the session is over: some 0.6 s in all."""


class Driver:
    """Ends one session.

    ``exited`` is set when the leader is dead, ``over`` when the session is over. The code is
    shielded from cancellation and from KeyboardInterrupt, which trio raises in the code that runs
    when Ctrl-C comes: that may be in the middle of a kill.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - a session has that many parts
        self,
        session_id: str,
        containment: Containment,
        terminal: Terminal,
        signaller: Signaller,
        plan: Plan,
        leftovers: Leftovers,
        on_end: Callable[[], None],
        shared: Shared,
    ) -> None:
        self.session_id: str = session_id
        self.pid: int = containment.pid
        self.containment = containment
        self.terminal = terminal
        self.verdict: Verdict | None = None
        self.ended_at: float | None = None
        self.exited: trio.Event = trio.Event()
        self.over: trio.Event = trio.Event()
        self.schedule: Schedule = Schedule(
            plan.kill_bound, shared.timer, shared.precise, self._on_wake
        )
        self.report: Report = Report(session_id, containment)
        self.shield: trio.CancelScope = trio.CancelScope(shield=True)
        """The scope in which the session's task runs."""
        self.context: contextvars.Context = contextvars.Context()
        """The context of the session's task."""
        self.closed: bool = False
        """True once the session is no longer watched."""
        self.on_ending: Callable[[Plan], None] = _ignore
        """Called when the end has begun, with its plan."""
        self._machine = Machine(plan, leftovers)
        self.state: State = self._machine.state
        """The session's state."""
        self._leftovers = leftovers
        self._signaller = signaller
        self._start_soon = shared.start_soon
        self._on_end = on_end
        self._events = SessionEvents(session_id, self.pid, shared.ring)
        self._settled = trio.Event()
        self._owner = os.getpid()
        self._step: tuple[StepDelivery, ...] = ()
        """The deliveries of the current step, which go out together."""
        self._step_failed = False
        self._finishes = 0

    @property
    def exit_status(self) -> ExitStatus | None:
        """How the leader ended; None while it lives, or if its status can't be known."""
        return self.report.exit_status

    @property
    def ours(self) -> bool:
        """False in a forked child of the host, which must not touch its parent's session."""
        return self._owner == os.getpid()

    # --- for the session's users ------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def request(self, plan: Plan, reason: EndReason = EndReason.REQUESTED) -> None:
        """Request the end. The first request chooses the plan; later ones can only shorten it.

        Raises `SupervisorClosed` in a forked child of the host.
        """
        if not self.ours:
            msg = "this process was forked: the session is its parent's"
            raise SupervisorClosed(msg)
        if self.closed or self.state is State.ENDED:
            return  # Over or abandoned: the verdict stands.
        self.report.because(reason)
        now = trio.current_time()
        if self.state in (State.RUNNING, State.SWEEPING):
            self._machine.choose(plan)
            self.schedule.kill_bound = plan.kill_bound
        elif self.state is State.STUCK:
            self._settled = trio.Event()
            self.schedule.kill_bound = plan.kill_bound
        elif self.schedule.hurry(plan, now, polite=self.state is State.STOPPING):
            self.handle(Event.KILL_REQUESTED, now)
            return
        self.handle(Event.STOP_REQUESTED, now)

    def take_over(self, ending: Ending) -> None:
        """Watch the end that the keeper has begun, and kill if the keeper has not done so."""
        self.report.because(ending.reason)
        now = trio.current_time()
        self.handle(Event.KILL_REQUESTED if ending.killed else Event.END_BEGUN, now)
        if self.state is State.STOPPING:
            self.schedule.wait_for_kill(min(ending.grace, self._machine.plan.grace), now)

    async def settled(self) -> Verdict:
        """Wait for the verdict: the session's end, or the end of the kill bound."""
        await self._settled.wait()
        assert self.verdict is not None
        return self.verdict

    def abandon(self) -> None:
        """Stop watching a session that could not be ended."""
        if not self.closed and self.state is not State.ENDED:
            self._publish(Outcome.STUCK)
            self.over.set()  # Else `Session.wait` would wait for ever.
            self.shield.cancel()

    # --- for the watcher --------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> None:
        """Pass an event to the machine, and carry out its actions."""
        before = self.state
        actions = self._machine.handle(event)
        self.state = self._machine.state
        if self.state is not before:
            self._enter(now)
            self._events.entered(before, self.state, self.report.reason)
        # Log last, so that no signal waits for a line of text. An action that fails by an error of
        # ptykill's own is made up for: a step by the next step, SIGKILL by the next round, and the
        # end by the watcher.
        for action in actions:
            try:
                self._do(action, now)
            except Exception as error:  # noqa: BLE001 - the caller, or the timer, can't help it
                self.fail(error)
        self.schedule.apply()
        if self.state is not before:
            if self.state is not State.SWEEPING:
                self.on_ending(self._machine.plan)
            self._events.changed(self.state, now, self.report, self.verdict)

    def look_again(self) -> None:
        """Have the session's task look whether what it waits for has happened already.

        Another task may have read the news of the containment; or it was lost: a forked child of
        the host shares the host's epoll, and may change it (epoll(7)).
        """
        if not self.over.is_set():
            self.shield.cancel()

    def fail(self, error: BaseException) -> None:
        """Record an error of ptykill's own, for the log and the verdict."""
        self.report.failure = self._events.failed(self.state, error)

    def note_exit(self) -> None:
        """Tell of the leader's exit, again if its status has become known."""
        self._events.exited(self.report.exit_status, self.state, self.report.reason)

    def cancel_deliveries(self) -> None:
        """Cancel the deliveries that are not done: their time is over."""
        for delivery in self.report.deliveries:
            delivery.cancel()

    def break_cycles(self) -> None:
        """Break reference cycles, so that an ended session is freed without the garbage collector.

        A collection that frees a thousand sessions holds the loop up for a tenth of a second. The
        record outlives the task, so it also must not hold the context variables of the caller who
        spawned the session: a request, say.
        """
        self._on_end, self.on_ending = _ignore, _ignore
        self.schedule.close()
        self.report.deliveries.clear()
        self._step = ()
        self.context = contextvars.Context()

    # --- the actions ------------------------------------------------------------------------------

    def _on_wake(self, now: float) -> None:
        """Do what is due, or has to be done before that; in the task of a timer."""
        if self.closed:
            return
        try:
            # In the context of the session's task: its log events have what was bound at the spawn.
            self.context.run(self._do_due if self.schedule.due <= now else self._do_before_due, now)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: the plan goes on
            self.schedule.put_off(now)
            self.fail(error)
        finally:
            self.schedule.woken()

    def _do_due(self, now: float) -> None:
        """Do what is due by the plan."""
        if self.state is State.STOPPING:
            if self._step_failed:
                self.handle(Event.DELIVERY_FAILED, now)
            else:
                expired = now >= self.schedule.grace_until
                self.handle(Event.GRACE_EXPIRED if expired else Event.STEP_DUE, now)
        elif self.state in (State.KILLING, State.STUCK):
            late = now >= self.schedule.kill_until
            self.handle(Event.KILL_BOUND_PASSED if late else Event.RETRY_DUE, now)
            self.look_again()  # SIGKILL works at once, so the news of an exit may have been lost.
        else:
            self.schedule.end()  # In the other states nothing is due.

    def _do_before_due(self, now: float) -> None:
        """Finish the last signal, and hand over the plan, before the next step is due."""
        self.containment.finish_signal()
        if self.state is State.STOPPING:
            machine, schedule = self._machine, self.schedule
            due, end = schedule.due - now, schedule.grace_until - now
            handover = Handover(machine.plan, self._leftovers, machine.begun, due, end)
            self.containment.hand_over(handover)
        self.schedule.set_next_wake_up(now)

    def _enter(self, now: float) -> None:
        """Set the times of a state that begins."""
        report, schedule = self.report, self.schedule
        if self.state is State.STOPPING:
            report.began = min(report.began, now)
            schedule.start_grace(self._machine.plan.grace, now)
        elif self.state is State.KILLING:
            report.began = min(report.began, now)
            report.kill_began = min(report.kill_began, now)
            schedule.start_kill(now)
            self.cancel_deliveries()
        elif self.state is State.STUCK:
            schedule.pass_kill_bound(now)
        elif self.state is State.ENDED:
            schedule.end()

    def _do(self, action: Action, now: float) -> None:
        match action:
            case Action.DELIVER:
                self._deliver(self._machine.step, now)
            case Action.KILL:
                self._kill(now)
            case Action.REPORT:
                self._events.stuck(self._publish(Outcome.STUCK))
            case Action.FINISH:
                self.finish()

    def _deliver(self, step: Step, now: float) -> None:
        """Deliver a step: at once if its signaller is a plain function, else in its own task.

        A signaller may be a user's code. One that is slow, or shields itself from cancellation,
        must not delay the plan.
        """
        self.cancel_deliveries()
        self._step = tuple(
            StepDelivery(
                self.session_id, self.containment, self.terminal, part, now, self._delivered
            )
            for part in step.parts
        )
        self._step_failed = False
        self.report.deliveries.extend(self._step)
        # Start the wait before the signaller's code runs, so that the plan goes on in any case.
        self.schedule.start_wait(step.wait, now)
        started = [(each, each.start(self._signaller)) for each in self._step]
        self.terminal.resume_output()  # Else a clean-up that writes would wait until SIGKILL.
        for delivery, waiting in started:
            if waiting is not None:
                self._start_soon(delivery.finish, waiting)

    def _delivered(self, delivery: StepDelivery) -> None:
        """Log a delivery that is done; make the next step due at once if this one has failed.

        A step fails when one of its deliveries does, unless another of them is under way or has
        reached a process.
        """
        self._events.delivered(self.state, delivery, self.report.began)
        if self.state is not State.STOPPING or delivery not in self._step:
            return
        failed = [each for each in self._step if each.error]
        if failed and all(each.in_vain for each in self._step):
            self._step_failed = True
            self.schedule.end_wait(trio.current_time())
            self.schedule.apply()

    def _kill(self, now: float) -> None:
        """Send SIGKILL to all members, and again soon."""
        if self.report.kills is None:
            self.report.kills = KillRounds(now)
        kills = self.report.kills
        try:
            kills.add(self.containment.kill())
        except Exception as error:  # noqa: BLE001 - there is another round
            self.fail(error)
            kills.failure = self.report.failure
        else:
            kills.failure = None
        finally:
            # Not from ``now``: finding many processes takes time.
            self.schedule.start_retry(trio.current_time())
        if len(kills.rounds) == 1:
            self._events.killed(self.state, kills, self.report.began)

    def finish(self) -> None:
        """Reap the leader and publish the last verdict."""
        report = self.report
        survivors: tuple[Survivor, ...] = ()
        self._finishes += 1
        try:
            survivors = () if report.empty else self.containment.survivors()
            report.exit_status = self.containment.reap() or report.exit_status
        except Exception as error:
            if self._finishes < _FINISHES:
                raise
            self.fail(error)
        else:
            report.failure = None
        outcome = report.outcome()
        self.note_exit()
        self.ended_at = time.time()
        self._events.ended(self._publish(outcome, survivors), self.ended_at)
        self.over.set()
        self._on_end()

    def _publish(self, outcome: Outcome, survivors: tuple[Survivor, ...] | None = None) -> Verdict:
        """Give the verdict to all callers that wait for it, and return it."""
        verdict = self.report.verdict(outcome, survivors, trio.current_time(), self.fail)
        self.verdict = verdict
        self._settled.set()
        return verdict


def _ignore(*_: object) -> None:
    """Do nothing: the session is over."""
