"""Plans: their arithmetic, their text, and the errors that point at a place in the text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptykill import (
    ASK_FIRST,
    HANGUP_THEN_KILL,
    KILL_NOW,
    HangUp,
    InvalidArgument,
    InvalidGrace,
    Plan,
    PlanError,
    Reach,
    Signal,
    Step,
    Typed,
)
from ptykill.rules.validate import LONGEST_WAIT

waits = st.floats(0, 1000, allow_nan=False) | st.integers(0, 1000).map(float)
deliveries = st.one_of(
    st.tuples(
        st.sampled_from(["HUP", "TERM", "INT", "QUIT", "USR1", "KILL"]).map(Signal),
        st.sampled_from(Reach),
    ),
    # Typing and hanging up concern the whole terminal: a reach has no meaning there.
    st.tuples(
        st.just(HangUp()) | st.binary(min_size=1, max_size=20).map(Typed), st.just(Reach.SESSION)
    ),
)
steps = st.builds(
    lambda first, wait, also: Step(first[0], wait, first[1], tuple(also)),
    deliveries,
    waits,
    st.lists(deliveries, max_size=2),
)
plans = st.builds(Plan, st.lists(steps, max_size=4).map(tuple), waits)


@given(plans)
def test_a_plan_survives_its_text(plan: Plan) -> None:
    """The text of a plan is parsed to the same plan."""
    assert Plan.parse(str(plan)) == plan


@given(plans, st.floats(0, 5000, allow_nan=False))
def test_with_grace_sets_the_time_of_sigkill(plan: Plan, grace: float) -> None:
    """SIGKILL is due after exactly that grace, with any steps, and no step is added."""
    changed = plan.with_grace(grace)
    assert len(changed.steps) <= len(plan.steps)
    assert [step.what for step in changed.steps] == [
        s.what for s in plan.steps[: len(changed.steps)]
    ]
    expected = grace if plan.steps else 0.0
    assert math.isclose(changed.grace, expected, rel_tol=1e-9, abs_tol=1e-9)
    assert changed.kill_bound == plan.kill_bound


@given(st.text(max_size=40))
def test_any_text_is_a_plan_or_a_plan_error(text: str) -> None:
    """Any text gives a plan, or an error that points into the text."""
    try:
        plan = Plan.parse(text)
    except PlanError as refusal:
        error = refusal
    else:
        assert Plan.parse(str(plan)) == plan
        return
    assert 0 <= error.position <= len(text)
    assert error.code == "INVALID_PLAN"


@given(steps)
def test_the_parts_of_a_step_are_what_it_delivers(step: Step) -> None:
    """One step for each delivery, in order, with the whole wait and nothing beside it."""
    assert [(part.what, part.reach) for part in step.parts] == [
        (step.what, step.reach),
        *step.also,
    ]
    assert all(part.wait == step.wait and not part.also for part in step.parts)
    assert step.delivery == " + ".join(part.delivery for part in step.parts)


@given(st.text('HUPKILTERM@session,.+ 0123456789ms"^C\\x', max_size=40))
def test_near_plans_too(text: str) -> None:
    """The same for texts that look like plans."""
    test_any_text_is_a_plan_or_a_plan_error.hypothesis.inner_test(text)  # type: ignore[attr-defined]


def test_the_examples_of_the_documentation_are_parsed_as_described() -> None:
    """Every form of a step, written by hand."""
    assert Plan.parse("HUP@session + TERM@escaped 2s, KILL") == HANGUP_THEN_KILL
    assert Plan.parse("kill") == KILL_NOW
    assert Plan.parse('"^C" 500ms, "^D" .5s, sighup + term@escaped 2s, KILL 3s') == ASK_FIRST
    assert Plan.parse('"q"+hangup +TERM@escaped 1s, KILL').steps == (
        Step(
            Typed(b"q"),
            1.0,
            also=((HangUp(), Reach.SESSION), (Signal("TERM"), Reach.ESCAPED)),
        ),
    )
    assert Plan.parse("hangup 1s,TERM@all 1m,KILL@leader 1s, KILL 0s") == Plan(
        (
            Step(HangUp(), 1.0),
            Step(Signal("TERM"), 60.0, Reach.ALL),
            Step(Signal("KILL"), 1.0, Reach.LEADER),
        ),
        kill_bound=0.0,
    )
    assert Plan.parse(r'"exit\n\x00\^\"" 1s, KILL').steps[0].what == Typed(b'exit\n\x00^"')


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("HUP 2s", 6),
        ("HUP 2s,", 7),
        ("HUP, KILL", 3),
        ("HUP 2, KILL", 5),
        ("HUP nan, KILL", 4),
        ("HUP -1s, KILL", 4),
        ("HUP 1e9s, KILL", 4),
        ("HOP 2s, KILL", 0),
        ("HUP@everybody 2s, KILL", 4),
        ("HUP 2s KILL", 7),
        ("KILL 2s, HUP 1s", 7),
        ('"^C 2s, KILL', 12),
        (r'"\q" 2s, KILL', 1),
        ('"" 2s, KILL', 0),
        ("80000s, KILL", 0),
        ("HUP 80000s, HUP 80000s, KILL", 12),
        ("HUP + 2s, KILL", 6),
        ("HUP + TERM, KILL", 10),
        ("HUP 2s + TERM 2s, KILL", 7),
        ("HUP + KILL 2s", 6),
        ("KILL + HUP 2s", 5),
    ],
)
def test_an_error_points_at_the_place(text: str, position: int) -> None:
    """The position is that of the first character that can't be taken, and is shown."""
    with pytest.raises(PlanError) as caught:
        Plan.parse(text)
    assert caught.value.position == position
    assert str(caught.value).splitlines()[-1].index("^") == position + 2


@pytest.mark.parametrize(
    "grace", [-1, -0.001, math.nan, math.inf, LONGEST_WAIT * 1.001, "1", None, True]
)
def test_a_grace_that_is_no_grace_is_refused(grace: object) -> None:
    """Negative, not a number, infinite, huge, text, None: all the same error."""
    with pytest.raises(InvalidGrace):
        HANGUP_THEN_KILL.with_grace(grace)  # type: ignore[arg-type]
    with pytest.raises(InvalidGrace):
        Step(Signal("HUP"), grace)  # type: ignore[arg-type]


def test_invalid_steps_are_refused() -> None:
    """Unknown signals, an empty text to type, and values that are not steps."""
    for make in (
        lambda: Signal("NOPE"),
        lambda: Signal(9),  # type: ignore[arg-type]
        lambda: Typed(b""),
        lambda: Typed("text"),  # type: ignore[arg-type]
        lambda: Step("HUP", 1.0),  # type: ignore[arg-type]
        lambda: Step(Signal("HUP"), 1.0, also=(Signal("TERM"),)),  # type: ignore[arg-type]
        lambda: Step(Signal("HUP"), 1.0, also=(("TERM", Reach.ALL),)),  # type: ignore[arg-type]
        lambda: Step(Signal("HUP"), 1.0, also=((Signal("TERM"), "all"),)),  # type: ignore[arg-type]
        lambda: Step(Signal("HUP"), 1.0, also=3),  # type: ignore[arg-type]
        lambda: Plan(("HUP",)),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidArgument):
            make()


def test_the_defaults_stay_below_a_clients_time_out() -> None:
    """The public Python client gives up on a DELETE after 10 s."""
    assert HANGUP_THEN_KILL.longest <= 6
    assert HANGUP_THEN_KILL.grace == 2
    assert ASK_FIRST.grace == 3
