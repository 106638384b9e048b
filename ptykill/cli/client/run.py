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

from ptykill.cli.client import local_terminal
from ptykill.cli.client.fd_io import error_text, read_some, write_all
from ptykill.cli.client.local_terminal import LocalTerminal, open_local_terminal
from ptykill.cli.client.messages import fail, print_message
from ptykill.engine.opening import open_supervisor
from ptykill.engine.output import Attachment
from ptykill.engine.session import Session
from ptykill.errors import PtykillError, SessionEnded
from ptykill.rules.plan import KILL_NOW, Plan
from ptykill.rules.verdict import Verdict

__all__ = ["run"]

_FAILED: Final = 125
"""The exit status if it was not the command that failed, as with env(1), timeout(1), nohup(1)."""

_STATUSES: Final = {"COMMAND_NOT_FOUND": 127, "COMMAND_NOT_EXECUTABLE": 126}
"""Those of commands that could not be run, as a shell has them."""
_OUTPUT_TIMEOUT: Final = 1.0
"""Seconds that output may take once the session is over, if its end was asked for."""
_SAME_REQUEST: Final = 0.5
"""Seconds within which two signals may be one wish."""


def run(command: Sequence[str], plan: Plan, containment: str, *, no_input: bool) -> NoReturn:
    """Run a command in a session, and exit as it does, once nothing of it is left.

    With ``no_input`` standard input is not read.
    """
    try:
        result = trio.run(_run, command, plan, containment, no_input)
    except PtykillError as error:
        fail(str(error), _STATUSES.get(error.code, _FAILED))
    verdict = result.verdict
    assert verdict is not None
    if not verdict.empty:
        print_message(f"not all of it could be ended: {_survivors(verdict)}")
    if result.failure is not None:
        print_message(result.failure)
    if result.signal is not None:
        local_terminal.die_of_signal(result.signal)
    if result.failure is not None or not verdict.empty:
        sys.exit(_FAILED)
    if verdict.exit_status is None:
        fail("its exit status can't be known", _FAILED)
    sys.exit(verdict.exit_status.shell_code)


class _RunResult:
    """What came of it: the verdict, and what has ended the session, if it was not the command.

    ``signal`` is what this process is to die of; ``failure`` what was wrong with its standard input
    or output.
    """

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self.signal: int | None = None
        self.failure: str | None = None


async def _run(command: Sequence[str], plan: Plan, containment: str, no_input: bool) -> _RunResult:  # noqa: FBT001 - trio.run takes no keywords
    """Run a command in a session, until nothing of it is left or the plan has come to its end.

    What it leaves behind when it ends by itself gets the plan's grace. A signal to this process
    ends the session by the plan; a second one kills. Raises what spawning does.
    """
    result = _RunResult()
    with (
        local_terminal.receive_signals() as received,
        _CommandInput(no_input=no_input) as command_input,
    ):
        async with open_supervisor(plan=plan, containment=containment) as supervisor:
            rows, cols = local_terminal.window_size() or (24, 80)
            session = await supervisor.spawn(
                command,
                # All of it: the terminal that the command is shown on is the one it tells of.
                env=os.environ,
                rows=rows,
                cols=cols,
                stdin=command_input.fd,
            )
            command_input.release()
            relay = _Relay(session, result, command_input)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay.handle_signals, received, nursery)
                await relay.run(nursery)
                # By now the terminal is as it was, for whatever is said of the rest.
                result.verdict = await session.terminate()
                nursery.cancel_scope.cancel()
    return result


def _survivors(verdict: Verdict) -> str:
    told = [
        f"pid {each.pid} ({each.name}, state {each.state}): {each.why}"
        for each in verdict.survivors
    ]
    return "; ".join(told) or "what is left of it could not be told"


class _CommandInput:
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
        elif not local_terminal.is_terminal():
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

    async def copy_input(self) -> None:
        """Hand on what does not block, until its end. Raises OSError if it can't be read."""
        if self._sink is not None:
            await trio.to_thread.run_sync(_copy_input, self._sink, abandon_on_cancel=True)


