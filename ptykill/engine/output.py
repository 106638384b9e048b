"""Keeps the newest output of a terminal, and gives it to each attachment from its own position.

While a terminal is full, the program's writes block. The output is not read while an attachment is
at its limit of pending bytes, and the terminal fills up. A single attachment may stay there for any
time, as with any terminal. While another attachment waits for output, its ``stall_timeout`` runs,
and then it is dropped. The output that it has not received is kept as long as it is among the
newest, so the next attachment gets it. Once the session is being ended no attachment stops the
reads, and the oldest bytes are dropped instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from ptykill.errors import AttachmentDropped
from ptykill.rules.backlog import Backlog

__all__ = ["CHUNK", "Output", "Reader"]

CHUNK = 65_536
"""Bytes that are received at a time unless more are asked for."""
_EXHAUSTED = 0.001
"""Seconds that count as zero: the difference of two floats is seldom exactly zero."""


class Output:
    """Keeps the newest ``limit`` bytes of one terminal's output.

    It keeps more while an attachment has not received them. ``bytes_dropped`` counts the bytes that
    were dropped before any receiver had got them.
    """

    def __init__(self, limit: int) -> None:
        self.ended: bool = False
        self.bytes_dropped: int = 0
        self.kept: Backlog = Backlog()
        self.readers: list[Reader] = []
        self._limit = limit
        self._flowing = False
        self._at_end: Callable[[], object] | None = None
        self._received = 0
        """The offset up to which all bytes were received, or dropped."""
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
        """End the output, and wake all tasks that wait for more."""
        self.ended = True
        self.wake()
        self.moved()
        at_end, self._at_end = self._at_end, None
        if at_end is not None:
            at_end()

    def call_at_end(self, function: Callable[[], object]) -> None:
        """Call a function when the output has ended: now, if it has already."""
        if self.ended:
            function()
        else:
            self._at_end = function

    def flow(self) -> None:
        """Let no attachment stop the reads from now on: the session is being ended."""
        self._flowing = True
        if self.readers:  # Only an attachment stops the reads.
            self._let_all_skip()
            self.moved()

    def forget(self) -> None:
        """Drop the output that is not pending for an attachment."""
        self._limit = 0
        self.trim()

    async def paced(self) -> None:
        """Wait while an attachment is at its limit; drop it when its ``stall_timeout`` is over."""
        while not self._flowing and not self.ended:
            late = [each for each in self.readers if each.full]
            if not late:
                return
            starved = any(each.starved for each in self.readers)
            stalling = [each for each in late if starved or not each.begun]
            began = trio.current_time()
            with trio.move_on_after(min((each.stall_left for each in stalling), default=math.inf)):
                await self._moved.wait()
            waited = trio.current_time() - began
            for each in stalling:
                if each.pending:  # Else it has caught up, and its ``stall_timeout`` starts anew.
                    each.stall_left -= waited
                if each.stall_left < _EXHAUSTED:
                    each.drop()

    async def receive(self, most: int) -> bytes:
        """Wait for output that was not received yet, and return some; ``b""`` at its end.

        While there are attachments, they receive the output, and this waits.
        """
        while not self._unreceived and not self.ended:
            await self._news.wait()
        if not self._unreceived:
            return b""
        return self.read(max(self._received, self.kept.start), most)

    def read(self, offset: int, most: int) -> bytes:
        """Return kept output from an offset on, and note that it has been received."""
        data = self.kept.read(offset, most)
        self._received = max(self._received, offset + len(data))
        return data

    async def wait_news(self) -> None:
        """Wait for more output, or its end."""
        await self._news.wait()

    def wake(self) -> None:
        """Wake all tasks that wait for more output."""
        self._news.set()
        self._news = trio.Event()

    def moved(self) -> None:
        """Wake `paced`: an attachment has received something, waits for more, or is gone."""
        self._moved.set()
        self._moved = trio.Event()

    def attach(self, limit: int, stall_timeout: float) -> Reader:
        """Add an attachment, which receives the kept output first."""
        reader = Reader(self, limit, stall_timeout)
        self.readers.append(reader)
        return reader

    def detach(self, reader: Reader) -> None:
        """Remove an attachment."""
        self.readers.remove(reader)
        self.trim()
        self.wake()
        self.moved()

    def trim(self) -> None:
        """Drop output that is neither among the newest nor pending for an attachment."""
        needed = min((each.position for each in self.readers), default=self.kept.end)
        before = min(needed, self.newest)
        if before > self.kept.start:
            self.bytes_dropped += max(0, before - max(self._received, self.kept.start))
            self.kept.forget(before)

    @property
    def _unreceived(self) -> int:
        """How many bytes there are for `receive`."""
        if self.readers:
            return 0
        return self.kept.end - max(self._received, self.kept.start)

    def _let_all_skip(self) -> None:
        for reader in self.readers:
            reader.skip()


class Reader:
    """The position of one attachment in the output. Made by `Output.attach`.

    ``begun`` is whether `receive` was called, ``position`` the offset of the next byte to receive.
    It may stop the program's writes for ``stall_left`` seconds more.
    """

    def __init__(self, output: Output, limit: int, stall_timeout: float) -> None:
        self.begun: bool = False
        self.position: int = output.newest
        self.stall_left: float = stall_timeout
        self.dropped: bool = False
        self.detached: trio.Event = trio.Event()
        self._output = output
        self._limit = limit
        self._stall_timeout = stall_timeout
        self._since = output.kept.end
        self._waiting = False

    @property
    def pending(self) -> int:
        """How many kept bytes it has not received yet."""
        return self._output.kept.end - self.position

    @property
    def starved(self) -> bool:
        """Whether it has received everything, and waits for more."""
        return self._waiting and not self.pending

    @property
    def full(self) -> bool:
        """Whether it is at its limit; bytes that were kept before it attached do not count."""
        return self._output.kept.end - max(self.position, self._since) >= self._limit

    async def receive(self, most: int) -> bytes:
        """Wait for output, and return some; ``b""`` at its end, and once it is closed.

        Raises `AttachmentDropped`.
        """
        self.begun = True
        while not self.detached.is_set() and not self.pending and not self._output.ended:
            await self._wait()
        if self.dropped:
            msg = "too slow: the attachment has stopped the program's writes for too long"
            raise AttachmentDropped(msg)
        if self.detached.is_set():
            return b""
        data = self._output.read(self.position, most)
        self.position += len(data)
        if not self.pending:
            self.stall_left = self._stall_timeout
        self._output.moved()
        return data

    def skip(self) -> None:
        """Skip the oldest pending bytes, down to its limit."""
        self.position = max(self.position, self._output.kept.end - self._limit)

    def drop(self) -> None:
        """Detach it for being too slow: `receive` raises from now on."""
        if not self.detached.is_set():
            self.dropped = True
            self.close()

    def close(self) -> None:
        """Detach it. May be called again."""
        if not self.detached.is_set():
            self.detached.set()
            self._output.detach(self)

    async def _wait(self) -> None:
        self._waiting = True
        self._output.moved()
        try:
            await self._output.wait_news()
        finally:
            self._waiting = False
