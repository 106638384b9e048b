"""What all sessions of a supervisor share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ptykill.engine.cleanup import DeferredCleanup
from ptykill.engine.event_ring import EventRing
from ptykill.engine.session_timer import SessionTimer
from ptykill.engine.timer import PreciseTimer

__all__ = ["Shared"]


class Shared(NamedTuple):
    """What all sessions of a supervisor share; ``start_soon`` is that of its nursery.

    ``on_closed`` is called when a session that is over has closed its descriptors.
    """

    start_soon: Callable[..., None]
    timer: SessionTimer
    precise: PreciseTimer
    cleanup: DeferredCleanup
    ring: EventRing
    on_closed: Callable[[], object]
