"""Connects one WebSocket client to a session: its input goes to the terminal, output comes back.

This code runs in trio. `Receive` and `Send` are those of the ASGI server; if that runs on asyncio,
they are called in its event loop (`ptykill.embedding.loops`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple, TypeAlias

import trio

from ptykill import log
from ptykill.engine.attachment import Attachment, receive_piece
from ptykill.errors import AttachmentDropped, SessionEnded
from ptykill.http import frames, schema
from ptykill.http.asgi_types import Message, Receive, Send
from ptykill.http.input_queue import InputQueue
from ptykill.http.output_encoder import OutputEncoder
from ptykill.http.tokens import REVOKED, Access, Admission

__all__ = ["SILENT", "SendSome", "batch_sender", "run_conversation"]

SendSome: TypeAlias = Callable[..., Awaitable[int]]
"""Sends the first of several messages, and returns how many it has sent: at least one."""

_HELD_BACK = 1 << 20
"""Bytes of output that are kept for a client that is not ready yet, or is slow."""
_AT_ONCE = 8 * (frames.LARGEST - 1)
_CLOSE_TIMEOUT = 1.0
"""Time-out for a client's answer to our close, in seconds since its last message."""
_SILENCE = 60.0
"""Time-out for a client that reads nothing and sends nothing, in seconds."""
SILENT = "silent"
"""The close reason for such a client, also in the disconnect message of `ptykill serve`."""
_BATCH_SECONDS = 1.0
"""Seconds after which a batch returns, instead of sending its next message."""


class _Close(NamedTuple):
    """A WebSocket's close code and reason."""

    code: int
    reason: str


def batch_sender(send: Send) -> SendSome:
    """Return a function that sends several messages with one switch from trio to the server's loop.

    It returns early with a slow client, so that the time-out is for one message, not for all.
    """

    async def send_some(*messages: Message) -> int:
        sent, until = 0, time.monotonic() + _BATCH_SECONDS
        for message in messages:
            await send(message)
            sent += 1
            if time.monotonic() >= until:
                break
        return sent

    return send_some


async def run_conversation(
    admission: Admission, receive: Receive, send: SendSome, since: int | None = None
) -> None:
    """Relay input and output until the client disconnects, or the leader is dead and all is sent.

    ``since`` is the offset from which the client goes on; if it gives one it is told offsets.
    Input that the client has sent before is still written to the terminal, if the program reads it,
    and as long as the client's token is valid.
    """
    typed = InputQueue(admission.session, admission.grant.ends_at)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(typed.run)
        conversation = _Conversation(admission, typed, receive, send, since)
        with admission.grant.attached(admission.client, conversation.detach):
            if await conversation.hold():
                await _wait_close(receive)
            await typed.finish()
        nursery.cancel_scope.cancel()


