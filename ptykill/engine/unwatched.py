"""Ends a session that has no `Session`: the supervisor was closed while it was being spawned."""

from __future__ import annotations

from contextlib import suppress

import trio

from ptykill.rules.protocols import Spawned

__all__ = ["end_unwatched"]

_BOUND = 1.0
"""Seconds that this may take."""
_PAUSE = 0.001
"""Seconds between two attempts."""


async def end_unwatched(spawned: Spawned) -> None:
    """End a session that can no longer be watched; shielded, and bounded in time."""
    containment = spawned.containment
    with trio.move_on_after(_BOUND, shield=True):
        while True:
            with suppress(OSError):  # Tried again until the bound.
                containment.kill()
                await containment.wait_exited()
                if not containment.members_left():
                    break
            await trio.sleep(_PAUSE)
    for give_back in containment.reap, spawned.terminal.hang_up, containment.close:
        with suppress(OSError):
            give_back()
