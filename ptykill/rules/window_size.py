"""The size of a window that several clients see: which client decides, and how often it changes.

A client tells the size of its own window, and may type. Two policies choose:

`WindowPolicy.LATEST`: the client that has acted last, by typing or by telling another size. A
dimension that it has not told is that of the client before it. This is the default of tmux(1)
(``window-size latest``).
`WindowPolicy.SMALLEST`: the least rows and the least columns of all clients, so that each sees the
whole window.

A request that no client made sets the size at once. It holds until a client tells another size, or,
with `LATEST`, until one types. When a client leaves, the others decide; if none of them has told a
size, the window keeps the one that it has, so a client that comes back finds it unchanged.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterator
from typing import NamedTuple

__all__ = ["Pace", "Size", "WindowPolicy", "WindowSize"]


class WindowPolicy(enum.StrEnum):
    """Which size a window gets that several attachments see, each in a window of its own."""

    LATEST = "latest"
    """The size of the attachment that has typed or changed its size last."""
    SMALLEST = "smallest"
    """The least rows and the least columns of all, so that each sees the whole window."""


class Size(NamedTuple):
    """A size in characters; 0 means unknown."""

    rows: int
    cols: int

    def over(self, below: Size) -> Size:
        """Return this size, with the unknown dimensions of another one."""
        return Size(self.rows or below.rows, self.cols or below.cols)


class WindowSize:
    """Decides about the ``size`` of one window. A client is known by any hashable object."""

    def __init__(self, policy: WindowPolicy, size: Size) -> None:
        self.size: Size = size
        self._policy = policy
        self._told: dict[Hashable, Size] = {}
        """What the clients have told; those that have acted last come last."""
        self._requested = False
        """Whether the size is that of a request."""

    def request(self, size: Size) -> None:
        """Set the size for no client; a dimension of 0 stays as it is."""
        self.size = size.over(self.size)
        self._requested = True

    def tell(self, client: Hashable, size: Size) -> None:
        """Note the size of a client's window; a dimension of 0 stays as it was.

        A client that tells the same size again has not acted: some do so for no reason.
        """
        before = self._told.get(client, Size(0, 0))
        now = size.over(before)
        if now != before:
            self._told.pop(client, None)
            self._told[client] = now
            self._decide()

    def typed(self, client: Hashable) -> None:
        """Note that a client has typed."""
        if self._policy is WindowPolicy.LATEST and client in self._told:
            self._told[client] = self._told.pop(client)
            self._decide()

    def leave(self, client: Hashable) -> None:
        """Forget a client. May be called again, and for one that has told no size."""
        if self._told.pop(client, None) is not None and not self._requested:
            self._decide()

    def _decide(self) -> None:
        self._requested = False
        rows = self._choose(size.rows for size in reversed(self._told.values()))
        cols = self._choose(size.cols for size in reversed(self._told.values()))
        self.size = Size(rows, cols).over(self.size)

    def _choose(self, told: Iterator[int]) -> int:
        """Return one dimension, given the clients' from the latest on; 0 if none has told it."""
        known = filter(None, told)
        return next(known, 0) if self._policy is WindowPolicy.LATEST else min(known, default=0)


class Pace:
    """Bounds how often something happens: ``burst`` times at once, and then every ``interval``."""

    def __init__(self, burst: int, interval: float) -> None:
        self._burst = burst
        self._interval = interval
        self._free_at = -float("inf")
        """When all of the burst is there again, in seconds."""

    def wait(self, now: float) -> float:
        """Return the seconds until the next time; 0 means now, and counts as one time."""
        wait = self._free_at - (self._burst - 1) * self._interval - now
        if wait > 0:
            return wait
        self._free_at = max(self._free_at, now) + self._interval
        return 0.0
