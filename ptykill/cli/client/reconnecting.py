"""When to connect again after a lost connection, and when to give up."""

from __future__ import annotations

import errno
import math
from typing import Final

import trio

from ptykill.cli.client.daemon_client import DaemonError

__all__ = ["Reconnecting"]

RECONNECT_TIMEOUT: Final = 120.0
"""Seconds after which a lost connection is not tried again."""
NO_LISTENER_TIMEOUT: float = 3.0
"""The same if no process listens there: the daemon is dead, and its sessions with it."""
_RETRY_PAUSES: Final = (0.2, 10.0)
"""Seconds before the first try, and at most; each pause is twice as long as the one before."""
_STABLE_AFTER: Final = 10.0
"""Seconds after which a connection counts as stable: the next pause is the shortest again."""
_TEMPORARY_STATUSES: Final = (0, 429, 502, 503, 504)
"""Statuses of a daemon, or of a proxy before it, that may soon be better; 0 is no answer."""


class Reconnecting:
    """The tries of one command to connect again."""

    def __init__(self) -> None:
        self._pause = _RETRY_PAUSES[0]
        self._lost_at = math.inf

    def lost(self, connected_at: float) -> None:
        """Note that a connection is lost, and when it was made."""
        self._lost_at = trio.current_time()
        if self._lost_at - connected_at > _STABLE_AFTER:
            self._pause = _RETRY_PAUSES[0]

    def check(self, failure: DaemonError) -> DaemonError | None:
        """Return the error to give up with if another try makes no sense, otherwise None."""
        lost_for = trio.current_time() - self._lost_at
        if failure.status not in _TEMPORARY_STATUSES:
            return failure
        nobody_listens = failure.errno in (errno.ECONNREFUSED, errno.ENOENT)
        if nobody_listens and lost_for >= NO_LISTENER_TIMEOUT:
            return DaemonError("the daemon went away")
        if lost_for >= RECONNECT_TIMEOUT:
            return DaemonError(f"the connection was lost, and {failure}")
        return None

    async def wait(self) -> None:
        """Wait before the next try, each time longer."""
        await trio.sleep(self._pause)
        self._pause = min(2 * self._pause, _RETRY_PAUSES[1])
