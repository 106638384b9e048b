"""A conversation over a WebSocket: what is typed goes in, what the terminal writes comes out.

It is in trio, whatever the server is on; `Receive` and `Send` are an ASGI server's, or carried over
from its loop (`ptykill.crossing`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias

import trio

from ptykill.errors import AttachmentDropped, SessionEnded
from ptykill.http import frames, schema
from ptykill.output import Attachment
from ptykill.session import Session

__all__ = ["Message", "Receive", "Send", "converse"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_HELD_BACK = 1 << 20
"""Bytes that may wait for a client: until it is ready, and whenever it is slow."""
_AT_ONCE = 8 * (frames.LARGEST - 1)
_FAREWELL = 1.0
"""Seconds that a client may take to be told that it is dropped, and to answer a goodbye."""
_PARTING = 30.0
"""Seconds that a client which has been told all may take to be told so."""

End: TypeAlias = Callable[[int, str, float], None]
"""Have the conversation end with this code and reason, told within so many seconds."""


async def converse(session: Session, receive: Receive, send: Send) -> None:
    """Talk until the client goes away, or the session's leader is dead and all has been told."""
    if await _talk(session, receive, send):
        await _part(receive)


async def _talk(session: Session, receive: Receive, send: Send) -> bool:
    """Talk, and return whether the client has been told goodbye, and is to answer it."""
    with session.attach(_HELD_BACK) as attachment:
        ready, silent = trio.Event(), trio.Event()
        hearing, telling = trio.CancelScope(), trio.CancelScope()
        goodbyes: list[tuple[int, str, float]] = []

        def end(code: int, reason: str, seconds: float) -> None:
            goodbyes.append((code, reason, seconds))
            hearing.cancel()

        async with trio.open_nursery() as nursery:

            async def say(message: Message) -> None:
                try:
                    await send(message)
                except OSError:  # The client has gone without a word (ASGI 2.4), as some do.
                    nursery.cancel_scope.cancel()

            async def tell() -> None:
                with telling:
                    await _tell(session, attachment, ready, say, end)
                silent.set()

            nursery.start_soon(_drop, attachment, end)
            nursery.start_soon(tell)
            with hearing:
                await _hear(session, ready, receive, end)
            # Not before nobody receives any more: until then granian sends no close. And not before
            # nobody sends any more: for servers that is a mistake, after a close.
            telling.cancel()
            for code, reason, seconds in goodbyes[:1]:
                with trio.move_on_after(seconds):
                    await silent.wait()
                    await say({"type": "websocket.close", "code": code, "reason": reason})
            nursery.cancel_scope.cancel()
    return bool(goodbyes)


async def _hear(session: Session, ready: trio.Event, receive: Receive, end: End) -> None:
    """Do what the client says, until it is gone, or can't be understood.

    While the program does not read what is typed nothing more is received: the client has to wait.
    """
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes")
        try:
            frame = frames.read(message.get("text") or "" if data is None else data)
        except frames.BadFrame as bad:
            end(bad.code, bad.reason, _FAREWELL)
            return
        match frame:
            case frames.Input(data):
                with suppress(SessionEnded):  # It has been typed too late.
                    await session.send(data)
            case frames.Resized(rows, cols):
                session.resize(*schema.size_within(rows, cols))
            case frames.Ready():
                ready.set()


async def _tell(
    session: Session, attachment: Attachment, ready: trio.Event, send: Send, end: End
) -> None:
    """Tell all that the terminal writes, how the leader ended, and goodbye."""
    await ready.wait()
    try:
        while output := await attachment.receive(_AT_ONCE):
            for frame in frames.output(output):
                await send(_binary(frame))
    except AttachmentDropped:
        return  # `_drop` tells.
    status = await session.wait_exited()
    code = None if status is None else status.shell
    await send(_binary(frames.exit_frame(code)))
    if session.ending:
        end(1001, "session terminated", _PARTING)
    else:
        end(1000, f"exit:{-1 if code is None else code}", _PARTING)


async def _part(receive: Receive) -> None:
    """Take what a client says that has been told goodbye, until it answers that or falls silent.

    One that is in the middle of sending much comes to the goodbye only when it has sent it. And
    hypercorn never closes a connection on which messages wait to be received.
    """
    message: Message = {"type": ""}
    while message["type"] != "websocket.disconnect":
        with trio.move_on_after(_FAREWELL) as silence:
            message = await receive()
        if silence.cancelled_caught:
            return


async def _drop(attachment: Attachment, end: End) -> None:
    """Turn a client away that is too slow, or was never ready."""
    await attachment.dropped.wait()
    end(1013, "too slow", _FAREWELL)


def _binary(frame: bytes) -> Message:
    return {"type": "websocket.send", "bytes": frame}