def _copy_input(sink: int) -> None:
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

    def __init__(self, session: Session, result: _RunResult, command_input: _CommandInput) -> None:
        self._session = session
        self._result = result
        self._input = command_input
        self._terminal: LocalTerminal | None = None
        self._asked_at: float | None = None
        self._scope = trio.CancelScope()

    async def handle_signals(self, received: AsyncIterator[int], nursery: trio.Nursery) -> None:
        """Act upon signals, until nothing of the session is left."""
        async for number in received:
            match number:
                case signal.SIGTSTP if self._terminal is not None:
                    self._terminal.stop()
                case signal.SIGTSTP:
                    local_terminal.stop()
                case signal.SIGCONT if self._terminal is not None:
                    self._terminal.continued()  # The shell had the terminal while we were stopped.
                    self._follow_size()
                case signal.SIGWINCH:
                    self._follow_size()
                case signal.SIGCONT:
                    pass
                case _:
                    self._handle_end_signal(number, nursery)

    async def run(self, outer: trio.Nursery) -> None:
        """Carry input and output until the command is dead and all of its output is told."""
        # Held back for as long as it takes: what is piped on must not have gaps.
        with (
            self._session.attach(stall_timeout=math.inf) as output,
            open_local_terminal(reads=self._input.typed) as self._terminal,
            self._scope,
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_input, self._terminal, outer)
                if not self._input.typed:
                    nursery.start_soon(self._session.keep_at_end)
                await self._write_output(output, self._terminal, outer)
                nursery.cancel_scope.cancel()
        self._terminal = None

    async def _write_output(
        self, output: Attachment, terminal: LocalTerminal, nursery: trio.Nursery
    ) -> None:
        """Write what the command writes; and once that can't be written, drop it.

        Nobody waits for what is dropped, so a clean-up that writes has all of its grace.
        """
        writable = True
        while data := await output.receive():
            if writable:
                try:
                    await terminal.send(data)
                except OSError as error:
                    writable = False
                    self._output_failed(error, nursery)

    async def _read_input(self, terminal: LocalTerminal, nursery: trio.Nursery) -> None:
        try:
            if not self._input.typed:
                await self._input.copy_input()
                return
            with suppress(SessionEnded):
                while data := await terminal.receive():
                    await self._session.send(data)
        except OSError as error:
            self._result.failure = f"standard input: {error_text(error)}"
            self._request_end(nursery)

    def _follow_size(self) -> None:
        size = None if self._terminal is None else self._terminal.size()
        if size is not None:
            with suppress(SessionEnded):
                self._session.resize(*size)

    # --- the session's end ------------------------------------------------------------------------

    def _handle_end_signal(self, number: int, nursery: trio.Nursery) -> None:
        """End the session by its plan; or, the second time, at once.

        Only somebody who sends another signal is in a hurry. What is sent twice by those who end
        others is one wish: timeout(1) sends the same to its command and to the group that this is
        in. SIGHUP comes with others: from the kernel and a shell when a window is closed, and from
        systemd after SIGTERM (systemd.kill(5), SendSIGHUP).
        """
        now = trio.current_time()
        if self._asked_at is None:
            self._result.signal, self._asked_at = number, now
            self._request_end(nursery)
            return
        alike = self._result.signal in (number, signal.SIGHUP)
        if number != signal.SIGHUP and not (alike and now < self._asked_at + _SAME_REQUEST):
            self._session.request_end(plan=KILL_NOW)

    def _output_failed(self, error: OSError, nursery: trio.Nursery) -> None:
        """End the session by its plan if its output can't be written; never hurry its end."""
        if self._asked_at is not None:
            return
        if error.errno == errno.EPIPE:
            self._result.signal = signal.SIGPIPE
        elif error.errno == errno.EIO and local_terminal.is_terminal(1):  # It was hung up.
            self._result.signal = signal.SIGHUP
        else:
            self._result.failure = f"standard output: {error_text(error)}"
        self._request_end(nursery)

    def _request_end(self, nursery: trio.Nursery) -> None:
        """End the session by its plan. Asked for again, that changes nothing."""
        self._session.request_end()
        nursery.start_soon(self._stop_output)

    async def _stop_output(self) -> None:
        """Stop telling output that nobody reads, when all is over."""
        await self._session.settled()
        await trio.sleep(_OUTPUT_TIMEOUT)
        self._scope.cancel()
