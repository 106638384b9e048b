"""The lifecycle of a session: one table of every state, event and transition.

The table follows these rules:

1. Only observations change the state: an exit that was seen, an emptiness that was seen. A signal
   that was sent changes nothing.
2. A session is over when no process of it is left, not when its leader has died. So the leader's
   death is not a state of its own, except in ``SWEEPING``, where no end had been requested.
3. From ``STOPPING`` on, a session only gets closer to its end. A later request may make the end
   come earlier; none cancels it.
4. Every pair of state and event is either a row of `TABLE` or refused with `LifecycleError`.

This module has no clock, pids or I/O. A driver passes events to a `Machine`, and carries out the
actions that it returns. `Machine.handle` replaces two events before it looks them up: a step that
is due, or that failed, becomes ``GRACE_EXPIRED`` if the plan has no further step; and members that
are found after the leader ended by itself become the event that the leftovers policy names.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from ptykill.errors import LifecycleError
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.steps import Step

__all__ = ["TABLE", "Action", "Event", "Machine", "Row", "State"]


class State(enum.StrEnum):
    """The state of a session."""

    RUNNING = "running"
    """The leader lives, and no end was requested."""
    SWEEPING = "sweeping"
    """The leader ended by itself; the containment looks for members that are left."""
    STOPPING = "stopping"
    """The steps of the plan are delivered, each with its wait."""
    KILLING = "killing"
    """SIGKILL is sent to every member until none is left, within the kill bound."""
    STUCK = "stuck"
    """The kill bound has passed, and members live. They are watched, and get SIGKILL now and then.
    """
    ENDED = "ended"
    """The session is over."""


class Event(enum.StrEnum):
    """An observation of the driver, or a request to it."""

    STOP_REQUESTED = "stop requested"
    KILL_REQUESTED = "kill requested"
    STEP_DUE = "step due"
    """The wait of the current step is over."""
    DELIVERY_FAILED = "delivery failed"
    """The current step could not be delivered."""
    GRACE_EXPIRED = "grace expired"
    LEADER_EXITED = "leader exited"
    """It is not reaped yet: as a zombie it keeps the kernel from reusing the session's number."""
    MEMBERS_FOUND = "members found"
    """The leader has exited, and other members of the session live."""
    SPARE_REQUESTED = "spare requested"
    RETRY_DUE = "retry due"
    """The pause since the last SIGKILL is over, and the session is not empty."""
    END_BEGUN = "end begun"
    """The session's keeper has begun to end it, because the host had missed a deadline."""
    KILL_BOUND_PASSED = "kill bound passed"
    SESSION_EMPTY = "session empty"


class Action(enum.StrEnum):
    """What the driver has to do."""

    DELIVER = "deliver the step"
    """Deliver `Machine.step` and start its wait."""
    KILL = "kill"
    """Send SIGKILL to every member."""
    REPORT = "report"
    """Publish a verdict that names the survivors, and keep watching."""
    FINISH = "finish"
    """Reap the leader, publish the verdict, and close what the session holds."""


class Row(NamedTuple):
    """The next state, and the actions, for a state and an event."""

    to: State
    actions: tuple[Action, ...] = ()


_S, _E, _A = State, Event, Action

TABLE: dict[State, dict[Event, Row]] = {
    State.RUNNING: {
        _E.STOP_REQUESTED: Row(_S.STOPPING, (_A.DELIVER,)),
        _E.KILL_REQUESTED: Row(_S.KILLING, (_A.KILL,)),
        _E.END_BEGUN: Row(_S.STOPPING),
        _E.LEADER_EXITED: Row(_S.SWEEPING),
    },
    State.SWEEPING: {
        _E.STOP_REQUESTED: Row(_S.STOPPING, (_A.DELIVER,)),
        _E.KILL_REQUESTED: Row(_S.KILLING, (_A.KILL,)),
        _E.SPARE_REQUESTED: Row(_S.ENDED, (_A.FINISH,)),
        _E.END_BEGUN: Row(_S.STOPPING),
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
    """Applies the table to one session, and counts the steps of its plan.

    ``state`` is the session's state; ``step`` is the step that `Action.DELIVER` means.
    """

    __slots__ = ("_leftovers", "_next", "plan", "state")

    def __init__(self, plan: Plan, leftovers: Leftovers = Leftovers.HANGUP) -> None:
        self.state: State = State.RUNNING
        self.plan: Plan = plan
        self._leftovers = leftovers
        self._next = 0

    @property
    def step(self) -> Step:
        """The step of the plan that the last `Action.DELIVER` asked for."""
        return self.plan.steps[self._next - 1]

    @property
    def begun(self) -> int:
        """How many steps of the plan have begun."""
        return self._next

    def choose(self, plan: Plan) -> None:
        """Replace the plan. Raises `LifecycleError` if the first one has begun."""
        if self.state not in (State.RUNNING, State.SWEEPING):
            msg = f"the plan has begun: the session is {self.state.value}"
            raise LifecycleError(msg)
        self.plan = plan

    def handle(self, event: Event) -> tuple[Action, ...]:
        """Apply an event, and return the actions for it, in order. Raises `LifecycleError`."""
        if event is Event.MEMBERS_FOUND and self.state is State.SWEEPING:
            event = _LEFTOVERS[self._leftovers]
        if event is Event.END_BEGUN:
            self._next = len(self.plan.steps)  # The keeper delivers them.
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
