"""Waits for several descriptors, and calls the handler of each one that is ready."""

from __future__ import annotations

import math
import select
from collections.abc import Callable

__all__ = ["Poller"]


class Poller:
    """poll(2) on descriptors with a handler each. A handler may register and unregister others."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def register(self, fd: int, handler: Callable[[], None], events: int = select.POLLIN) -> None:
        """Have ``handler`` called when ``fd`` is ready."""
        self._handlers[fd] = handler
        self._poll.register(fd, events)

    def unregister(self, fd: int) -> None:
        """Forget a descriptor. May be repeated."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def clear(self) -> None:
        """Forget all descriptors."""
        for fd in list(self._handlers):
            self.unregister(fd)

    def wait(self, seconds: float) -> None:
        """Wait, no longer than that, and call the handlers. Raises what they raise, and OSError."""
        for fd, _ in self._poll.poll(None if seconds == math.inf else max(0, 1000 * seconds)):
            if fd in self._handlers:
                self._handlers[fd]()