class _Conversation:
    """One client that is attached to a session."""

    def __init__(
        self,
        admission: Admission,
        typed: InputQueue,
        receive: Receive,
        send: SendSome,
        since: int | None,
    ) -> None:
        self._session = admission.session
        self._writes = admission.grant.access is Access.WRITE
        self._typed = typed
        self._receive = receive
        self._send = send
        self._attachment: Attachment = self._session.attach(
            _HELD_BACK, since=since, may_stall=self._writes
        )
        self._encoder = OutputEncoder(since)
        self._close: _Close | None = None
        self._ready = trio.Event()
        self._silent = trio.Event()
        self._receiving = trio.CancelScope(deadline=admission.grant.ends_at)
        self._output_scope = trio.CancelScope()
        self._all = trio.CancelScope()
        self._sending = trio.CancelScope()
        self._send_lock = trio.Lock()
        """Held while a frame is sent, so that no cancellation cuts a frame off in its middle."""

    async def hold(self) -> bool:
        """Relay input and output; return whether a close was sent, which the client must answer."""
        with self._attachment, self._all:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_dropped)
                nursery.start_soon(self._send_output)
                await self._receive_all()
                self._attachment.close()  # From here on it does not slow the session down.
                # Send the close only after the last receive, since granian sends none while a
                # receive is pending; and after the last send, since a send after a close is an
                # error to servers.
                if self._close is not None:
                    with trio.move_on_after(_SILENCE):
                        await self._send_close(*self._close)
                nursery.cancel_scope.cancel()
        return self._close is not None and not self._all.cancelled_caught

    def _end(self, code: int, reason: str) -> None:
        """End the conversation with this code and reason; a second call changes neither."""
        self._close = self._close or _Close(code, reason)
        self._receiving.cancel()

    def detach(self, reason: str) -> None:
        """End the conversation of a client that has lost its right, or has come back."""
        if reason == REVOKED:
            self._typed.discard()
        self._end(1008, reason)

    def _drop_client(self, reason: str) -> None:
        self._log_drop(1013, reason)
        self._end(1013, reason)

    def _log_drop(self, code: int, reason: str) -> None:
        name = "client.dropped"
        log.event(logging.WARNING, name, session_id=self._session.id, code=code, reason=reason)

    async def _watch_dropped(self) -> None:
        """Close the WebSocket of a client that is too slow, or was never ready."""
        if await self._attachment.wait_detached():
            self._drop_client("too slow" if self._ready.is_set() else "never ready")

    # --- from the client --------------------------------------------------------------------------

    async def _receive_all(self) -> None:
        """Carry out the client's messages, until it disconnects or the conversation ends.

        Input is queued and written by another task, so that a close or a resize behind it takes
        effect at once. Only if the queue is full, receiving waits until the program reads. A client
        that may only read has its input and sizes ignored.
        """
        with self._receiving:
            while True:
                message = await self._receive()
                self._sending.deadline = trio.current_time() + _SILENCE  # The client lives.
                if message["type"] == "websocket.disconnect":
                    self._note_disconnect(message)
                    return
                data = message.get("bytes")
                try:
                    frame = frames.read_from_client(
                        message.get("text") or "" if data is None else data
                    )
                except frames.BadFrame as bad:
                    self._end(bad.code, bad.reason)
                    return
                match frame:
                    case frames.Input() | frames.Resized() if not self._writes:
                        pass  # A terminal sends answers and sizes that nobody has asked it for.
                    case frames.Input(data):
                        self._attachment.typed(data)
                        self._typed.put(data)
                        if not await self._typed.has_room():
                            self._drop_client("the program does not read what is typed")
                            return
                    case frames.Resized(rows, cols):
                        with suppress(SessionEnded):  # It has come too late.
                            self._attachment.resize(*schema.size_within(rows, cols))
                    case frames.Ready():
                        self._ready.set()
        if self._receiving.cancelled_caught:
            self._end(1008, "the token has expired")  # Unless it was ended for another reason.

    def _note_disconnect(self, message: Message) -> None:
        if (message.get("code"), message.get("reason")) == (1013, SILENT):
            self._log_drop(1013, SILENT)  # Found by `ptykill serve`, by its PINGs.

    # --- to the client ----------------------------------------------------------------------------

    async def _send_output(self) -> None:
        """Send all output of the terminal, then the leader's exit code; then end."""
        with self._output_scope:
            await self._ready.wait()
            try:
                begin = self._encoder.begin(self._attachment.start)
                await self._send_messages(*map(_binary, begin))
                while (piece := await receive_piece(self._attachment, _AT_ONCE)).data:
                    await self._send_messages(*map(_binary, self._encoder.encode(piece)))
                if self._close is None:  # The output has ended before the conversation.
                    await self._send_exit()
            except AttachmentDropped:
                pass  # `_watch_dropped` closes.
        self._silent.set()

    async def _send_exit(self) -> None:
        status = await self._session.wait_exited()
        code = None if status is None else status.shell_code
        await self._send_messages(_binary(frames.exit_frame(code)))
        if self._session.end_requested:
            self._end(1001, "session terminated")
        else:
            self._end(1000, f"exit:{-1 if code is None else code}")

    async def _send_close(self, code: int, reason: str) -> None:
        """Send a close, after the frame that is being sent: a slow client must read that first."""
        async with self._send_lock:
            self._output_scope.cancel()
        await self._silent.wait()
        await self._send_messages({"type": "websocket.close", "code": code, "reason": reason})

    async def _send_messages(self, *messages: Message) -> None:
        """Send messages; end the conversation if the client does not read them."""
        while messages:
            async with self._send_lock:
                try:
                    with trio.move_on_after(_SILENCE) as self._sending:
                        messages = messages[await self._send(*messages) :]
                except OSError:  # The client has disconnected without a close (ASGI 2.4).
                    self._all.cancel()
                    return
                if self._sending.cancelled_caught:
                    self._log_drop(1006, SILENT)
                    self._all.cancel()
                    return


async def _wait_close(receive: Receive) -> None:
    """Receive and discard a client's messages until it answers our close, or the time-out.

    A client that is sending much reads the close only when it has sent it all. And hypercorn never
    closes a connection on which messages wait to be received.
    """
    message: Message = {"type": ""}
    while message["type"] != "websocket.disconnect":
        with trio.move_on_after(_CLOSE_TIMEOUT) as silence:
            message = await receive()
        if silence.cancelled_caught:
            return


def _binary(frame: bytes) -> Message:
    return {"type": "websocket.send", "bytes": frame}
