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
import time
from collections.abc import Callable
from typing import NamedTuple

import trio

from ptykill.engine.caller import if_undelivered
from ptykill.errors import AttachmentDropped
from ptykill.rules.backlog import Backlog
from ptykill.rules.replay import Beginning, ReplayStart, read_replay

__all__ = ["CHUNK", "Output", "Piece", "Reader"]

CHUNK = 65_536
"""Bytes that are received at a time unless more are asked for."""
_EXHAUSTED = 0.001
"""Seconds that count as zero: the difference of two floats is seldom exactly zero."""


class Piece(NamedTuple):
    """Some output, and the offset at which it begins.

    The offset is None for the modes before a replay, which are no output of the program's.
    """

    data: bytes
    offset: int | None


class Wakeup:
    """Wakes the tasks that wait at the time; it costs nothing while none does."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: trio.Event | None = None

    async def wait(self) -> None:
        """Wait for the next `wake`."""
        if self._event is None:
            self._event = trio.Event()
        await self._event.wait()

    def wake(self) -> None:
        """Wake all tasks that wait."""
        event, self._event = self._event, None
        if event is not None:
            event.set()


def _ignore(_change: int, _count: int) -> None:
    """Do nothing."""


class Output:
    """Keeps the newest ``limit`` bytes of one terminal's output.

    It keeps more while an attachment has not received them. ``bytes_dropped`` counts the bytes that
    were dropped before any receiver had got them. ``on_change`` is called with 1 when an
    attachment is added, and with -1 when one is gone, and with the number of all.
    """

    def __init__(self, limit: int, on_change: Callable[[int, int], object] = _ignore) -> None:
        self.ended: bool = False
        self.bytes_dropped: int = 0
        self.put_at: float | None = None
        """When output was last added, in seconds since the epoch; None if never."""
        self.kept: Backlog = Backlog()
        self.readers: list[Reader] = []
        self.attached_ever: int = 0
        self.dropped_ever: int = 0
        """How many attachments there have been, and how many were dropped for being too slow."""
        self.on_readers: Callable[[int], object] | None = None
        """Called with the number of attachments when it has changed."""
        self._replay = ReplayStart()
        self._limit = limit
        self._flowing = False
        self._at_end: Callable[[], object] | None = None
        self._on_change: Callable[[int, int], object] = on_change
        self._received = 0
        """The offset up to which all bytes were received, or dropped."""
        self.taken: int = 0
        """The offset up to which the session's own user has received the output, or taken it."""
        self._news = Wakeup()
        self._moved = Wakeup()

    @property
    def newest(self) -> int:
        """The offset at which the newest output begins: what an attachment receives first."""
        return max(self.kept.start, self.kept.end - self._limit)

    def begin(self, since: int | None) -> Beginning:
        """Return where an attachment begins that has the output up to ``since``."""
        if since is None or since < self.kept.start:
            return self._replay.begin(self.kept)
        return Beginning(since, b"")

    def put(self, data: bytes) -> None:
        """Add some output."""
        if self.ended:
            return
        self.put_at = time.time()
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
        self._let_all_skip()
        self.moved()

    def forget(self) -> None:
        """Drop the output that is not pending for an attachment."""
        self._limit = 0
        self.trim()
        self._replay.forget()

    async def paced(self) -> None:
        """Wait while an attachment is at its limit; drop it when its ``stall_timeout`` is over."""
        while not self._flowing and not self.ended:
            late = [each for each in self.readers if each.full]
            if not late:
                return
            starved = any(each.starved for each in self.readers)
            stalling = [each for each in late if starved or not (each.begun and each.may_stall)]
            began = trio.current_time()
            with trio.move_on_after(min((each.stall_left for each in stalling), default=math.inf)):
                await self._moved.wait()
            waited = trio.current_time() - began
            for each in stalling:
                if each.pending:  # Else it has caught up, and its ``stall_timeout`` starts anew.
                    each.stall_left -= waited
                if each.stall_left < _EXHAUSTED:
                    each.drop()

    async def wait_flow(self) -> None:
        """Wait until the session is being ended, or the output has ended."""
        while not self._flowing and not self.ended:
            await self._moved.wait()

    async def receive(self, most: int) -> bytes:
        """Wait for output that was not received yet, and return some; ``b""`` at its end.

        While there are attachments, they receive the output, and this waits.
        """
        while not self._unreceived and not self.ended:
            await self._news.wait()
        if not self._unreceived:
            return b""
        before = self._received, self.taken
        data = self.read(max(self._received, self.kept.start), most)
        self.taken = self._received
        after = self._received, self.taken
        if_undelivered(data, lambda: self.give_back(before, after))
        return data

    def take(self, offset: int) -> Callable[[], None]:
        """Note that the session's own user needs nothing before an offset any more.

        Returns a function that gives back what was taken.
        """
        before = self._received, self.taken
        self.taken = max(self.taken, offset)
        self._received = max(self._received, offset)
        after = self._received, self.taken
        return lambda: self.give_back(before, after)

    def give_back(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        """Let the session's own user receive some output again, unless more was received since."""
        if (self._received, self.taken) == after:
            self._received, self.taken = before
            self.wake()

    @property
    def received(self) -> int:
        """The offset up to which somebody has received all output that was kept."""
        return self._received

    def read(self, offset: int, most: int, start: int = 0, answered: int = 0) -> bytes:
        """Return kept output from an offset on, and note that it has been received.

        From ``start`` to ``answered`` queries are left out.
        """
        data = read_replay(self.kept, offset, most, start, answered)
        self._received = max(self._received, offset + len(data))
        return data

    async def wait_news(self) -> None:
        """Wait for more output, or its end."""
        await self._news.wait()

    def wake(self) -> None:
        """Wake all tasks that wait for more output."""
        self._news.wake()

    def moved(self) -> None:
        """Wake `paced`: an attachment has received something, waits for more, or is gone."""
        self._moved.wake()

    def attach(
        self,
        limit: int,
        stall_timeout: float,
        since: int | None = None,
        *,
        may_stall: bool = True,
    ) -> Reader:
        """Add an attachment, which receives the kept output first, from the offset ``since`` on."""
        reader = Reader(self, limit, stall_timeout, since, may_stall=may_stall)
        self.readers.append(reader)
        self.attached_ever += 1
        self._count_readers(1)
        return reader

    def detach(self, reader: Reader) -> None:
        """Remove an attachment."""
        self.readers.remove(reader)
        self._count_readers(-1)
        self.trim()
        self.wake()
        self.moved()

    def _count_readers(self, change: int) -> None:
        self._on_change(change, len(self.readers))
        if self.on_readers is not None:
            self.on_readers(len(self.readers))

    def trim(self) -> None:
        """Drop output that is neither among the newest nor pending for an attachment."""
        self._replay.advance(self.kept, self.newest)
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

    ``begun`` is whether `receive` was called, ``start`` the offset at which it begins, ``position``
    that of the next byte to receive. ``missing`` counts the bytes that it does not get. It may stop
    the program's writes for ``stall_left`` seconds more, or for any time if it is the only one and
    ``may_stall`` is true.
    """

    def __init__(
        self,
        output: Output,
        limit: int,
        stall_timeout: float,
        since: int | None,
        *,
        may_stall: bool,
    ) -> None:
        self.may_stall: bool = may_stall
        self.begun: bool = False
        start, modes = output.begin(since)
        self.start: int = start
        self._modes = modes
        self.position: int = self.start
        self.missing: int = self.start - (since or 0)
        self.stall_left: float = stall_timeout
        self.dropped: bool = False
        self.detached: trio.Event = trio.Event()
        self._output = output
        self._limit = limit
        self._stall_timeout = stall_timeout
        self._when_detached: Callable[[], object] | None = None
        self._since = output.kept.end
        self._answered = output.received
        """The offset up to which queries are left out: somebody has received, and answered them."""
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

    async def receive(self, most: int) -> Piece:
        """Wait for output, and return some; no data at its end, and once it is closed.

        Raises `AttachmentDropped`.
        """
        self.begun = True
        while not (self.detached.is_set() or self._modes or self.pending or self._output.ended):
            await self._wait()
        if self.dropped:
            msg = "too slow: the attachment has stopped the program's writes for too long"
            raise AttachmentDropped(msg)
        at = self.position
        if self.detached.is_set():
            return Piece(b"", at)
        if self._modes:
            modes, self._modes = self._modes[:most], self._modes[most:]
            return Piece(modes, None)
        data = self._output.read(at, most, self.start, self._answered)
        self.position += len(data)
        if not self.pending:
            self.stall_left = self._stall_timeout
        self._output.moved()
        if_undelivered(data, lambda: self._give_back(at, at + len(data)))
        return Piece(data, at)

    def _give_back(self, before: int, after: int) -> None:
        """Let it receive output again, as far as it is kept, unless more was received since."""
        if self.position == after and not self.detached.is_set():
            self.position = max(before, self._output.kept.start)
            self.missing += self.position - before
            self._output.wake()

    def skip(self) -> None:
        """Skip the oldest pending bytes, down to its limit."""
        skipped = max(0, self._output.kept.end - self._limit - self.position)
        self.position += skipped
        self.missing += skipped

    def drop(self) -> None:
        """Detach it for being too slow: `receive` raises from now on."""
        if not self.detached.is_set():
            self.dropped = True
            self._output.dropped_ever += 1
            self.close()

    def call_when_detached(self, function: Callable[[], object]) -> None:
        """Call a function when it is detached, for whatever reason. There can be one."""
        self._when_detached = function

    def close(self) -> None:
        """Detach it. May be called again."""
        if not self.detached.is_set():
            self.detached.set()
            self._output.detach(self)
            if self._when_detached is not None:
                self._when_detached()

    async def _wait(self) -> None:
        self._waiting = True
        self._output.moved()
        try:
            await self._output.wait_news()
        finally:
            self._waiting = False
