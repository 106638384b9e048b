"""The messages of a client on standard input and output, as the SDK's server takes them.

The SDK's own transport reads in a thread that can't be abandoned: a signal would not end the server
before the client's next message. This one can be cancelled at any time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import mcp_types
import trio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.shared.message import SessionMessage

__all__ = ["Incoming", "Outgoing", "open_stdio"]

_CHUNK = 65_536
_LONGEST = 1 << 24
"""Bytes of the longest message that is read: with a longer one, the client is cut off."""

Incoming = ObjectReceiveStream[SessionMessage | Exception]
Outgoing = ObjectSendStream[SessionMessage]


@asynccontextmanager
async def open_stdio() -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """Yield the messages of the client, and where to send those to it.

    The first end when the client closes standard input, and also when it no longer reads.
    The descriptors 0 and 1 are replaced by others, so that nothing else reads or writes there.
    """
    source, sink = _take_descriptors()
    send_incoming, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, receive_outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    async with trio.open_nursery() as nursery:
        reading = trio.CancelScope()
        nursery.start_soon(_read, source, send_incoming, reading)
        nursery.start_soon(_write, sink, receive_outgoing, reading)
        yield incoming, outgoing
        nursery.cancel_scope.cancel()


def _take_descriptors() -> tuple[int, int]:
    source, sink = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (0, 1))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return source, sink


async def _read(
    fd: int, to: ObjectSendStream[SessionMessage | Exception], scope: trio.CancelScope
) -> None:
    rest = b""
    async with to:
        with scope:
            while data := await trio.to_thread.run_sync(_read_some, fd, abandon_on_cancel=True):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    await to.send(_message(line))
                if len(rest) > _LONGEST:
                    return


def _read_some(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError:  # It was a terminal, which was hung up.
        return b""


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        text = line.decode(errors="replace")
        return SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(text, by_name=False))
    except ValueError as error:
        return error


async def _write(
    fd: int, messages: ObjectReceiveStream[SessionMessage], reading: trio.CancelScope
) -> None:
    async with messages:
        async for each in messages:
            text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
            data = text.encode() + b"\n"
            if not await trio.to_thread.run_sync(_write_all, fd, data, abandon_on_cancel=True):
                reading.cancel()


def _write_all(fd: int, data: bytes) -> bool:
    """Write all; return whether the client still reads."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        return False
    return True
