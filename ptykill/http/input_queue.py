"""Queues a client's input that the program has not read yet."""

from __future__ import annotations

from typing import Final

import trio

from ptykill.engine.session import Session
from ptykill.errors import SessionEnded
from ptykill.rules.backlog import Backlog

__all__ = ["InputQueue"]

_MOST: Final = 1 << 20
"""Bytes of one client that may wait for the program to read."""
_UNREAD: Final = 2.0
"""Seconds after which a program that has read nothing meanwhile is not waited for any more."""
_PIECE: Final = 4_096
"""Bytes that are typed at a time; in between others may type, and the terminal holds no more."""


class InputQueue:
    """A queue between a client and a session's terminal, so that receiving waits for no program.

    A client's close, and a resize, come behind what it has typed, and are to be seen at once.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._queue = Backlog()
        self._over = False
        self._more = trio.Event()
        self._moved = trio.Event()

    def put(self, data: bytes) -> None:
        """Have something typed; once the session's leader is dead it is discarded."""
        if not self._over:
            self._queue.put(data)
            self._more.set()

    async def run(self) -> None:
        """Type what is put, in its order, until the leader is dead or this is cancelled."""
        try:
            while True:
                await self._more.wait()
                self._more = trio.Event()
                await self._type_all()
        except SessionEnded:
            self._over = True
            self._queue.forget(self._queue.end)
            self._moved.set()

    async def has_room(self) -> bool:
        """Wait while there is too much; return False if the program reads nothing of it."""
        return await self._falls_to(_MOST - 1)

    async def finish(self) -> None:
        """Wait until everything has been typed, or the program reads nothing any more."""
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
