"""The life of a session: every state, every event, every transition, in this one table.

The rules it is written by:

1. State follows facts. That a signal was sent changes nothing; an observed exit and an observed
   emptiness do.
2. A session is over when nothing of it is left, not when its leader has died. Whether the leader
   is dead is therefore no state, except in ``SWEEPING``, where it died before anyone asked.
3. Once ``STOPPING``, a session can only get nearer to its end: a later request may hurry it, none
   can call it back.
4. Every pair of state and event is either a row of `TABLE` or refused with `LifecycleError`.

It knows no clock, no pids, no I/O: a driver tells it events and does what it answers. Two events
are shorthand, replaced before the table is asked (`Machine.handle`): a step that is due, or that
failed, when the plan has no further one is ``GRACE_EXPIRED``; members found after the leader
ended by itself become what the leftovers policy says.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from ptykill.errors import LifecycleError
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.steps import Step

__all__ = ["TABLE", "Action", "Event", "Machine", "Row", "State"]


class State(enum.StrEnum):
    """Where a session is in its life."""

    RUNNING = "running"
    """The leader lives, and nobody has asked for the end."""
    SWEEPING = "sweeping"
    """The leader ended by itself; whether members are left is being looked for."""
    STOPPING = "stopping"
    """The polite steps of the plan, each with its wait."""
    KILLING = "killing"
    """SIGKILL to every member until none is left, within the kill bound."""
    STUCK = "stuck"
    """The kill bound has passed and something lives. It is watched, and killed now and then."""
    ENDED = "ended"
    """It is over."""


class Event(enum.StrEnum):
    """What a driver has seen or been asked."""

    STOP_REQUESTED = "stop requested"
    KILL_REQUESTED = "kill requested"
    STEP_DUE = "step due"
    """The wait of the current step is over."""
    DELIVERY_FAILED = "delivery failed"
    """The current step could not be delivered."""
    GRACE_EXPIRED = "grace expired"
    LEADER_EXITED = "leader exited"
    """Seen, not reaped: as a zombie it keeps the session's number from being used again."""
    MEMBERS_FOUND = "members found"
    """The leader has exited, and something else of the session lives."""
    SPARE_REQUESTED = "spare requested"
    RETRY_DUE = "retry due"
    """A while has passed since the last SIGKILL, and the session is not empty."""
    KILL_BOUND_PASSED = "kill bound passed"
    SESSION_EMPTY = "session empty"


class Action(enum.StrEnum):
    """What a driver has to do, in the order given."""

    DELIVER = "deliver the step"
    """Deliver `Machine.step` and start its wait."""
    KILL = "kill"
    """SIGKILL to every member."""
    REPORT = "report"
    """Publish a verdict that names the survivors, and keep watching."""
    FINISH = "finish"
    """Reap the leader, publish the verdict, give everything back."""


class Row(NamedTuple):
    """What follows a state and an event."""

    to: State
    actions: tuple[Action, ...] = ()


_S, _E, _A = State, Event, Action

