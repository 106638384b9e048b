"""One command in a session of its own, without a daemon, at the terminal one sits at."""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from typing import Final, NoReturn, Self

import trio

from ptykill.cli.client import tty
from ptykill.cli.client.telling import fail, say
from ptykill.cli.client.traffic import read_some, reason, write_all
from ptykill.engine.output import Attachment
from ptykill.engine.session import Session
from ptykill.engine.supervisor import open_supervisor
from ptykill.errors import PtykillError, SessionEnded
from ptykill.rules.plan import KILL_NOW, Plan
from ptykill.rules.verdict import Verdict

__all__ = ["run"]

_FAILED: Final = 125
"""The exit status if it was not the command that failed, as with env(1), timeout(1), nohup(1)."""

_STATUSES: Final = {"COMMAND_NOT_FOUND": 127, "COMMAND_NOT_EXECUTABLE": 126}
"""Those of commands that could not be run, as a shell has them."""
_FAREWELL: Final = 1.0
"""Seconds that output may take once the session is over, if its end was asked for."""
_AT_ONCE: Final = 0.5
"""Seconds within which two signals may be one wish."""


def run(command: Sequence[str], plan: Plan, containment: str, *, no_input: bool) -> NoReturn:
    """Run a command in a session, and exit as it does, once nothing of it is left.

    With ``no_input`` standard input is not read.
    """
    try:
        ran = trio.run(_run, command, plan, containment, no_input)
    except PtykillError as error:
        fail(str(error), _STATUSES.get(error.code, _FAILED))
    verdict = ran.verdict
    assert verdict is not None
    if not verdict.empty:
        say(f"not all of it could be ended: {_survivors(verdict)}")
    if ran.failure is not None:
        say(ran.failure)
    if ran.signal is not None:
        tty.die_of(ran.signal)
    if ran.failure is not None or not verdict.empty:
        sys.exit(_FAILED)
    if verdict.exit_status is None:
        fail("its exit status can't be known", _FAILED)
    sys.exit(verdict.exit_status.shell_code)


class _Ran:
    """What came of it: the verdict, and what has ended the session, if it was not the command.

    ``signal`` is what this process is to die of; ``failure`` what was wrong with its standard input
    or output.
    """

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self.signal: int | None = None
        self.failure: str | None = None


async def _run(command: Sequence[str], plan: Plan, containment: str, no_input: bool) -> _Ran:  # noqa: FBT001 - trio.run takes no keywords
    """Run a command in a session, until nothing of it is left or the plan has come to its end.

    What it leaves behind when it ends by itself gets the plan's grace. A signal to this process
    ends the session by the plan; a second one kills. Raises what spawning does.
    """
    ran = _Ran()
    with tty.signals() as received, _Input(no_input=no_input) as given:
        async with open_supervisor(plan=plan, containment=containment) as supervisor:
            rows, cols = tty.window_size() or (24, 80)
            session = await supervisor.spawn(
                command,
                # All of it: the terminal that the command is shown on is the one it tells of.
                env=os.environ,
                rows=rows,
                cols=cols,
                stdin=given.fd,
            )
            given.release()
            relay = _Relay(session, ran, given)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay.heed, received, nursery)
                await relay.carry(nursery)
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


class _Input:
    """What the command's standard input is: ``fd``, or None for its terminal, where one types.

    What is no terminal is data. The command gets it as it is: a terminal would cut long lines, and
    act upon control characters, and has no end that stays. Only what does not block is handed on
    through a pipe, since few programs know what to do about EAGAIN.
    """

    def __init__(self, *, no_input: bool) -> None:
        self.fd: int | None = None
        self._sink: int | None = None
        self._held = ExitStack()
        if no_input:
            self.fd, end = os.pipe()
            self._hold(self.fd)
            os.close(end)
        elif not tty.is_terminal():
            self.fd = 0
            with suppress(OSError):
                if not os.get_blocking(0):
                    source, self._sink = os.pipe()
                    self.fd = self._hold(source)

    def _hold(self, fd: int) -> int:
        self._held.callback(os.close, fd)
        return fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def typed(self) -> bool:
        """Whether somebody types it at a terminal."""
        return self.fd is None

    def release(self) -> None:
        """Close what the command has a copy of."""
        self._held.close()

    async def hand_on(self) -> None:
        """Hand on what does not block, until its end. Raises OSError if it can't be read."""
        if self._sink is not None:
            await trio.to_thread.run_sync(_hand_on, self._sink, abandon_on_cancel=True)


