"""``ptykill demo``: real sessions, ended over HTTP, and an observer who tells what died, and when.

Read `scenarios` for what is ended, `run` for how, `observer` for who watches, `timeline` for how
it is drawn. Everything that the demo starts carries a mark in its environment, is ended by it at
the end, whatever has happened, and would end by itself within a minute.
"""

from __future__ import annotations

import importlib.util
import os
import sys

__all__ = ["main"]

_NEEDS = ("rich", "uvicorn", "msgspec")
_GRACES = 0.2, 10.0
"""Seconds: below, a slow machine can't clean up in half of it; beyond, nobody wants to watch."""


def main(*, plain: bool = False, grace: float = 1.0) -> int:
    """Run the demo on standard output and return the exit status.

    0 says that all it claims was seen, 1 that something was not, 2 that it can't run here, and 128
    plus a number that this signal interrupted it. ``plain`` (also: standard output is no terminal)
    writes text without control codes. ``grace`` is in seconds, 0.2 to 10.
    """
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        return _refuse(f"needs {' and '.join(missing)}: pip install 'ptykill[demo]'")
    if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
        return _refuse(
            "watches by /proc and os.pidfd_open, and so needs Linux, and a Python with it"
        )
    shortest, longest = _GRACES
    if not shortest <= grace <= longest:
        return _refuse(f"takes a grace of {shortest} to {longest:.0f} seconds, not {grace}")

    from ptykill.cli.demo.run import run  # noqa: PLC0415 - what it imports is an extra

    return run(plain=plain, grace=grace)


def _refuse(why: str) -> int:
    sys.stderr.write(f"The demo {why}.\n")
    return 2
