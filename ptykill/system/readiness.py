"""Waiting until a descriptor is ready, also where the kernel refuses to tell.

epoll_ctl(2) can fail: ENOMEM, or ENOSPC at the user's limit of watches
(``fs.epoll.max_user_watches``). What is waited for is looked at now and then in that case, until
epoll takes it again.
"""

from __future__ import annotations

import errno
import socket

import trio

__all__ = ["readable", "writable"]

_PAUSE = 0.01
"""Seconds between two looks at what epoll refuses."""


async def readable(what: int | socket.socket) -> bool:
    """Wait until it is readable, or closed; False if it may not be, after a pause: look yourself.

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
