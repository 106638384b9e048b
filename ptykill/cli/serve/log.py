"""Writes the daemon's log to standard error, without blocking: a line for each event.

On a terminal a line has key=value pairs, elsewhere it is JSON.

Standard error may be a full pipe without a reader. A write to it would block the thread that ends
sessions. So another thread writes, and lines are dropped if its queue is full.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

__all__ = ["logging_to_stderr"]

_MOST_LINES = 10_000
_GATHER = 0.01
"""Seconds that a line waits for others. A daemon that is killed (SIGKILL) loses these lines."""
_LAST_WORDS = 1.0
"""Time-out for writing the last lines at the end, in seconds."""


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Configure structlog and the standard library's logging, warnings and up, for the block."""
    for_people = sys.stderr.isatty()
    lines = _Lines(sys.stderr, _logfmt if for_people else json.JSONEncoder(default=str).encode)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(),
            structlog.processors.format_exc_info,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    others = _ToStructlog(logging.WARNING)
    logging.getLogger().addHandler(others)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(others)
        structlog.reset_defaults()
        lines.close()


def _logfmt(event: dict[str, Any]) -> str:
    order = ["timestamp", "level", "event"]
    text = structlog.processors.LogfmtRenderer(key_order=order, drop_missing=True)(None, "", event)
    assert isinstance(text, str)
    return text


class _Lines:
    """Logs events to a file, in a thread of its own: structlog's logger, as `info` and the like.

    It is a daemon thread: a blocked write delays no exit. To wake it, and to run code that was not
    run for milliseconds, costs more processor time than a line in a row of lines. So the thread
    waits a moment for more events, and formats and writes them together.
    """

    def __init__(self, out: TextIO, line: Callable[[dict[str, Any]], str]) -> None:
        self._out = out
        self._line = line
        self._events: deque[dict[str, Any]] = deque()
        self._dropped = self._reported = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write, name="ptykill-log", daemon=True)
        self._thread.start()

    def put(self, /, **event: object) -> None:
        """Have an event written soon, or dropped if too many are waiting already."""
        if len(self._events) >= _MOST_LINES:
            self._dropped += 1
            return
        self._events.append(event)
        if not self._wake.is_set():
            self._wake.set()

    debug = info = warning = error = critical = put

    def close(self) -> None:
        """Write the last lines, if that can be done soon."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_LAST_WORDS)

    def _write(self) -> None:
        # OSError, ValueError: nobody can read it any more, or it has been closed.
        with suppress(OSError, ValueError):
            closing = False
            while not closing:
                self._wake.wait()
                closing = self._closing.wait(_GATHER)
                self._wake.clear()  # Before events are taken: a later one wakes the thread again.
                self._out.write("".join(f"{line}\n" for line in self._lines()))
                self._out.flush()

    def _lines(self) -> Iterator[str]:
        for _ in range(len(self._events)):
            event = self._events.popleft()
            try:
                when = datetime.fromtimestamp(event["timestamp"], UTC)
                event["timestamp"] = when.isoformat().replace("+00:00", "Z")
                yield self._line(event)
            except Exception:  # noqa: BLE001 - the host may have bound anything
                self._dropped += 1
        dropped = self._dropped - self._reported
        if dropped:
            self._reported += dropped
            yield f"event=log.dropped lines={dropped}"


class _ToStructlog(logging.Handler):
    """Passes the records of other libraries' loggers to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record to structlog."""
        structlog.get_logger(record.name).log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )
