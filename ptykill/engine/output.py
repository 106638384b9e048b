"""What a terminal writes: the newest of it is kept, and each attachment has its place in it.

A program is held back by its terminal when nobody takes what it writes. An attachment that is as
far behind as it may be has that done. Alone it may do so for as long as it likes, as a terminal
does; while another one waits for output it uses up its patience, and then it is dropped. What it
had not received is kept as long as it is among the newest output, so whoever attaches next gets
it. Once the session is being ended nobody holds the program back, and bytes are lost instead: the
oldest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

import trio

from ptykill.engine.caller import current_call
from ptykill.errors import AttachmentDropped, InvalidArgument
from ptykill.rules.backlog import Backlog

__all__ = ["CHUNK", "Attachment", "Output"]

CHUNK = 65_536
"""Bytes that are received at a time unless more are asked for."""
_EXHAUSTED = 0.001
"""Seconds that are as good as none: what is left after subtractions is no exact zero."""


class Output:
    """The output of one terminal, of which the newest ``limit`` bytes are kept.

    More is kept while an attachment has not received it. ``bytes_dropped`` counts the bytes that
    were forgotten before anybody had received them.
    """

    def __init__(self, limit: int) -> None:
        self.ended: bool = False
        self.bytes_dropped: int = 0
        self.kept: Backlog = Backlog()
        self.attachments: list[Attachment] = []
        self._limit = limit
        self._flowing = False
        self._at_end: Callable[[], object] | None = None
        self._received = 0
        """The offset up to which somebody has received everything, or what was left of it."""
        self._news = trio.Event()
        self._moved = trio.Event()

    @property
    def newest(self) -> int:
        """The offset at which the newest output begins: what an attachment receives first."""
        return max(self.kept.start, self.kept.end - self._limit)

    def put(self, data: bytes) -> None:
        """Add some output."""
        if self.ended:
            return
        self.kept.put(data)
        if self._flowing:
            self._let_all_skip()
        self.trim()
        self.wake()

    def end(self) -> None:
        """There will be no more, so there is nobody to be held back either."""
        self.ended = True
        self.wake()
        self.moved()
        at_end, self._at_end = self._at_end, None
        if at_end is not None:
            at_end()

    def call_at_end(self, function: Callable[[], object]) -> None:
        """Call a function when there will be no more output: now, if that is so already."""
        if self.ended:
            function()
        else:
            self._at_end = function

    def flow(self) -> None:
        """Hold the terminal back for nobody from now on: the session is being ended."""
        self._flowing = True
        if self.attachments:  # Or else it is held back by nobody.
            self._let_all_skip()
            self.moved()

    def forget(self) -> None:
        """Keep no more than an attachment still has to receive."""
        self._limit = 0
        self.trim()

    async def paced(self) -> None:
        """Wait while an attachment has as much as it may have; drop it if others wait too long."""
        while not self._flowing and not self.ended:
            late = [each for each in self.attachments if each.full]
            if not late:
                return
            starving = any(each.starving for each in self.attachments)
            hurried = [each for each in late if starving or not each.begun]
            began = trio.current_time()
            with trio.move_on_after(min((each.patience for each in hurried), default=math.inf)):
                await self._moved.wait()
            waited = trio.current_time() - began
            for each in hurried:
                if each.waiting:  # Or else it has caught up, and has all its patience again.
                    each.patience -= waited
                if each.patience < _EXHAUSTED:
                    each.drop()

    async def receive(self, most: int) -> bytes:
        """Wait for output that nobody has received, and return some; nothing at the end of it.

        While anybody is attached the output is theirs.
        """
        while not self._unreceived and not self.ended:
            await self._news.wait()
        if not self._unreceived:
            return b""
        return self.read(max(self._received, self.kept.start), most)

    def read(self, offset: int, most: int) -> bytes:
        """Return output from an offset on that is kept, and note that it has been received."""
        data = self.kept.read(offset, most)
        self._received = max(self._received, offset + len(data))
        return data

    async def some(self) -> None:
        """Wait until there is something new: output, or its end."""
        await self._news.wait()

    def wake(self) -> None:
        """Wake all who wait for something new."""
        self._news.set()
        self._news = trio.Event()

    def moved(self) -> None:
        """Tell that somebody has taken something, waits for more, or is gone."""
        self._moved.set()
        self._moved = trio.Event()

    def attach(self, limit: int, patience: float) -> Attachment:
        """Attach one more; the newest output is the first that it receives."""
        attachment = Attachment(self, limit, patience)
        self.attachments.append(attachment)
        return attachment

    def detach(self, attachment: Attachment) -> None:
        """Let one go."""
        self.attachments.remove(attachment)
        self.trim()
        self.wake()
        self.moved()

    def trim(self) -> None:
        """Forget what is neither among the newest output nor needed by an attachment."""
        needed = min((each.position for each in self.attachments), default=self.kept.end)
        before = min(needed, self.newest)
        if before > self.kept.start:
            self.bytes_dropped += max(0, before - max(self._received, self.kept.start))
            self.kept.forget(before)

    @property
    def _unreceived(self) -> int:
        """How many bytes there are for `receive`."""
        if self.attachments:
            return 0
        return self.kept.end - max(self._received, self.kept.start)

    def _let_all_skip(self) -> None:
        for attachment in self.attachments:
            attachment.skip()


class Attachment:
    """One who receives everything that a session's terminal writes. Made by `Session.attach`.

    A context manager that detaches. Detaching ends nothing: the newest output is kept, and is the
    first that goes to who attaches next.
    """

    def __init__(self, output: Output, limit: int, patience: float) -> None:
        self.dropped: trio.Event = trio.Event()
        self._made_in = current_call.get()
        self.begun: bool = False
        """Whether it has asked for output yet."""
        self.patience: float = patience
        self.position: int = output.newest
        """The offset, in the session's output, of the next byte that it receives."""
        self._patience = patience
        self._output = output
        self._limit = limit
        self._since = output.kept.end
        self._hungry = False
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
        self.begun = True
        while self._attached and not self.waiting and not self._output.ended:
            await self._wait()
        if self.dropped.is_set():
            msg = "too slow: it had held the terminal back for too long"
            raise AttachmentDropped(msg)
        if not self._attached:
            return b""
        data = self._output.read(self.position, most)
        self.position += len(data)
        if not self.waiting:
            self.patience = self._patience
        self._output.moved()
        return data

    def close(self) -> None:
        """Detach. May be repeated; whoever waits in `receive` is told that there is no more."""
        if self._attached:
            self._attached = False
            self._output.detach(self)

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

    async def _wait(self) -> None:
        self._hungry = True
        self._output.moved()
        try:
            await self._output.some()
        finally:
            self._hungry = False

    # --- for the output ---------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many bytes it has not received yet."""
        return self._output.kept.end - self.position

    @property
    def starving(self) -> bool:
        """Whether it has received everything, and waits for more."""
        return self._hungry and not self.waiting

    @property
    def full(self) -> bool:
        """Whether it is as far behind as it may be; what was there before it does not count."""
        return self._output.kept.end - max(self.position, self._since) >= self._limit

    def drop(self) -> None:
        """Let it go: it is too slow."""
        self.dropped.set()
        self.close()

    def skip(self) -> None:
        """Lose the oldest bytes that it has not received, where there are too many."""
        self.position = max(self.position, self._output.kept.end - self._limit)
