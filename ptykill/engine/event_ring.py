"""Numbers the events of all sessions, keeps the newest, and gives them to those who wait for more.

A reader has nothing here but the number of its last event. So a slow reader takes no memory and
holds nobody up: when the ring has gone past it, it gets a reset with the list of all sessions.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Self

import trio

from ptykill.rules.session_event import EventKind, SessionEvent
from ptykill.rules.verdict import Delivery, EndReason, Verdict

__all__ = ["EventReader", "EventRing"]

KEPT = 4096
"""Events that are kept for readers that come back."""
_DIGITS = re.compile(r"\d{1,19}", re.ASCII)
_AT_ONCE = 256
"""Events that a reader gets at a time."""
_Details = Delivery | Verdict | EndReason | None
_Entry = tuple[EventKind, float, str, Mapping[str, object], _Details]
_NONE: Mapping[str, object] = {}


class EventRing:
    """The newest events of one supervisor.

    ``snapshot`` returns the records of all sessions. ``last`` is the number of the newest event.
    Ids begin with a random text: those of another run are recognized.

    Events are kept once somebody has asked for events, or for the id of the newest: until then
    ``followed`` is False, and nothing has to be added.
    """

    def __init__(self, snapshot: Callable[[], tuple[Mapping[str, object], ...]]) -> None:
        self.followed: bool = False
        self.last: int = 0
        self._run = secrets.token_hex(8)
        self._snapshot = snapshot
        self._kept: list[_Entry | None] = [None] * KEPT
        self._waiting = trio.lowlevel.ParkingLot()
        self._closed = False

    @property
    def last_id(self) -> str:
        """The id of the newest event."""
        self.followed = True
        return self._id(self.last)

    def add(
        self,
        kind: EventKind,
        session_id: str,
        changes: Mapping[str, object] = _NONE,
        details: _Details = None,
    ) -> None:
        """Add an event, and wake the readers; do nothing while there was none."""
        if not self.followed:
            return
        self.last += 1
        self._kept[self.last % len(self._kept)] = kind, time.time(), session_id, changes, details
        if self._waiting:
            self._waiting.unpark_all()

    def close(self) -> None:
        """End the readers, once they have all events."""
        self._closed = True
        self._waiting.unpark_all()

    def position(self, since: str | None) -> int | None:
        """Return the number of an id; None if a reader with that id needs a reset."""
        run, dash, digits = (since or "").partition("-")
        known = run == self._run and dash and _DIGITS.fullmatch(digits)
        return int(digits) if known else None

    async def after(self, position: int | None) -> list[SessionEvent]:
        """Wait for events after a number, and return some; none if there will be no more.

        Return a reset alone if events after that number are missing. Cancelling this loses none.
        """
        await trio.lowlevel.checkpoint()
        while position == self.last and not self._closed:
            await self._waiting.park()
        return self.pending(position)

    def pending(self, position: int | None) -> list[SessionEvent]:
        """Return some of the events after a number, as `after` does; none if there are none yet."""
        if position is None or not self.last - len(self._kept) <= position <= self.last:
            return [] if self._closed else [self._reset()]
        end = min(self.last, position + _AT_ONCE)
        return [self._event(number) for number in range(position + 1, end + 1)]

    def _id(self, number: int) -> str:
        return f"{self._run}-{number}"

    def _reset(self) -> SessionEvent:
        return SessionEvent(
            id=self.last_id,
            number=self.last,
            kind=EventKind.RESET,
            at=time.time(),
            sessions=self._snapshot(),
        )

    def _event(self, number: int) -> SessionEvent:
        entry = self._kept[number % len(self._kept)]
        assert entry is not None
        kind, at, session_id, changes, details = entry
        return SessionEvent(
            id=self._id(number),
            number=number,
            kind=kind,
            at=at,
            session_id=session_id,
            changes=changes,
            why=details if isinstance(details, EndReason) else None,
            delivery=details if isinstance(details, Delivery) else None,
            verdict=details if isinstance(details, Verdict) else None,
        )


class EventReader:
    """Reads the events of a supervisor. Made by `Supervisor.events`; an async iterator.

    It ends when the supervisor is closed. Cancelling it loses no event.
    """

    def __init__(self, ring: EventRing, since: str | None) -> None:
        self._ring = ring
        self._position = ring.position(since)
        self._pending: list[SessionEvent] = []

    def __aiter__(self) -> Self:
        """Return the reader itself."""
        return self

    async def __anext__(self) -> SessionEvent:
        """Wait for the next event, and return it."""
        if not self._pending:
            self._pending = await self._ring.after(self._position)
            self._pending.reverse()
        if not self._pending:
            raise StopAsyncIteration
        event = self._pending.pop()
        self._position = event.number
        return event
