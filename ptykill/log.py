"""Logging: one structlog event for each transition, in the host's own way.

ptykill never configures logging. A host that has configured structlog gets its events through
that; any other gets them through the standard library's logger ``ptykill``, which shows nothing
below WARNING unless it is asked to. (structlog's own default would print to standard output.)
"""

from __future__ import annotations

import logging
from contextlib import suppress

import structlog

__all__ = ["event", "wanted"]

_configured = structlog.get_logger("ptykill")
"""The host's, however it has configured structlog by then; kept from its first use if it says so
(``cache_logger_on_first_use``)."""
_plain = logging.getLogger("ptykill")
_wrapped = structlog.wrap_logger(
    _plain,
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)


def wanted(level: int) -> bool:
    """Return whether an event of that level may be seen by anybody."""
    return structlog.is_configured() or _plain.isEnabledFor(level)


def event(level: int, name: str, **fields: object) -> None:
    """Log one event at a level of `logging`. Never raises.

    It is the host's code that writes, and what it writes to may be gone: a pipe that nobody reads
    any more must not stop a kill.
    """
    with suppress(Exception):
        if structlog.is_configured():
            _configured.log(level, name, **fields)
        elif _plain.isEnabledFor(level):
            _wrapped.log(level, name, **fields)
