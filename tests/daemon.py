"""``ptykill serve`` as a process, for tests of what talks to it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, cast

from tests.waiting import TIMEOUT

__all__ = ["serving"]


@contextmanager
def serving(
    *options: str, key: str, prefix: Sequence[str] = (), log: IO[str] | None = None
) -> Iterator[str]:
    """Run ``ptykill serve``, by way of ``prefix``, and yield its host and port."""
    listen = () if "--uds" in options else ("--port", "0")
    with subprocess.Popen(
        [*prefix, sys.executable, "-m", "ptykill", "serve", *listen, *options],
        env={**os.environ, "PTYKILL_API_KEY": key},
        stdout=subprocess.PIPE,
        stderr=log or subprocess.DEVNULL,
        text=True,
    ) as daemon:
        try:
            greeting = cast(IO[str], daemon.stdout).readline()
            yield re.findall(r"serves http://([^/]+)/", greeting)[0]
        finally:
            daemon.terminate()
            daemon.communicate(timeout=2 * TIMEOUT)
    assert daemon.returncode == 0
