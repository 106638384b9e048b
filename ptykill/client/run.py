"""One command in a session of its own, without a daemon, at the terminal one sits at."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Final, NoReturn

import trio

from ptykill.client import tty
from ptykill.client.telling import fail, say
from ptykill.errors import PtykillError, SessionEnded
from ptykill.output import Attachment
from ptykill.plan import KILL_NOW, Plan
from ptykill.session import Session
from ptykill.supervisor import open_supervisor
from ptykill.verdict import Verdict

__all__ = ["run"]

_FAILED: Final = 125
"""The exit status if it was not the command that failed, as with env(1), timeout(1), nohup(1)."""

_STATUSES: Final = {"COMMAND_NOT_FOUND": 127, "COMMAND_NOT_EXECUTABLE": 126}
"""Those of commands that could not be run, as a shell has them."""
_FAREWELL: Final = 1.0
"""Seconds that output may take once the session is over, if a signal has ended it."""
_END_OF_INPUT: Final = b"\x04"
"""VEOF, as every new terminal has it: at the start of a line a reader takes it for the end, and
elsewhere it sends off the line (termios(3))."""


def run(command: Sequence[str], plan: Plan, containment: str) -> NoReturn:
    """Run a command in a session, and exit as it does, once nothing of it is left."""
    try:
        ran = trio.run(_run, command, plan, containment)
    except PtykillError as error:
        fail(str(error), _STATUSES.get(error.code, _FAILED))
    verdict = ran.verdict
    assert verdict is not None
    if not verdict.empty:
        say(f"not all of it could be ended: {_survivors(verdict)}")
    if ran.signal is not None:
        tty.die_of(ran.signal)
    if not verdict.empty:
        sys.exit(_FAILED)
    if verdict.exit_status is None:
        fail("its exit status can't be known", _FAILED)
    sys.exit(verdict.exit_status.shell)


class _Ran:
    """What came of it: the verdict, and the signal that has asked this process to end, if any."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self.signal: int | None = None


async def _run(command: Sequence[str], plan: Plan, containment: str) -> _Ran:
    """Run a command in a session, until nothing of it is left or the plan has come to its end.

    What it leaves behind when it ends by itself gets the plan's grace. A signal to this process
    ends the session by the plan; a second one kills. Raises what spawning does.
    """
    ran = _Ran()
    with tty.signals() as received:
        async with open_supervisor(plan=plan, containment=containment) as supervisor:
            rows, cols = tty.window_size() or (24, 80)
            # What is piped in was not typed by anybody who would want to see it.
            session = await supervisor.spawn(command, rows=rows, cols=cols, echo=tty.is_terminal())
            relay = _Relay(session, ran)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay.heed, received, nursery)
                await relay.carry()
                # By now the terminal is as it was, for whatever is said of the rest.
                ran.verdict = await session.terminate()
                nursery.cancel_scope.cancel()
    return ran


def _survivors(verdict: Verdict) -> str:
    told = [
        f"pid {each.pid} ({each.name}, state {each.state}): {each.why}"
        for each in verdict.survivors
    ]
    return "; ".join(told) or "what is left of it could not be told"


class _Relay:
    """Carries bytes, sizes and signals between the terminal one sits at and a session's."""

    def __init__(self, session: Session, ran: _Ran) -> None:
        self._session = session
        self._ran = ran
        self._near: tty.Near | None = None
        self._scope = trio.CancelScope()

    async def heed(self, received: AsyncIterator[int], nursery: trio.Nursery) -> None:
        """Act upon signals, until nothing of the session is left."""
        async for number in received:
            if number in (signal.SIGWINCH, signal.SIGCONT):
                self._look_again(number)
            else:
                self._end(number, nursery)

    async def carry(self) -> None:
        """Carry input and output until the command is dead and all of its output is told."""
        # Held back for as long as it takes: what is piped on must not have gaps.
        with (
            self._session.attach(patience=math.inf) as output,
            tty.near() as self._near,
            self._scope,
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._type, self._near)
                await self._show(output, self._near, nursery)
                nursery.cancel_scope.cancel()
        self._near = None

    async def _show(self, output: Attachment, near: tty.Near, nursery: trio.Nursery) -> None:
        try:
            while data := await output.receive():
                await near.send(data)
        except BrokenPipeError:
            self._end(signal.SIGPIPE, nursery)
            await self._session.wait_exited()

    async def _type(self, near: tty.Near) -> None:
        """Type what comes in; and the end of it, where it is no terminal."""
        last = b"\n"
        try:
            while data := await near.receive():
                await self._session.send(data)
                last = data[-1:]
            if not near.interactive:
                await self._session.send(_END_OF_INPUT * (1 if last == b"\n" else 2))
        except SessionEnded:
            return

    def _look_again(self, number: int) -> None:
        if self._near is None:
            return
        if number == signal.SIGCONT:
            self._near.raw_again()  # The shell had the terminal while we were stopped.
        size = self._near.size()
        if size is not None:
            self._session.resize(*size)

    def _end(self, number: int, nursery: trio.Nursery) -> None:
        """End the session by its plan; or, the second time, at once."""
        if self._ran.signal is not None:
            self._session.request_end(plan=KILL_NOW)
            return
        self._ran.signal = number
        self._session.request_end()
        nursery.start_soon(self._give_up)

    async def _give_up(self) -> None:
        """Stop telling output that nobody reads, when all is over."""
        await self._session.settled()
        await trio.sleep(_FAREWELL)
        self._scope.cancel()
