"""The signallers that come with ptykill.

One class for each way of delivering, and `StandardSignaller`, which takes the way that the step
names. Each is written against `Target` alone, as a user's own would be::

    class Shout(StandardSignaller):
        async def deliver(self, target: Target, step: Step) -> None:
            print(f"{step.delivery} to {target.pid}")
            await super().deliver(target, step)
"""

from __future__ import annotations

from ptykill.contract import Target
from ptykill.errors import InvalidArgument
from ptykill.plan import HangUp, Signal, Step, Typed

__all__ = ["HangUpSignaller", "KernelSignaller", "StandardSignaller", "TypingSignaller"]


class KernelSignaller:
    """Sends the step's signal to those that its reach names: kill(2), race-free."""

    async def deliver(self, target: Target, step: Step) -> None:
        """Signal at once. Raises `DeliveryRefused` if the kernel refuses it for everybody."""
        if not isinstance(step.what, Signal):
            msg = f"{step.what} is no signal"
            raise InvalidArgument(msg)
        target.signal(step.what.name, step.reach)


class HangUpSignaller:
    """Closes the terminal, whatever the step says.

    The kernel then sends SIGHUP and SIGCONT to the leader and to the foreground process group
    (Linux tty_vhangup), and every read and write of the terminal fails.
    """

    async def deliver(self, target: Target, step: Step) -> None:
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
    """The default: each step in the way that it names."""

    _ways = {Signal: KernelSignaller(), HangUp: HangUpSignaller(), Typed: TypingSignaller()}

    async def deliver(self, target: Target, step: Step) -> None:
        """Deliver by the signaller that fits the step."""
        await self._ways[type(step.what)].deliver(target, step)
