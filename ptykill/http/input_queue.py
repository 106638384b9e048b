"""Queues a WebSocket client's input until the program in the terminal reads it."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final

import trio

from ptykill.engine.session import Session
from ptykill.errors import SessionEnded
from ptykill.rules.backlog import Backlog

__all__ = ["InputQueue"]

_MOST: Final = 1 << 20
"""The bytes of one client that may be queued."""
_UNREAD: Final = 2.0
"""Time-out for a program that reads no input, in seconds."""
_PIECE: Final = 4_096
"""Bytes per write: the terminal's buffer holds no more, and other clients may write in between."""


class InputQueue:
    """Queues the input of one client for a session's terminal.

    So the client's messages are received while the program does not read: a close or a resize
    behind the input takes effect at once. ``until`` is the time of trio's clock at which the
    client's right to type ends.
    """

    def __init__(self, session: Session, until: float = math.inf) -> None:
        self._session = session
        self._allowed = trio.CancelScope(deadline=until)
        self._queue = Backlog()
        self._over = False
        self._more = trio.Event()
        self._moved = trio.Event()

    def put(self, data: bytes) -> None:
        """Queue input; discard it if the session's leader is dead."""
        if not self._over:
            self._queue.put(data)
            self._more.set()

    async def run(self) -> None:
        """Write the queued input to the terminal, in order, until the leader dies or a cancel.

        At the end of the client's right the rest is discarded.
        """
        with self._allowed, suppress(SessionEnded):
            while True:
                await self._more.wait()
                self._more = trio.Event()
                await self._type_all()
        self._over = True
        self._queue.forget(self._queue.end)
        self._moved.set()

    def discard(self) -> None:
        """Write no more: the client has lost its right to type."""
        self._allowed.cancel()

    async def has_room(self) -> bool:
        """Wait while the queue is full; return False if the program reads nothing meanwhile."""
        return await self._falls_to(_MOST - 1)

    async def finish(self) -> None:
        """Wait until the queue is empty, or the program has stopped reading."""
        await self._falls_to(0)

    async def _type_all(self) -> None:
        while self._queue:
            piece = self._queue.read(self._queue.start, _PIECE)
            await self._session.send(piece)
            self._queue.forget(self._queue.start + len(piece))
            self._moved.set()
            self._moved = trio.Event()

    async def _falls_to(self, size: int) -> bool:
        while len(self._queue) > size:
            with trio.move_on_after(_UNREAD) as waiting:
                await self._moved.wait()
            if waiting.cancelled_caught:
                return False
        return True