TABLE: dict[State, dict[Event, Row]] = {
    State.RUNNING: {
        _E.STOP_REQUESTED: Row(_S.STOPPING, (_A.DELIVER,)),
        _E.KILL_REQUESTED: Row(_S.KILLING, (_A.KILL,)),
        _E.LEADER_EXITED: Row(_S.SWEEPING),
    },
    State.SWEEPING: {
        _E.STOP_REQUESTED: Row(_S.STOPPING, (_A.DELIVER,)),
        _E.KILL_REQUESTED: Row(_S.KILLING, (_A.KILL,)),
        _E.SPARE_REQUESTED: Row(_S.ENDED, (_A.FINISH,)),
        _E.SESSION_EMPTY: Row(_S.ENDED, (_A.FINISH,)),
    },
    State.STOPPING: {
        _E.STOP_REQUESTED: Row(_S.STOPPING),
        _E.KILL_REQUESTED: Row(_S.KILLING, (_A.KILL,)),
        _E.STEP_DUE: Row(_S.STOPPING, (_A.DELIVER,)),
        _E.DELIVERY_FAILED: Row(_S.STOPPING, (_A.DELIVER,)),
        _E.GRACE_EXPIRED: Row(_S.KILLING, (_A.KILL,)),
        _E.LEADER_EXITED: Row(_S.STOPPING),
        _E.MEMBERS_FOUND: Row(_S.STOPPING),
        _E.SESSION_EMPTY: Row(_S.ENDED, (_A.FINISH,)),
    },
    State.KILLING: {
        _E.STOP_REQUESTED: Row(_S.KILLING),
        _E.KILL_REQUESTED: Row(_S.KILLING),
        _E.LEADER_EXITED: Row(_S.KILLING),
        _E.MEMBERS_FOUND: Row(_S.KILLING, (_A.KILL,)),
        _E.RETRY_DUE: Row(_S.KILLING, (_A.KILL,)),
        _E.KILL_BOUND_PASSED: Row(_S.STUCK, (_A.REPORT,)),
        _E.SESSION_EMPTY: Row(_S.ENDED, (_A.FINISH,)),
    },
    State.STUCK: {
        _E.STOP_REQUESTED: Row(_S.KILLING, (_A.KILL,)),
        _E.KILL_REQUESTED: Row(_S.KILLING, (_A.KILL,)),
        _E.LEADER_EXITED: Row(_S.STUCK),
        _E.MEMBERS_FOUND: Row(_S.STUCK, (_A.KILL,)),
        _E.RETRY_DUE: Row(_S.STUCK, (_A.KILL,)),
        _E.SESSION_EMPTY: Row(_S.ENDED, (_A.FINISH,)),
    },
    State.ENDED: {
        _E.STOP_REQUESTED: Row(_S.ENDED),
        _E.KILL_REQUESTED: Row(_S.ENDED),
    },
}

_LEFTOVERS = {
    Leftovers.HANGUP: Event.STOP_REQUESTED,
    Leftovers.KILL: Event.KILL_REQUESTED,
    Leftovers.SPARE: Event.SPARE_REQUESTED,
}


class Machine:
    """One session's place in the table, and in its plan.

    ``state`` is where it is; ``step`` the step that `Action.DELIVER` means.
    """

    __slots__ = ("_leftovers", "_next", "plan", "state")

    def __init__(self, plan: Plan, leftovers: Leftovers = Leftovers.HANGUP) -> None:
        self.state: State = State.RUNNING
        self.plan: Plan = plan
        self._leftovers = leftovers
        self._next = 0

    @property
    def step(self) -> Step:
        """The step of the plan that was last called for."""
        return self.plan.steps[self._next - 1]

    @property
    def begun(self) -> int:
        """How many steps of the plan have been called for."""
        return self._next

    def choose(self, plan: Plan) -> None:
        """Take another plan, which is possible until the first one has begun."""
        if self.state not in (State.RUNNING, State.SWEEPING):
            msg = f"the plan has begun: the session is {self.state.value}"
            raise LifecycleError(msg)
        self.plan = plan

    def handle(self, event: Event) -> tuple[Action, ...]:
        """Take an event and return what is to be done, in order. Raises `LifecycleError`."""
        if event is Event.MEMBERS_FOUND and self.state is State.SWEEPING:
            event = _LEFTOVERS[self._leftovers]
        if self._next == len(self.plan.steps):
            if event in (Event.STEP_DUE, Event.DELIVERY_FAILED):
                event = Event.GRACE_EXPIRED
            elif event is Event.STOP_REQUESTED and self._next == 0:
                event = Event.KILL_REQUESTED
        row = TABLE[self.state].get(event)
        if row is None:
            msg = f"{event.value!r} can't happen to a session that is {self.state.value}"
            raise LifecycleError(msg)
        self.state = row.to
        if Action.DELIVER in row.actions:
            self._next += 1
        return row.actions
