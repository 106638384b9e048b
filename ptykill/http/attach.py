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


async def converse(session: Session, receive: Receive, send: Send) -> None:
    """Talk until the client goes away, or the session's leader is dead and all has been told."""
    if await _talk(session, receive, send):
        await _part(receive)


async def _talk(session: Session, receive: Receive, send: Send) -> bool:
    """Talk, and return whether the client is there still, to answer the goodbye."""
    gone = False
    with session.attach(_HELD_BACK) as attachment:
        ready = trio.Event()
        async with trio.open_nursery() as nursery:
            done = nursery.cancel_scope

            async def say(message: Message) -> None:
                try:
                    await send(message)
                except OSError:  # The client has gone without a word (ASGI 2.4), as some do.
                    done.cancel()

            nursery.start_soon(_drop, attachment, say, done)
            nursery.start_soon(_tell, session, attachment, ready, say, done)
            bad = await _hear(session, ready, receive)
            gone = bad is None
            if bad is not None:
                with trio.move_on_after(_FAREWELL):
                    await say(_close(bad.code, bad.reason))
            done.cancel()
    return not gone


async def _hear(session: Session, ready: trio.Event, receive: Receive) -> frames.BadFrame | None:
    """Do what the client says, until it is gone, or can't be understood.

    While the program does not read what is typed nothing more is received: the client has to wait.
    """
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return None
        data = message.get("bytes")
        try:
            frame = frames.read(message.get("text") or "" if data is None else data)
        except frames.BadFrame as bad:
            return bad
        match frame:
            case frames.Input(data):
                with suppress(SessionEnded):  # It has been typed too late.
                    await session.send(data)
            case frames.Resized(rows, cols):
                session.resize(*schema.size_within(rows, cols))
            case frames.Ready():
                ready.set()


async def _tell(
    session: Session,
    attachment: Attachment,
    ready: trio.Event,
    send: Send,
    done: trio.CancelScope,
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
        await send(_close(1001, "session terminated"))
    else:
        await send(_close(1000, f"exit:{-1 if code is None else code}"))
    done.cancel()


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


async def _drop(attachment: Attachment, send: Send, done: trio.CancelScope) -> None:
    """Turn a client away that is too slow, or was never ready."""
    await attachment.dropped.wait()
    with trio.move_on_after(_FAREWELL):
        await send(_close(1013, "too slow"))
    done.cancel()


def _binary(frame: bytes) -> Message:
    return {"type": "websocket.send", "bytes": frame}


def _close(code: int, reason: str) -> Message:
    return {"type": "websocket.close", "code": code, "reason": reason}
