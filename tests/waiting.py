"""What tests of servers wait with: generously, and no longer than it takes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress

__all__ = ["IDLE_LOOP", "TIMEOUT", "free_port", "listens", "wait_until"]

TIMEOUT = 100.0
"""Time-out for events that are due at once, on a busy machine, in seconds."""
IDLE_LOOP = "until [ $((idled += 1)) -gt 12000 ]; do sleep 0.05; done"
"""A shell's loop for ten minutes, in which it runs its traps soon."""


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until something is so; fail if it is not in time."""
    until = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def free_port() -> int:
    """Return a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Return whether somebody listens there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
