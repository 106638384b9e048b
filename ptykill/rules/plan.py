"""Plans: how a session is ended, step by step, and SIGKILL after the last step.

A plan is data: names of signals, reaches and seconds. The signaller makes the deliveries, and the
session's driver decides when. `ptykill.rules.plan_text` describes a plan's text.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math

from ptykill.errors import InvalidArgument
from ptykill.rules import validate
from ptykill.rules.plan_text import read_plan
from ptykill.rules.steps import Reach, Signal, Step, Typed, seconds_text

__all__ = ["ASK_FIRST", "HANGUP_THEN_KILL", "KILL_NOW", "Leftovers", "Plan"]


class Leftovers(enum.StrEnum):
    """What to do with members that outlive a leader which ended by itself."""

    HANGUP = "hangup"
    """End them by the plan, as if the session had been terminated at that moment."""
    KILL = "kill"
    """Send SIGKILL at once."""
    SPARE = "spare"
    """Record them in the verdict, and let them run: for those who use ``nohup`` on purpose."""

    @classmethod
    def _missing_(cls, value: object) -> Leftovers:
        known = ", ".join(each.value for each in cls)
        msg = f"leftovers are one of {known}, not {value!r}"
        raise InvalidArgument(msg)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """An escalation: polite steps in their order, then SIGKILL until empty, bounded.

    ``Plan(())`` kills at once.
    """

    steps: tuple[Step, ...]
    """The polite steps."""
    kill_bound: float = 3.0
    """Seconds within which the kill has to succeed; after that the verdict reports the
    survivors."""
    grace: float = dataclasses.field(init=False, repr=False, compare=False)
    """The longest wait (seconds) between the first polite step and SIGKILL."""

    def __post_init__(self) -> None:
        try:
            steps = tuple(
                validate.instance("each step of a plan", each, Step) for each in self.steps
            )
        except TypeError:
            msg = f"the steps of a plan are a tuple of Step objects, not {self.steps!r}"
            raise InvalidArgument(msg) from None
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "kill_bound", validate.grace(self.kill_bound, "a kill bound"))
        grace = validate.grace(
            math.fsum(step.wait for step in steps), "the sum of the waits of all steps"
        )
        object.__setattr__(self, "grace", grace)

    @property
    def longest(self) -> float:
        """The longest (seconds) a teardown by this plan can take."""
        return self.grace + self.kill_bound

    def with_grace(self, grace: float) -> Plan:
        """Return this plan with SIGKILL due ``grace`` seconds after its start.

        Steps that would begin later are dropped, and the last of the others waits until then. A
        plan without steps does not change. Raises `InvalidGrace`.
        """
        checked = validate.grace(grace)
        return self if checked == self.grace else _with_grace(self, checked)

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Read a plan from its text. Raises `PlanError`, which points at the place."""
        steps, bound = read_plan(text)
        return cls(steps) if bound is None else cls(steps, bound)

    @classmethod
    def of(cls, value: Plan | str) -> Plan:
        """Return a plan from a plan or its text: every ``plan`` argument goes through this.

        Raises `PlanError` for a text, and `InvalidArgument` for anything else.
        """
        if isinstance(value, Plan):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        msg = f"a plan is a Plan or its text, such as 'HUP@session 2s, KILL', not {value!r}"
        raise InvalidArgument(msg)

    def __repr__(self) -> str:
        return f"Plan.parse({str(self)!r})"

    def __str__(self) -> str:
        return ", ".join([*map(str, self.steps), f"KILL {seconds_text(self.kill_bound)}"])


@functools.lru_cache(maxsize=64)  # A host passes the same grace over and over.
def _with_grace(plan: Plan, grace: float) -> Plan:
    steps: list[Step] = []
    begins = 0.0
    for step in plan.steps:
        if begins >= grace:
            break
        steps.append(dataclasses.replace(step, wait=min(step.wait, grace - begins)))
        begins += step.wait
    if steps and begins < grace:
        last = steps[-1]
        steps[-1] = dataclasses.replace(last, wait=last.wait + grace - begins)
    return dataclasses.replace(plan, steps=tuple(steps))


_HANG_UP = Step(Signal("HUP"), 2.0, also=((Signal("TERM"), Reach.ESCAPED),))

HANGUP_THEN_KILL = Plan((_HANG_UP,))
"""The default plan: SIGHUP to the whole session and, at the same moment, SIGTERM to members that
have left it, since daemons expect that; two seconds of grace; SIGKILL to all."""

KILL_NOW = Plan(())
"""A plan that sends SIGKILL at once."""

ASK_FIRST = Plan(
    (Step(Typed(b"\x03"), 0.5), Step(Typed(b"\x04"), 0.5), _HANG_UP),
)
"""A plan that types Ctrl-C and Ctrl-D, as a person would, and then follows the default."""
