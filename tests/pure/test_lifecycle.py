"""The lifecycle machine: its table is total, and its rules hold for every sequence of events."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptykill import HANGUP_THEN_KILL, KILL_NOW, Leftovers, LifecycleError, Plan, Signal, Step
from ptykill.rules.lifecycle import TABLE, Action, Event, Machine, State

TWO_STEPS = Plan((Step(Signal("INT"), 1.0), Step(Signal("HUP"), 2.0)))

REFUSED = {
    State.RUNNING: {
        Event.STEP_DUE,
        Event.DELIVERY_FAILED,
        Event.GRACE_EXPIRED,
        Event.MEMBERS_FOUND,
        Event.SPARE_REQUESTED,
        Event.RETRY_DUE,
        Event.KILL_BOUND_PASSED,
        Event.SESSION_EMPTY,
    },
    State.SWEEPING: {
        Event.STEP_DUE,
        Event.DELIVERY_FAILED,
        Event.GRACE_EXPIRED,
        Event.LEADER_EXITED,
        Event.MEMBERS_FOUND,
        Event.RETRY_DUE,
        Event.KILL_BOUND_PASSED,
    },
    State.STOPPING: {
        Event.SPARE_REQUESTED,
        Event.RETRY_DUE,
        Event.END_BEGUN,
        Event.KILL_BOUND_PASSED,
    },
    State.KILLING: {
        Event.STEP_DUE,
        Event.DELIVERY_FAILED,
        Event.GRACE_EXPIRED,
        Event.SPARE_REQUESTED,
        Event.END_BEGUN,
    },
    State.STUCK: {
        Event.STEP_DUE,
        Event.DELIVERY_FAILED,
        Event.GRACE_EXPIRED,
        Event.SPARE_REQUESTED,
        Event.KILL_BOUND_PASSED,
        Event.END_BEGUN,
    },
    State.ENDED: set(Event) - {Event.STOP_REQUESTED, Event.KILL_REQUESTED},
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_state_and_event_is_a_row_or_a_named_refusal(state: State, event: Event) -> None:
    """The table and the list of refusals above divide all pairs between them."""
    assert (event in TABLE[state]) != (event in REFUSED[state])


@pytest.mark.parametrize("state", list(State))
def test_what_is_refused_raises_and_changes_nothing(state: State) -> None:
    """An impossible event raises `LifecycleError`, and the state stays."""
    for event in REFUSED[state] - {Event.MEMBERS_FOUND, Event.STEP_DUE, Event.DELIVERY_FAILED}:
        machine = Machine(HANGUP_THEN_KILL)
        machine.state = state
        with pytest.raises(LifecycleError):
            machine.handle(event)
        assert machine.state is state


def test_the_plan_is_walked_step_by_step_and_then_kills() -> None:
    """Each due step is delivered in its order; after the last comes SIGKILL."""
    machine = Machine(TWO_STEPS)
    assert machine.handle(Event.STOP_REQUESTED) == (Action.DELIVER,)
    assert machine.step == TWO_STEPS.steps[0]
    assert machine.handle(Event.STEP_DUE) == (Action.DELIVER,)
    assert machine.step == TWO_STEPS.steps[1]
    assert machine.handle(Event.STEP_DUE) == (Action.KILL,)
    assert machine.state is State.KILLING


def test_a_failed_delivery_escalates_to_the_next_step_and_from_the_last_to_kill() -> None:
    """After a failed delivery there is no wait."""
    machine = Machine(TWO_STEPS)
    machine.handle(Event.STOP_REQUESTED)
    assert machine.handle(Event.DELIVERY_FAILED) == (Action.DELIVER,)
    assert machine.handle(Event.DELIVERY_FAILED) == (Action.KILL,)


def test_a_plan_without_steps_kills_at_once() -> None:
    """A stop by a plan without steps is a kill."""
    assert Machine(KILL_NOW).handle(Event.STOP_REQUESTED) == (Action.KILL,)


@pytest.mark.parametrize(
    ("leftovers", "state", "actions"),
    [
        (Leftovers.HANGUP, State.STOPPING, (Action.DELIVER,)),
        (Leftovers.KILL, State.KILLING, (Action.KILL,)),
        (Leftovers.SPARE, State.ENDED, (Action.FINISH,)),
    ],
)
def test_leftovers_get_what_the_policy_names(
    leftovers: Leftovers, state: State, actions: tuple[Action, ...]
) -> None:
    """Members that outlive a leader which ended by itself are hung up, killed or spared."""
    machine = Machine(HANGUP_THEN_KILL, leftovers)
    machine.handle(Event.LEADER_EXITED)
    assert machine.handle(Event.MEMBERS_FOUND) == actions
    assert machine.state is state


def test_leftovers_of_a_leader_that_was_asked_to_end_are_never_spared() -> None:
    """The policy is for leaders that end by themselves."""
    machine = Machine(HANGUP_THEN_KILL, Leftovers.SPARE)
    machine.handle(Event.STOP_REQUESTED)
    machine.handle(Event.LEADER_EXITED)
    assert machine.handle(Event.MEMBERS_FOUND) == ()
    assert machine.state is State.STOPPING


def test_another_plan_can_be_chosen_until_one_has_begun() -> None:
    """The first request chooses the plan; later ones do not change it."""
    machine = Machine(HANGUP_THEN_KILL)
    machine.choose(KILL_NOW)
    assert machine.handle(Event.STOP_REQUESTED) == (Action.KILL,)
    with pytest.raises(LifecycleError):
        machine.choose(HANGUP_THEN_KILL)


def possible(machine: Machine) -> list[Event]:
    """Return the events that a driver may pass to this machine now."""
    return [
        event
        for event in Event
        if event in TABLE[machine.state]
        or (event is Event.MEMBERS_FOUND and machine.state is State.SWEEPING)
    ]


@given(
    data=st.data(),
    steps=st.integers(0, 3),
    leftovers=st.sampled_from(Leftovers),
)
def test_no_sequence_of_events_cancels_an_end(
    data: st.DataObject, steps: int, leftovers: Leftovers
) -> None:
    """After a request a session never runs again; once ended, it stays so; it finishes once."""
    plan = Plan(tuple(Step(Signal("HUP"), 1.0) for _ in range(steps)))
    machine = Machine(plan, leftovers)
    order = [State.RUNNING, State.SWEEPING, State.STOPPING, State.KILLING]
    finished = delivered = 0
    for _ in range(data.draw(st.integers(0, 12))):
        before = machine.state
        actions = machine.handle(data.draw(st.sampled_from(possible(machine))))
        finished += actions.count(Action.FINISH)
        delivered += actions.count(Action.DELIVER)
        if before in order and machine.state in order:
            assert order.index(machine.state) >= order.index(before)
        assert finished == (machine.state is State.ENDED)
        if before is State.ENDED:
            assert machine.state is State.ENDED
            assert actions == ()
    assert delivered <= steps
