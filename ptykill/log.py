"""Logging: one event for each transition, in the host's own way.

ptykill never configures logging. A host that has configured structlog gets its events through
that; any other gets them through the standard library's logger ``ptykill``, which shows nothing
below WARNING unless it is asked to. (structlog's own default would print to standard output.)

structlog is not imported here before the host has imported it: it imports rich and twisted where
they are installed, which takes as long as all of ptykill does.
"""

from __future__ import annotations

import functools
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["bound", "event", "wanted"]

_plain = logging.getLogger("ptykill")


def wanted(level: int) -> bool:
    """Return whether an event of this level may be logged."""
    return _structlog_is_configured() or _plain.isEnabledFor(level)


def event(level: int, name: str, **fields: object) -> None:
    """Log one event at a level of `logging`. Never raises.

    The host's code writes, and may raise, for example on a pipe without a reader; or it calls
    `sys.exit`. That must not stop a kill.
    """
    with suppress(Exception, SystemExit):
        if _structlog_is_configured():
            _hosts_logger().log(level, name, **fields)
        elif _plain.isEnabledFor(level):
            _plain.log(level, _rendered(name, fields))


@contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Add fields to the log events of the block, and of the tasks that it starts.

    They are structlog's context variables, so a host that does not use structlog has none.
    """
    contextvars = sys.modules.get("structlog.contextvars")
    if contextvars is None or not fields:
        yield
        return
    with contextvars.bound_contextvars(**fields):
        yield


def _structlog_is_configured() -> bool:
    structlog = sys.modules.get("structlog")
    # Another thread may be importing it just now: then it has nothing yet.
    is_configured = getattr(structlog, "is_configured", None)
    return is_configured is not None and is_configured()


@functools.cache
def _hosts_logger() -> Any:  # noqa: ANN401 - as structlog has it
    """Return the host's logger, however it has configured structlog by its first use.

    It is kept as it is then if the host says so (``cache_logger_on_first_use``).
    """
    import structlog  # noqa: PLC0415 - the host has imported it

    return structlog.get_logger("ptykill")


def _rendered(name: str, fields: dict[str, object]) -> str:
    """Return an event as key=value pairs, as structlog's ``KeyValueRenderer`` does."""
    error = fields.pop("exc_info", None)
    if (contextvars := sys.modules.get("structlog.contextvars")) is not None:
        fields = contextvars.merge_contextvars(_plain, "log", fields)
    if isinstance(error, BaseException):
        fields["exception"] = "".join(traceback.format_exception(error)).rstrip("\n")
    return " ".join(f"{key}={value!r}" for key, value in {"event": name, **fields}.items())
