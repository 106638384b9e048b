"""Deliver the steps of a plan: the signallers that come with ptykill.

There is one class for each way of delivering. `StandardSignaller` takes the way that the step
names. Each uses only the `Target`, as a user's own signaller would:

>>> class Announced(StandardSignaller):
...     def deliver(self, target, step):
...         print(f"{step.delivery} to session {target.session_id}")
...         return super().deliver(target, step)
"""

from __future__ import annotations

from collections.abc import Awaitable

from ptykill.errors import InvalidArgument
from ptykill.rules.protocols import Signaller, Target
from ptykill.rules.steps import HangUp, Signal, Step, Typed

__all__ = ["HangUpSignaller", "KernelSignaller", "StandardSignaller", "TypingSignaller"]


class KernelSignaller:
    """Sends the step's signal to the processes that its reach names, as kill(2), without races."""

    def deliver(self, target: Target, step: Step) -> None:
        """Signal at once. Raises `DeliveryRefused` if the kernel refuses it for every process."""
        if not isinstance(step.what, Signal):
            msg = f"{step.what} is not a signal"
            raise InvalidArgument(msg)
        target.signal(step.what.name, step.reach)


class HangUpSignaller:
    """Closes the terminal, for any step.

    The kernel then sends SIGHUP and SIGCONT to the session leader (Linux __tty_hangup; its death
    passes SIGHUP on to the foreground process group), and every later read and write of the
    terminal fails.
    """

    def deliver(self, target: Target, step: Step) -> None:
        """Hang up at once."""
        del step
        target.hang_up()


class TypingSignaller:
    """Types the step's bytes: Ctrl-C, Ctrl-D, ``exit``."""

    async def deliver(self, target: Target, step: Step) -> None:
        """Type, waiting while the program does not read."""
        if not isinstance(step.what, Typed):
            msg = f"{step.what} can't be typed"
            raise InvalidArgument(msg)
        await target.type_in(step.what.data)


class StandardSignaller:
    """The default: delivers each step by the signaller for its kind."""

    def __init__(self) -> None:
        """Make the three signallers above."""
        self._ways: dict[type, Signaller] = {
            Signal: KernelSignaller(),
            HangUp: HangUpSignaller(),
            Typed: TypingSignaller(),
        }

    def deliver(self, target: Target, step: Step) -> Awaitable[None] | None:
        """Deliver a step by the signaller for its kind."""
        return self._ways[type(step.what)].deliver(target, step)
