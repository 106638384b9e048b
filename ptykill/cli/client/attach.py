"""Attach the local terminal to a session of a daemon, over a WebSocket that may be lost."""

from __future__ import annotations

import math
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from ptykill.cli.client import local_terminal
from ptykill.cli.client.attach_result import (
    AttachResult,
    Detached,
    Ended,
    Lost,
    Signalled,
    io_failure,
)
from ptykill.cli.client.daemon_client import DaemonClient, DaemonError, session_path
from ptykill.cli.client.detach_key import DetachKeyFilter
from ptykill.cli.client.input_queue import LONGEST_LINE, InputQueue, LineLengths
from ptykill.cli.client.local_terminal import LocalTerminal, open_local_terminal
from ptykill.cli.client.messages import print_message_async
from ptykill.cli.client.reconnecting import Reconnecting
from ptykill.cli.client.websocket import CLOSE_TIMEOUT, run_websocket
from ptykill.http import frames

__all__ = ["attach"]

_RECONNECT_CODES: Final = (1006, 1012, 1013)
"""Close codes after which to connect again: none came, a restart, too slow (RFC 6455, IANA)."""
_CTRL_C: Final = b"\x03"
_READ_ACCESS: Final = (b"x-pty-access", b"read")
"""The header by which a daemon says that the token may only read."""
_TOO_LONG: Final = (
    f"a line of the input is longer than {LONGEST_LINE} bytes:"
    " if the session reads lines, its terminal cuts it"
)


async def attach(  # noqa: PLR0913 - two callers, by keyword
    daemon: DaemonClient,
    session_id: str,
    token: str,
    *,
    key: bytes | None,
    redraw: bool,
    read_only: bool,
) -> AttachResult:
    """Attach until the session ends, the detach key is pressed, or a signal comes.

    Connects again when the connection is lost, as `Reconnecting` says. The local terminal is in
    raw mode meanwhile, and restored when this returns or raises. ``key`` None is no detach key.
    ``redraw`` makes a full-screen program draw again. With ``read_only``, or a token that may only
    read, neither input nor a size is sent. Raises `DaemonError`.
    """
    conversation = _Conversation(daemon, session_id, token, key, redraw=redraw, read_only=read_only)
    with local_terminal.receive_signals() as received:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(conversation.handle_signals, received)
            await conversation.run()
            nursery.cancel_scope.cancel()
    return conversation.result()


