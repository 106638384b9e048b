"""One receiver of a session's output, as its user has it."""

from __future__ import annotations

from typing import Self

import trio

from ptykill.engine.caller import current_call
from ptykill.engine.output import CHUNK, Reader
from ptykill.rules import validate

__all__ = ["Attachment"]


class Attachment:
    """Receives all output of a session's terminal. Made by `Session.attach`.

    It is a context manager that detaches. The session goes on then: the newest output is kept, and
    the next attachment receives it first.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._made_in = current_call.get()

    def __repr__(self) -> str:
        detached = "dropped" if self.dropped else "closed"
        state = detached if self._reader.detached.is_set() else "attached"
        return f"<Attachment, {state}, {self.pending} bytes pending>"

    @property
    def pending(self) -> int:
        """How many kept bytes it has not received yet."""
        return self._reader.pending

    @property
    def dropped(self) -> bool:
        """True once it was detached because it had stopped the program's writes for too long."""
        return self._reader.dropped

    async def receive(self, most: int = CHUNK) -> bytes:
        """Wait for output and return up to ``most`` bytes; ``b""`` at its end.

        Raises `AttachmentDropped` if it has stopped the program's writes for too long, and
        `InvalidArgument`.
        """
        validate.whole("most", most, 1)
        await trio.lowlevel.checkpoint()
        return await self._reader.receive(most)

    async def wait_detached(self) -> bool:
        """Wait until it is detached; return True if it was dropped, False if it was closed.

        This is for a program that is not in `receive`, because it passes the output on to somebody.
        """
        await self._reader.detached.wait()
        return self.dropped

    def close(self) -> None:
        """Detach. May be called again; a task that waits in `receive` gets ``b""``."""
        self._reader.close()

    def __enter__(self) -> Self:
        """Return the attachment itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Detach."""
        self.close()
