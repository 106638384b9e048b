"""What a terminal writes: to everybody who is attached, or kept for whoever will be.

A program is held back by its terminal when nobody takes what it writes. That is wanted where its
output matters, and fatal where its clean-up does; so each attachment has some patience to use up:
seconds in which it may hold the program back, until it has caught up. Then it is dropped. With
several, the slow hold up the fast for no longer than that. Once the session is being ended nobody
holds anything back, and bytes are lost instead: the oldest.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

import trio

from ptykill.backlog import Backlog
from ptykill.caller import made_for
from ptykill.errors import AttachmentDropped, InvalidArgument

__all__ = ["CHUNK", "Attachment", "Output"]

CHUNK = 65_536
"""Bytes that are received at a time unless more are asked for."""
_EXHAUSTED = 0.001
"""Seconds that are as good as none: what is left after subtractions is no exact zero."""


class Output:
    """The output of one terminal. ``limit`` is how many bytes are kept while nobody is attached."""

    def __init__(self, limit: int) -> None:
        self.ended: bool = False
        self.kept: Backlog = Backlog(limit)
        self.attachments: list[Attachment] = []
        self._flowing = False
        self._news = trio.Event()
        self._moved = trio.Event()

    def put(self, data: bytes) -> None:
        """Hand some output to everybody who is attached, or keep it."""
        if self.ended:
            return
        if self.attachments:
            for attachment in self.attachments:
                attachment.put(data)
        else:
            self.kept.put(data)
        self.wake()

    def end(self) -> None:
        """There will be no more, so there is nobody to be held back either."""
        self.ended = True
        self.wake()
        self.moved()

    def flow(self) -> None:
        """Hold the terminal back for nobody from now on: the session is being ended."""
        self._flowing = True
        if self.attachments:  # Or else it is held back by nobody.
            for attachment in self.attachments:
                attachment.lose_the_oldest()
            self.moved()

    async def paced(self) -> None:
        """Wait while an attachment has as much as it may have; drop it if that takes too long."""
        while not self._flowing and not self.ended:
            late = [each for each in self.attachments if each.full]
            if not late:
                return
            everybody = len(late) == len(self.attachments)
            for each in late:
                each.took = each.caught_up = False
            began = trio.current_time()
            with trio.move_on_after(min(each.patience for each in late)):
                await self._moved.wait()
            waited = trio.current_time() - began
            for each in late:
                if each.caught_up:
                    each.regain_patience()
                elif not (everybody and each.took):
                    each.patience -= waited
                if each.patience < _EXHAUSTED:
                    each.drop()

    async def some(self) -> None:
        """Wait until there is something new: output, or its end."""
        await self._news.wait()

    def wake(self) -> None:
        """Wake all who wait for something new."""
        self._news.set()
        self._news = trio.Event()

    def moved(self) -> None:
        """Tell that somebody has taken something, or is gone."""
        self._moved.set()
        self._moved = trio.Event()

    def attach(self, limit: int, patience: float) -> Attachment:
        """Attach one more; what was kept is the first that it receives."""
        attachment = Attachment(self, limit, patience)
        if self._flowing:
            attachment.lose_the_oldest()
        self.attachments.append(attachment)
        attachment.put(self.kept.take(len(self.kept)))
        return attachment

    def detach(self, attachment: Attachment, rest: bytes) -> None:
        """Let one go. What the last one has not received is kept for the next."""
        self.attachments.remove(attachment)
        if not self.attachments:
            self.kept.put(rest)
        self.moved()


class Attachment:
    """One who receives everything that a session's terminal writes. Made by `Session.attach`.

    A context manager that detaches. Detaching ends nothing: what is written while nobody is
    attached is kept, the newest bytes of it, and goes to who attaches next.
    """

    def __init__(self, output: Output, limit: int, patience: float) -> None:
        self.dropped: trio.Event = trio.Event()
        self.made_for: object = made_for.get()
        self.took: bool = False
        self.caught_up: bool = False
        self.patience: float = patience
        self._patience = patience
        self._output = output
        self._limit = limit
        self._waiting = Backlog(math.inf)
        self._attached = True

    async def receive(self, most: int = CHUNK) -> bytes:
        """Wait for output and return up to ``most`` bytes; ``b""`` when there will be no more.

        Raises `AttachmentDropped` if so much was not received in time that it was let go, and
        `InvalidArgument`.
        """
        if most < 1:
            msg = f"at least one byte has to be asked for, not {most!r}"
            raise InvalidArgument(msg)
        await trio.lowlevel.checkpoint()
        while self._attached and not self._waiting and not self._output.ended:
            await self._output.some()
        if self.dropped.is_set():
            msg = "too slow: it had held the terminal back for too long"
            raise AttachmentDropped(msg)
        data = self._waiting.take(most)
        self.took, self.caught_up = True, not self._waiting
        self._output.moved()
        return data

    def close(self) -> None:
        """Detach. May be repeated; whoever waits in `receive` is told that there is no more."""
        if self._attached:
            self._attached = False
            self._output.detach(self, self._waiting.take(len(self._waiting)))
            self._output.wake()

    def __enter__(self) -> Self:
        """Return the attachment itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Detach."""
        self.close()

    # --- for the output ---------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether it has as much as it may have."""
        return len(self._waiting) >= self._limit

    def put(self, data: bytes) -> None:
        """Add what the terminal has written."""
        self._waiting.put(data)

    def regain_patience(self) -> None:
        """Forget how long it has held the terminal back: it has caught up."""
        self.patience = self._patience

    def drop(self) -> None:
        """Let it go: it is too slow."""
        self.dropped.set()
        self._waiting.take(len(self._waiting))
        self.close()

    def lose_the_oldest(self) -> None:
        """Lose bytes from now on, where it has too many, and hold nobody back."""
        self._waiting.limit = self._limit
