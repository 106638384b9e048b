"""Open a terminal for systems that open none themselves."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["STUB", "terminal"]

STUB = 'exec "$@" <>"$0" >&0 2>&1'
"""For ``sh -c``: opens the terminal, so that the session has it as its controlling terminal.

A ``preexec_fn`` would do the same, and make `subprocess` fork the host.
"""


@contextmanager
def terminal() -> Iterator[tuple[int, str]]:
    """Open a terminal; yield its master, which stays open unless the block raises, and its path."""
    master, slave = pty.openpty()
    try:
        yield master, os.ttyname(slave)
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
