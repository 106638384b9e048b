"""Waits until a descriptor is ready, even where epoll refuses it.

epoll_ctl(2) can fail: ENOMEM, or ENOSPC at the user's limit of watches
(``fs.epoll.max_user_watches``). Then the caller has to look again and again, until epoll
takes the descriptor.
"""

from __future__ import annotations

import errno
import socket

import trio

__all__ = ["readable", "writable"]

_PAUSE = 0.01
"""Seconds between two looks at a descriptor that epoll refuses."""


async def readable(what: int | socket.socket) -> bool:
    """Wait until it is readable, or closed; False after a pause if epoll refuses it: look again.

    Raises OSError if it is no descriptor (EBADF), and `trio.ClosedResourceError`.
    """
    try:
        await trio.lowlevel.wait_readable(what)
    except OSError as error:
        return await _pause(error)
    return True


async def writable(what: int | socket.socket) -> bool:
    """Wait until it is writable, in the same way."""
    try:
        await trio.lowlevel.wait_writable(what)
    except OSError as error:
        return await _pause(error)
    return True


async def _pause(error: OSError) -> bool:
    if error.errno == errno.EBADF:
        raise error
    await trio.sleep(_PAUSE)
    return False
