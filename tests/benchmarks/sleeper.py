"""A session for tests of what counts sessions."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def session() -> Iterator[int]:
    """Run a sleep that leads a session."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as leader:
        try:
            yield leader.pid
        finally:
            leader.kill()
