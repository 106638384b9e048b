"""Reads the events of a host's sessions, from threads and from event loops."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Awaitable, Callable
from typing import Self

from ptykill.embedding.loops import wait_for_future
from ptykill.errors import SupervisorClosed
from ptykill.rules.session_event import SessionEvent

__all__ = ["HostEvents"]

Fetch = Callable[[str | None], Callable[[], Awaitable[list[SessionEvent]]]]
"""Makes the function that fetches, in the trio thread, the events after one with an id."""


class HostEvents:
    """Reads the events of a host's sessions. Made by `Host.events`.

    It is an iterator, which blocks, and an async iterator, for any event loop; use one of them. It
    ends when the host is closed, after the events of that. Cancelling or interrupting it loses no
    event.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        call: Callable[[Callable[[], Awaitable[list[SessionEvent]]]], list[SessionEvent]],
        acall: Callable[
            [Callable[[], Awaitable[list[SessionEvent]]]], Awaitable[list[SessionEvent]]
        ],
        fetch: Fetch,
        ended: Callable[[], concurrent.futures.Future[None] | None],
        rest: Callable[[str | None], list[SessionEvent]],
        since: str | None,
    ) -> None:
        self._call = call
        self._acall = acall
        self._fetch = fetch
        self._ended = ended
        self._rest = rest
        self._since = since
        self._pending: list[SessionEvent] = []
        """Fetched events, the newest first."""

    def __iter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __next__(self) -> SessionEvent:
        """Wait for the next event, and return it."""
        if not self._pending:
            try:
                self._pending = self._call(self._fetch(self._since))[::-1]
            except SupervisorClosed:
                # Events came while the host was being closed, and took no more calls.
                ended = self._ended()
                if ended is not None:
                    ended.result()
                    self._pending = self._rest(self._since)[::-1]
        if not self._pending:
            raise StopIteration
        return self._next()

    def __aiter__(self) -> Self:
        """Return the reader itself."""
        return self

    async def __anext__(self) -> SessionEvent:
        """Wait for the next event without blocking the loop, and return it."""
        if not self._pending:
            try:
                self._pending = (await self._acall(self._fetch(self._since)))[::-1]
            except SupervisorClosed:
                ended = self._ended()
                if ended is not None:
                    await wait_for_future(ended)
                    self._pending = self._rest(self._since)[::-1]
        if not self._pending:
            raise StopAsyncIteration
        return self._next()

    def _next(self) -> SessionEvent:
        event = self._pending.pop()
        self._since = event.id
        return event
