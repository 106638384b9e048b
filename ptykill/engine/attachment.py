"""One receiver of a session's output, as its user has it."""

from __future__ import annotations

from typing import Self

import trio

from ptykill.engine.caller import current_call
from ptykill.engine.output import CHUNK, Piece, Reader
from ptykill.engine.window import Viewer
from ptykill.rules import validate

__all__ = ["Attachment", "receive_piece"]


class Attachment:
    """Receives all output of a session's terminal. Made by `Session.attach`.

    It is a context manager that detaches. The session goes on then: the newest output is kept, and
    the next attachment receives it first.
    """

    def __init__(self, reader: Reader, viewer: Viewer) -> None:
        self._reader = reader
        self._viewer = viewer
        reader.call_when_detached(viewer.leave)
        self._claims = [current_call.get()]

    def __repr__(self) -> str:
        detached = "dropped" if self.dropped else "closed"
        state = detached if self._reader.detached.is_set() else "attached"
        return f"<Attachment, {state}, {self.pending} bytes pending>"

    @property
    def pending(self) -> int:
        """How many kept bytes it has not received yet."""
        return self._reader.pending

    @property
    def start(self) -> int:
        """The offset at which it began: how many bytes the terminal had put out before that one."""
        return self._reader.start

    @property
    def offset(self) -> int:
        """The offset of the next byte to receive: the ``since`` of an attach that goes on there."""
        return self._reader.position

    @property
    def missing(self) -> int:
        """How many bytes it does not receive, because they were kept no more.

        They are those between ``since``, or the start of the output, and ``start``. There are more
        if it is slow while the session is being ended.
        """
        return self._reader.missing

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
        return (await self._reader.receive(most)).data

    def resize(self, rows: int, cols: int) -> None:
        """Tell the size of the window in which this attachment's user sees the session.

        Several attachments may tell theirs; the supervisor's ``window_size`` says which one the
        session's own window gets. A dimension of 0 means that it is unknown. An attachment that is
        detached gives its size back: the others decide. The first few changes are made at once, and
        then at most 20 in a second.
        Raises `InvalidArgument`, and `SessionEnded` as `Session.resize` does.
        """
        self._viewer.tell(rows, cols)

    def typed(self, data: bytes) -> None:
        """Note that this attachment's user has typed ``data``, which `Session.send` sends.

        With the ``window_size`` ``"latest"`` the session's window gets the size that this
        attachment has told. What a terminal sends by itself, such as its answer to a query, does
        not count. Raises `InvalidArgument`.
        """
        self._viewer.typed(validate.byte_string("data", data))

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


async def receive_piece(attachment: Attachment, most: int) -> Piece:
    """Receive as `Attachment.receive` does; return the offset of the output as well."""
    return await attachment._reader.receive(most)  # noqa: SLF001 - as if it were a method
