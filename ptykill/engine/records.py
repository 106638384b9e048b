"""Keeps the records of ended sessions for a while.

A record is the ended session itself, so a later `terminate` returns the verdict. Records are
dropped when they are too old, too many, or too large. Their age is measured on trio's clock, since
the wall clock can be set: a record that is dropped too early is a 404 for a retried DELETE.

A record also holds the session's newest output, for a client that attaches late. When all records
hold too much output, the oldest drop theirs and stay.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from functools import partial

import trio

from ptykill.engine.output import Output
from ptykill.engine.session import Session
from ptykill.rules.command import Command

__all__ = ["Records"]

MOST_BYTES = 16 << 20
"""Bytes that the commands and environments of all records may take; the newest is always kept."""
MOST_OUTPUT = 32 << 20
"""Bytes of output that all records may hold; the newest always keeps its own."""


class Records:
    """Keeps ended sessions, in the order in which they ended.

    ``seconds`` is how long one is kept, ``count`` how many are kept. ``on_drop`` is called with
    each session whose record is dropped.
    """

    def __init__(self, seconds: float, count: int, on_drop: Callable[[Session], None]) -> None:
        self._on_drop = on_drop
        self._seconds = seconds
        self._count = count
        self._kept: dict[str, tuple[Session, float, int]] = {}
        """Each record, when it expires (trio's clock), and its size in bytes."""
        self._bytes = 0
        self._dropped: list[Session] = []
        self._outputs: dict[str, tuple[Output, int]] = {}
        """The output of each record, and its size in bytes, in the order in which outputs ended."""
        self._output_bytes = 0
        self._waiting = trio.lowlevel.ParkingLot()

    def keep(self, session: Session, output: Output) -> None:
        """Keep a session that has just ended; drop the oldest ones if there are too many."""
        size = _size(session.command)
        self._kept[session.id] = session, trio.current_time() + self._seconds, size
        self._bytes += size
        while len(self._kept) > self._count or (self._bytes > MOST_BYTES and len(self._kept) > 1):
            self._drop_oldest()
        # The end of the output may come some time after the session's.
        output.call_at_end(partial(self._keep_output, session.id, output))
        self._waiting.unpark()

    def get(self, session_id: str) -> Session | None:
        """Return a record; None if there is none."""
        record = self._kept.get(session_id)
        return None if record is None else record[0]

    def __iter__(self) -> Iterator[Session]:
        """Yield the sessions."""
        return (session for session, _, _ in self._kept.values())

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Drop each record when it expires, until cancelled. Without records nothing wakes up."""
        while True:
            if not self._kept:
                await self._waiting.park()
            else:
                await trio.sleep_until(self._expiry())
                while self._kept and self._expiry() <= trio.current_time():
                    self._drop_oldest()
                self.free_dropped()

    def free_dropped(self) -> None:
        """Free the memory of dropped sessions, which takes a tenth of the time of a kill."""
        self._dropped.clear()

    def _keep_output(self, session_id: str, output: Output) -> None:
        if session_id not in self._kept:
            return
        held = len(output.kept)
        self._outputs[session_id] = output, held
        self._output_bytes += held
        while self._output_bytes > MOST_OUTPUT and len(self._outputs) > 1:
            oldest, held = self._outputs.pop(next(iter(self._outputs)))
            self._output_bytes -= held
            oldest.forget()

    def _expiry(self) -> float:
        _, when, _ = next(iter(self._kept.values()))
        return when

    def _drop_oldest(self) -> None:
        session_id = next(iter(self._kept))
        session, _, size = self._kept.pop(session_id)
        self._bytes -= size
        _, held = self._outputs.pop(session_id, (None, 0))
        self._output_bytes -= held
        self._on_drop(session)
        self._dropped.append(session)


def _size(command: Command) -> int:
    """Return how many bytes a command and its environment take in memory."""
    texts = itertools.chain(command.args, *(command.env or {}).items())
    return sum(map(sys.getsizeof, texts))
