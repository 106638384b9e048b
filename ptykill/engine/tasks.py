"""Background tasks whose failure is logged, and ends neither the supervisor nor a session."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from ptykill import log

__all__ = ["run_contained", "run_restarted"]

_RESTART_FIRST, _RESTART_LONGEST = 0.1, 10.0
"""Seconds after which a helper that failed is started again: doubling, up to the longest."""


async def run_contained(task: Callable[..., Awaitable[None]], *args: object) -> None:
    """Run a task once; log its failure."""
    try:
        await task(*args)
    except Exception as error:  # noqa: BLE001 - also a user's tier or logger may have failed
        _log_failure(task, error)


async def run_restarted(helper: Callable[[], Awaitable[None]]) -> None:
    """Run a helper of all sessions; log each failure, and start it again after a pause."""
    pause = _RESTART_FIRST
    while True:
        try:
            await helper()
        except Exception as error:  # noqa: BLE001 - as above
            _log_failure(helper, error)
        else:
            return
        await trio.sleep(pause)
        pause = min(pause * 2, _RESTART_LONGEST)


def _log_failure(task: Callable[..., object], error: Exception) -> None:
    name = getattr(task, "__qualname__", repr(task))
    with suppress(Exception):  # The logger itself may fail.
        log.event(logging.ERROR, "supervisor.task_failed", task=name, exc_info=error)