class _Conversation:
    """One attached conversation, over one connection after the other.

    The first cause of its end is kept as the result; then everything else is cancelled.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        daemon: DaemonClient,
        session_id: str,
        token: str,
        key: bytes | None,
        *,
        redraw: bool,
        read_only: bool,
    ) -> None:
        self._daemon = daemon
        client = secrets.token_urlsafe(12)
        # The name has the daemon close the connection that was lost, if that is not dead to it yet.
        self._resource = f"{daemon.path}{session_path(session_id)}/ws?client={client}"
        self._offset = 0
        """The offset in the session's output up to which it was written, if the daemon tells it."""
        bearer = token.encode("utf-8", "surrogateescape")
        self._headers = [*daemon.headers.items(), (b"x-pty-token", bearer)]
        self._key = key
        self._redraw = redraw
        self._read_only = read_only
        self._terminal: LocalTerminal | None = None
        """The local terminal, from the first connection until the end."""
        self._terminal_scope = ExitStack()
        self._reading_input = trio.CancelScope()
        self._input_done = trio.Event()
        self._input = InputQueue()
        self._connected_at: float | None = None
        """When the present connection was made; None while there is none."""
        self._resized = trio.Event()
        self._scope = trio.CancelScope()
        self._result: AttachResult | DaemonError | None = None

    def result(self) -> AttachResult:
        """Return how it ended. Raises `DaemonError` if no connection can be made."""
        assert self._result is not None
        if isinstance(self._result, DaemonError):
            raise self._result
        return self._result

    async def handle_signals(self, received: AsyncIterator[int]) -> None:
        """Act on signals, from before the first byte until after the last."""
        async for number in received:
            match number:
                case signal.SIGTSTP if self._terminal is not None:
                    self._terminal.stop()
                case signal.SIGTSTP:
                    local_terminal.stop()
                case signal.SIGCONT if self._terminal is not None:
                    self._terminal.continued()
                case signal.SIGWINCH | signal.SIGCONT:
                    pass
                case _:
                    self._finish(Signalled(number))
                    continue
            self._resized.set()

    async def run(self) -> None:
        """Connect, exchange data, and close. What the daemon does wrong becomes the result."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await self._keep_connected(nursery)
                    nursery.cancel_scope.cancel()
        finally:
            self._restore_terminal()

    # --- connections ------------------------------------------------------------------------------

    async def _keep_connected(self, nursery: trio.Nursery) -> None:
        """Use one connection after the other, until there is a result."""

        async def use(websocket: WebSocketConnection) -> None:
            if not self._read_only and _READ_ACCESS in websocket.handshake_headers:
                self._read_only = True
                await print_message_async("the token may only read: no input is sent", raw=False)
            if self._terminal is None:
                terminal = self._terminal = self._terminal_scope.enter_context(
                    open_local_terminal()
                )
                nursery.start_soon(self._read_input, terminal)
            else:
                terminal = self._terminal
                if terminal.interactive:
                    self._input.clear()  # Nobody has seen the effect of these keys.
                # Set before the message is written: keys typed in answer to it are sent.
                self._connected_at = trio.current_time()
                await print_message_async("connected again", raw=terminal.interactive)
            await self._exchange(websocket, terminal)

        tries = Reconnecting()
        while True:
            failure: DaemonError | None = None
            try:
                resource = f"{self._resource}&from={self._offset}"
                await run_websocket(self._daemon, resource, self._headers, use)
            except DaemonError as error:
                failure = error
            if self._result is not None:
                return
            if self._connected_at is not None:
                tries.lost(self._connected_at)
                self._connected_at = None
                await self._report_loss()
            if failure is not None:
                self._check_retry(failure, tries)
            await tries.wait()

    async def _report_loss(self) -> None:
        assert self._terminal is not None
        if not self._terminal.interactive and not self._input.all_sent:
            self._finish(Lost("the connection was lost, and some of the input with it, perhaps"))
            return
        how = " (Ctrl-C gives up)" if self._terminal.interactive else ""
        lost = f"the connection to {self._daemon.url} is lost; connecting again"
        await print_message_async(f"{lost}{how}", raw=self._terminal.interactive)

    def _check_retry(self, failure: DaemonError, tries: Reconnecting) -> None:
        """Give up if another try makes no sense."""
        if self._terminal is None:
            self._finish(failure)
        elif failure.status == 404:
            self._finish(Ended(None, killed=False))
        elif (error := tries.check(failure)) is not None:
            self._finish(error)

    async def _exchange(self, websocket: WebSocketConnection, terminal: LocalTerminal) -> None:
        """Send input and sizes, and write output, until the connection ends."""
        self._connected_at = trio.current_time()
        try:
            await self._send_size(websocket, terminal)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_input, websocket)
                nursery.start_soon(self._follow_size, websocket, terminal)
                await self._write_output(websocket, terminal)
                nursery.cancel_scope.cancel()
        except ConnectionClosed:
            pass
        finally:
            self._redraw = True
            if self._result is not None:  # Before the closing handshake, which may take a second.
                self._reading_input.cancel()
                with trio.CancelScope(shield=True):  # It ends as soon as it is scheduled.
                    await self._input_done.wait()
                self._restore_terminal()

    def _restore_terminal(self) -> None:
        self._terminal = None
        self._terminal_scope.close()

    async def _send_size(self, websocket: WebSocketConnection, terminal: LocalTerminal) -> None:
        size = terminal.size()
        if size is not None and not self._read_only:
            rows, cols = size
            if self._redraw and rows > 1:
                # The kernel sends SIGWINCH only if the size is another one (tty_do_resize).
                await websocket.send_message(frames.resize_frame(rows - 1, cols))
            await websocket.send_message(frames.resize_frame(rows, cols))
        await websocket.send_message(frames.READY)

    # --- input ------------------------------------------------------------------------------------

    async def _read_input(self, terminal: LocalTerminal) -> None:
        try:
            with self._reading_input:
                if terminal.interactive or not self._read_only:
                    await self._queue_input(terminal)
        finally:
            self._input_done.set()

    async def _queue_input(self, terminal: LocalTerminal) -> None:
        """Queue what is typed or piped in. After the end of a pipe, output is still written."""
        keys = DetachKeyFilter(self._key if terminal.interactive else None)
        lines = None if terminal.interactive else LineLengths()
        while True:
            try:
                data = await terminal.receive()
            except OSError as error:
                self._finish(io_failure("input", error))
                return
            if not data:
                break
            if lines is not None and lines.too_long(data):
                lines = None  # Warn once.
                await print_message_async(_TOO_LONG, raw=False)
            data, pressed = keys.before_key(data)
            if terminal.interactive and (self._connected_at is None or self._read_only):
                pressed, data = pressed or _CTRL_C in data, b""
            await self._input.put(data)
            if pressed:
                with trio.move_on_after(CLOSE_TIMEOUT):
                    await self._input.wait_sent()
                self._finish(Detached())
                return
        self._input.end()
        if terminal.interactive:  # In raw mode, only a hangup ends a terminal's input.
            self._finish(Detached())

    async def _send_input(self, websocket: WebSocketConnection) -> None:
        try:
            async for data in self._input:
                await websocket.send_message(frames.input_frame(data))
        except ConnectionClosed:
            return  # `_write_output` finds out why.

    async def _follow_size(self, websocket: WebSocketConnection, terminal: LocalTerminal) -> None:
        while True:
            await self._resized.wait()
            self._resized = trio.Event()
            size = terminal.size()
            try:
                if size is not None and not self._read_only:
                    await websocket.send_message(frames.resize_frame(*size))
            except ConnectionClosed:
                return

    # --- output -----------------------------------------------------------------------------------

    async def _write_output(self, websocket: WebSocketConnection, terminal: LocalTerminal) -> None:
        """Write the session's output, until the session or the connection ends."""
        ended: frames.Exit | None = None
        try:
            # The daemon closes the connection after the exit message: wait a limited time for it.
            with trio.move_on_after(math.inf) as waiting:
                counts = False
                while True:
                    match frames.read_from_server(await websocket.get_message()):
                        case frames.Exit() as ended:
                            waiting.deadline = trio.current_time() + CLOSE_TIMEOUT
                        case frames.Gap(offset, missing):
                            await self._report_gap(missing, terminal)
                            self._offset, counts = offset, True
                        case frames.Output(data, counted) if data:
                            await terminal.send(data)
                            self._offset += len(data) if counts and counted else 0
        except BrokenPipeError:
            self._finish(Signalled(signal.SIGPIPE))
            return
        except OSError as error:
            self._finish(io_failure("output", error))
            return
        except ConnectionClosed:
            pass
        closed = websocket.closed
        if ended is not None:
            self._finish(Ended(ended.code, closed is not None and closed.code == 1001))
        elif closed is not None and closed.code not in _RECONNECT_CODES:
            self._finish(Lost(f"the daemon hung up: {closed.reason or closed.code}"))

    async def _report_gap(self, missing: int, terminal: LocalTerminal) -> None:
        """Report that output is missing which the daemon has dropped since it was connected."""
        if missing and self._offset:
            sentence = f"{missing} bytes of the session's output are missing"
            await print_message_async(sentence, raw=terminal.interactive)

    def _finish(self, result: AttachResult | DaemonError) -> None:
        """End the conversation. The first result stays."""
        if self._result is None:
            self._result = result
        self._scope.cancel()
