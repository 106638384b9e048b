"""Run one command in a session of its own, without a daemon, at the local terminal."""

from __future__ import annotations

import errno
import logging
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
from ptykill.engine.attachment import Attachment
from ptykill.engine.opening import open_with
from ptykill.engine.session import Session
from ptykill.errors import PtykillError, SessionEnded
from ptykill.rules.options import Options
from ptykill.rules.plan import KILL_NOW
from ptykill.rules.verdict import EndReason, Verdict
from ptykill.system.containment.limits_place import leave_room

__all__ = ["run"]

_FAILED: Final = 125
"""The exit status if another part than the command failed, as of env(1), timeout(1), nohup(1)."""
_DEADLINE_PASSED: Final = 124
"""The exit status of a command that was ended by a deadline, as of timeout(1)."""

_STATUSES: Final = {"COMMAND_NOT_FOUND": 127, "COMMAND_NOT_EXECUTABLE": 126}
"""The exit statuses for commands that could not be run: those of a shell."""
_OUTPUT_TIMEOUT: Final = 1.0
"""Seconds to write the rest of the output, once a session that was asked to end has ended."""
_SAME_REQUEST: Final = 0.5
"""Seconds within which two signals may be one request."""


def run(command: Sequence[str], options: Options, *, no_input: bool, verbose: bool) -> NoReturn:
    """Run a command in a session, and exit with its exit status once the session has ended.

    With ``no_input`` standard input is not read. With ``verbose`` the log is printed.
    """
    if verbose:
        _print_log()
    try:
        if options.caps:
            leave_room()
        result = trio.run(_run, command, options, no_input)
    except PtykillError as error:
        fail(str(error), _STATUSES.get(error.code, _FAILED))
    _report_and_exit(result)


def _report_and_exit(result: _RunResult) -> NoReturn:
    """Print what was wrong, and exit with the status for it."""
    verdict = result.verdict
    assert verdict is not None
    if not verdict.empty:
        print_message(f"not all of it could be ended: {_survivors(verdict)}")
    if result.failure is not None:
        print_message(result.failure)
    passed = verdict.reason not in (EndReason.EXITED, EndReason.REQUESTED)
    if passed:
        print_message(f"it was ended by its deadline: {verdict.reason}")
    if result.signal is not None:
        local_terminal.die_of_signal(result.signal)
    if result.failure is not None or not verdict.empty:
        sys.exit(_FAILED)
    if passed:
        sys.exit(_DEADLINE_PASSED)
    if verdict.exit_status is None:
        fail("its exit status can't be known", _FAILED)
    sys.exit(verdict.exit_status.shell_code)


def _print_log() -> None:
    """Print the log events, from INFO on, on standard error."""
    handler = logging.StreamHandler()
    handler.terminator = "\r\n" if os.isatty(2) else "\n"  # A session may have it in raw mode.
    handler.setFormatter(logging.Formatter("ptykill: %(message)s"))
    logger = logging.getLogger("ptykill")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


class _RunResult:
    """The verdict, and what ended the session if the command did not end by itself.

    ``signal`` is the signal that this process has to die of; ``failure`` says what was wrong with
    its standard input or output.
    """

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self.signal: int | None = None
        self.failure: str | None = None


async def _run(command: Sequence[str], options: Options, no_input: bool) -> _RunResult:  # noqa: FBT001 - trio.run takes no keywords
    """Run a command in a session, until the session or the plan has ended.

    Processes that the command leaves behind get the plan's grace. A signal to this process ends the
    session by the plan; a second signal kills at once. Raises the errors of `Supervisor.spawn`.
    """
    result = _RunResult()
    with (
        local_terminal.receive_signals() as received,
        _CommandInput(no_input=no_input) as command_input,
    ):
        async with open_with(options) as supervisor:
            rows, cols = local_terminal.window_size() or (24, 80)
            session = await supervisor.spawn(
                command,
                # All variables: those about the terminal (TERM, COLUMNS) describe this terminal.
                env=os.environ,
                rows=rows,
                cols=cols,
                stdin=command_input.fd,
            )
            command_input.release()
            relay = _Relay(session, result, command_input)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay.handle_signals, received, nursery)
                nursery.start_soon(relay.watch_deadlines)
                await relay.run(nursery)
                # The local terminal is restored by now: messages may be printed.
                result.verdict = await session.terminate()
                nursery.cancel_scope.cancel()
    return result


def _survivors(verdict: Verdict) -> str:
    lines = [
        f"pid {each.pid} ({each.name}, state {each.state}): {each.why}"
        for each in verdict.survivors
    ]
    why = ", ".join(sorted(verdict.caveats))
    return "; ".join(lines) or f"no process of it could be named ({why})"


class _CommandInput:
    """The command's standard input: ``fd``, or None for its terminal.

    If ours is not a terminal, the command inherits it. Typed into the command's terminal, long
    lines would be cut, control characters acted on, and the end of the input lost. Only a
    non-blocking input is copied into a pipe, since few programs handle EAGAIN.
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
        """Whether a person types it at our terminal."""
        return self.fd is None

    def release(self) -> None:
        """Close our copies of the descriptors that the command has inherited."""
        self._held.close()

    async def copy_input(self) -> None:
        """Copy a non-blocking input into the pipe, until its end. Raises OSError."""
        if self._sink is not None:
            await trio.to_thread.run_sync(_copy_input, self._sink, abandon_on_cancel=True)


def _copy_input(sink: int) -> None:
    try:
        while data := read_some(0):
            try:
                write_all(sink, data)
            except BrokenPipeError:  # The command no longer reads.
                return
    finally:
        os.close(sink)


class _Relay:
    """Relays bytes, sizes and signals between the local terminal and the session's."""

    def __init__(self, session: Session, result: _RunResult, command_input: _CommandInput) -> None:
        self._session = session
        self._result = result
        self._input = command_input
        self._terminal: LocalTerminal | None = None
        self._asked_at: float | None = None
        self._scope = trio.CancelScope()

    async def handle_signals(self, received: AsyncIterator[int], nursery: trio.Nursery) -> None:
        """Act on signals, until the session has ended."""
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
        """Relay input and output until the command is dead and all of its output is written."""
        # Without a time-out the command waits for a slow reader, and no output is dropped.
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
        """Write the command's output; after a failed write, read it and drop it.

        The terminal's buffer then never fills, so a clean-up that prints has all of its grace.
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
        """End the session by its plan; at a second request, kill it at once.

        One request may send two signals. timeout(1) sends the same signal to its command and to its
        process group. SIGHUP comes with others: from the kernel and from a shell when a window is
        closed, and from systemd after SIGTERM (systemd.kill(5), SendSIGHUP).
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
        """End the session by its plan, unless it was asked to end already."""
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
        """End the session by its plan. A second call changes nothing."""
        self._session.request_end()
        nursery.start_soon(self._stop_output)

    async def watch_deadlines(self) -> None:
        """Stop writing output that is not read, if a deadline has ended the session."""
        verdict = await self._session.wait()
        if verdict.reason is not EndReason.EXITED:
            await self._stop_output()

    async def _stop_output(self) -> None:
        """Stop writing output that is not read, some time after the session has ended."""
        await self._session.settled()
        await trio.sleep(_OUTPUT_TIMEOUT)
        self._scope.cancel()
