"""Delivers one step of a plan, and records the result; also the rounds of SIGKILL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from operator import attrgetter

import trio

from ptykill.errors import DeliveryRefused
from ptykill.rules.protocols import Containment, Signalled, Signaller, Terminal
from ptykill.rules.steps import Reach, Step
from ptykill.rules.verdict import Delivery

__all__ = ["KillRounds", "StepDelivery"]

_ROUNDS = 16
"""Rounds of SIGKILL that are recorded one by one: a stuck session may get very many."""
_UNFINISHED = "not finished when its time was over"
_reached = attrgetter("reached")
_refused = attrgetter("refused")


class StepDelivery:
    """Delivers one step, and is the `Target` that the signaller is called with.

    ``error`` is the reason why it failed, None if it did not. ``on_done`` is called at its end.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        session_id: str,
        containment: Containment,
        terminal: Terminal,
        step: Step,
        now: float,
        on_done: Callable[[StepDelivery], None],
    ) -> None:
        self.session_id: str = session_id
        self.pid: int = containment.pid
        self.step: Step = step
        self.error: str | None = None
        self._containment = containment
        self._terminal = terminal
        self._on_done = on_done
        self._began = now
        self._took: float | None = None
        self._signalled: list[Signalled] = []
        self._scope: trio.CancelScope | None = None

    # --- as the driver sees it --------------------------------------------------------------------

    def start(self, signaller: Signaller) -> Awaitable[None] | None:
        """Call the signaller; return its awaitable for `finish`, None if the delivery is done."""
        try:
            waiting = signaller.deliver(self, self.step)
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
        """Await the signaller, until it returns or raises, or until `cancel`."""
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

    def cancel(self) -> None:
        """Cancel the delivery if it is not done: its time is over."""
        if self._took is None and self._scope is not None:
            self.error = _UNFINISHED
            self._scope.cancel()

    @property
    def in_vain(self) -> bool:
        """Whether it is done, and has failed or signalled no process."""
        if self._took is None or self.error is not None:
            return self._took is not None
        if not self._signalled:
            return False  # It typed or hung up, or the signaller has its own way to deliver.
        # Some may not have been signalled yet, since the leader goes first.
        self._containment.finish_signal()
        return not _union(_reached, self._signalled)

    def record(self, teardown_began: float) -> Delivery:
        """Return the record of this delivery so far, for the verdict."""
        return Delivery(
            what=self.step.delivery,
            at=self._began - teardown_began,
            took=trio.current_time() - self._began if self._took is None else self._took,
            reached=len(_union(_reached, self._signalled)),
            refused=tuple(sorted(_union(_refused, self._signalled))),
            error=self.error,
        )

    def _end(self, failure: BaseException | None) -> None:
        if failure is not None:
            self.error = f"{type(failure).__name__}: {failure}"
        self._took = trio.current_time() - self._began
        self._on_done(self)

    # --- as the signaller sees it -----------------------------------------------------------------

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal by its name. Raises `DeliveryRefused` if it was refused for all."""
        signalled = self._containment.signal(name, reach)
        self._signalled.append(signalled)
        if signalled.refused and not signalled.reached:
            pids = ", ".join(map(str, sorted(signalled.refused)))
            msg = f"not permitted to send {name} to {pids}"
            raise DeliveryRefused(msg)
        return signalled

    def hang_up(self) -> None:
        """Close the terminal."""
        if self._terminal.direct:
            # The caller's master keeps the kernel from doing it: send what it sends.
            for reach in Reach.LEADER, Reach.FOREGROUND:
                self.signal("HUP", reach)
        else:
            self._terminal.hang_up()

    async def type_in(self, data: bytes) -> None:
        """Type into the terminal."""
        await self._terminal.send_all(data)


class KillRounds:
    """The rounds of SIGKILL of one teardown, which the verdict shows as one delivery."""

    def __init__(self, began: float) -> None:
        self.rounds: list[Signalled] = []
        self.failure: str | None = None
        """Why the last round failed, if it did."""
        self._began = began

    def add(self, signalled: Signalled) -> None:
        """Add a round. Of the oldest of very many, only the processes reached are kept."""
        self.rounds.append(signalled)
        if len(self.rounds) > _ROUNDS:
            self.rounds[0].reached |= self.rounds.pop(1).reached

    def record(self, teardown_began: float) -> Delivery:
        """Return the processes reached in any round, and those refused in the last one."""
        return Delivery(
            what=f"KILL@{Reach.ALL}",
            at=self._began - teardown_began,
            error=self.failure,
            reached=len(_union(_reached, self.rounds)),
            refused=tuple(sorted(self.rounds[-1].refused)) if self.rounds else (),
        )


def _union(pids: Callable[[Signalled], set[int]], signalled: list[Signalled]) -> set[int]:
    """Return the pids that any of these signals reached, or for which any was refused."""
    return pids(signalled[0]) if len(signalled) == 1 else set().union(*map(pids, signalled))
