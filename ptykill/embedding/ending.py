"""Ends a part of a host's work at the end of a block, also if the host is closed meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ptykill.embedding.host import Host
from ptykill.embedding.loops import finish
from ptykill.errors import SupervisorClosed

__all__ = ["aend", "end"]


def end(host: Host, function: Callable[[], Awaitable[None]]) -> None:
    """Have a host's thread run a function that ends something, and wait, blocking.

    A host that is closed, or closing, ends everything: then this waits for that.
    """
    try:
        host.call(function)
    except SupervisorClosed:
        host.close()


async def aend(host: Host, function: Callable[[], Awaitable[None]]) -> None:
    """As `end`, without blocking the loop, and to its end even if this task is cancelled.

    The cancellation is raised after that. The function may be run a second time.
    """

    async def run() -> None:
        try:
            await host.acall(function)
        except SupervisorClosed:
            await host.aclose()

    await finish(run)
