"""Read and write descriptors that another process may have made non-blocking.

O_NONBLOCK belongs to the open file description (fcntl(2)), which we share with our parent, perhaps
one with an event loop. So it stays as it is, and on EAGAIN these functions wait with poll(2).
"""

from __future__ import annotations

import os
import select

__all__ = ["error_text", "read_some", "write_all"]

_CHUNK = 65_536


def read_some(fd: int, most: int = _CHUNK) -> bytes:
    """Wait for input and return some; ``b""`` at its end. Raises OSError, never for EAGAIN."""
    while True:
        try:
            return os.read(fd, most)
        except BlockingIOError:
            _wait(fd, select.POLLIN)


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes, and wait while there is no room. Raises OSError, never for EAGAIN."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            _wait(fd, select.POLLOUT)


def error_text(error: OSError) -> str:
    """Return the kernel's text for an error."""
    return error.strerror or str(error) or type(error).__name__


def _wait(fd: int, event: int) -> None:
    poll = select.poll()
    poll.register(fd, event)
    poll.poll()