def _hand_on(sink: int) -> None:
    try:
        while data := read_some(0):
            try:
                write_all(sink, data)
            except BrokenPipeError:  # Nobody reads.
                return
    finally:
        os.close(sink)


class _Relay:
    """Carries bytes, sizes and signals between the terminal one sits at and a session's."""

    def __init__(self, session: Session, ran: _Ran, given: _Input) -> None:
        self._session = session
        self._ran = ran
        self._given = given
        self._near: tty.Near | None = None
        self._asked_at: float | None = None
        self._scope = trio.CancelScope()

    async def heed(self, received: AsyncIterator[int], nursery: trio.Nursery) -> None:
        """Act upon signals, until nothing of the session is left."""
        async for number in received:
            match number:
                case signal.SIGTSTP if self._near is not None:
                    self._near.stop()
                case signal.SIGTSTP:
                    tty.stop()
                case signal.SIGCONT if self._near is not None:
                    self._near.continued()  # The shell had the terminal while we were stopped.
                    self._follow_size()
                case signal.SIGWINCH:
                    self._follow_size()
                case signal.SIGCONT:
                    pass
                case _:
                    self._heed_wish(number, nursery)

    async def carry(self, ending: trio.Nursery) -> None:
        """Carry input and output until the command is dead and all of its output is told."""
        # Held back for as long as it takes: what is piped on must not have gaps.
        with (
            self._session.attach(patience=math.inf) as output,
            tty.near(reads=self._given.typed) as self._near,
            self._scope,
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._give_input, self._near, ending)
                if not self._given.typed:
                    nursery.start_soon(self._session.keep_at_end)
                await self._show(output, self._near, ending)
                nursery.cancel_scope.cancel()
        self._near = None

    async def _show(self, output: Attachment, near: tty.Near, ending: trio.Nursery) -> None:
        """Write what the command writes; and once that can't be written, drop it.

        Nobody waits for what is dropped, so a clean-up that writes has all of its grace.
        """
        writable = True
        while data := await output.receive():
            if writable:
                try:
                    await near.send(data)
                except OSError as error:
                    writable = False
                    self._be_cut_off(error, ending)

    async def _give_input(self, near: tty.Near, ending: trio.Nursery) -> None:
        try:
            if not self._given.typed:
                await self._given.hand_on()
                return
            with suppress(SessionEnded):
                while data := await near.receive():
                    await self._session.send(data)
        except OSError as error:
            self._ran.failure = f"standard input: {reason(error)}"
            self._end(ending)

    def _follow_size(self) -> None:
        size = None if self._near is None else self._near.size()
        if size is not None:
            with suppress(SessionEnded):
                self._session.resize(*size)

    # --- the session's end ------------------------------------------------------------------------

    def _heed_wish(self, number: int, ending: trio.Nursery) -> None:
        """End the session by its plan; or, the second time, at once.

        Only somebody who sends another signal is in a hurry. What is sent twice by those who end
        others is one wish: timeout(1) sends the same to its command and to the group that this is
        in. SIGHUP comes with others: from the kernel and a shell when a window is closed, and from
        systemd after SIGTERM (systemd.kill(5), SendSIGHUP).
        """
        now = trio.current_time()
        if self._asked_at is None:
            self._ran.signal, self._asked_at = number, now
            self._end(ending)
            return
        alike = self._ran.signal in (number, signal.SIGHUP)
        if number != signal.SIGHUP and not (alike and now < self._asked_at + _AT_ONCE):
            self._session.request_end(plan=KILL_NOW)

    def _be_cut_off(self, error: OSError, ending: trio.Nursery) -> None:
        """End the session by its plan if its output can't be written; never hurry its end."""
        if self._asked_at is not None:
            return
        if error.errno == errno.EPIPE:
            self._ran.signal = signal.SIGPIPE
        elif error.errno == errno.EIO and tty.is_terminal(1):  # It was hung up.
            self._ran.signal = signal.SIGHUP
        else:
            self._ran.failure = f"standard output: {reason(error)}"
        self._end(ending)

    def _end(self, ending: trio.Nursery) -> None:
        """End the session by its plan. Asked for again, that changes nothing."""
        self._session.request_end()
        ending.start_soon(self._give_up)

    async def _give_up(self) -> None:
        """Stop telling output that nobody reads, when all is over."""
        await self._session.settled()
        await trio.sleep(_FAREWELL)
        self._scope.cancel()
