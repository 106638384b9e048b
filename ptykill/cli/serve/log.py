"""Writes the daemon's log to standard error, without blocking: a line for each event.

On a terminal a line has key=value pairs, elsewhere it is JSON.

Standard error may be a full pipe without a reader. A write to it would block the thread that ends
sessions. So another thread writes, and lines are dropped if its queue is full.
"""

from __future__ import annotations

import logging
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TextIO

import structlog

__all__ = ["logging_to_stderr"]

_MOST_LINES = 10_000
_LAST_WORDS = 1.0
"""Time-out for writing the last lines at the end, in seconds."""


_for_people = structlog.processors.LogfmtRenderer(
    key_order=["timestamp", "level", "event"], drop_missing=True
)


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Configure structlog and the standard library's logging, warnings and up, for the block."""
    lines = _Lines(sys.stderr)
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            _for_people if sys.stderr.isatty() else structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(lines),  # type: ignore[arg-type] # it writes
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


class _Lines:
    """Writes lines to a file in a thread of its own.

    It is a daemon thread: a blocked write does not keep the process from exiting.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._queue: queue.Queue[str | None] = queue.Queue(_MOST_LINES)
        self._dropped = 0
        self._thread = Thread(target=self._write, name="ptykill-log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Queue a text for writing; drop it if the queue is full."""
        try:
            self._queue.put_nowait(text)
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Do nothing: the thread flushes when its queue is empty."""

    def close(self) -> None:
        """Write the queued lines, within the time-out."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=_LAST_WORDS)
            self._thread.join(_LAST_WORDS)

    def _write(self) -> None:
        # OSError, ValueError: the reader is gone, or the file is closed.
        with suppress(OSError, ValueError):
            while (text := self._queue.get()) is not None:
                if self._dropped:
                    self._out.write(f"event=log.dropped lines={self._dropped}\n")
                    self._dropped = 0
                self._out.write(text)
                if self._queue.empty():
                    self._out.flush()


class _ToStructlog(logging.Handler):
    """Passes the records of other libraries' loggers to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record to structlog."""
        structlog.get_logger(record.name).log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )
