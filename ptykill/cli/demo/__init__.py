"""``ptykill demo``: end real sessions over HTTP, and show which processes die, when, and of what.

`scenarios` has the sessions, `teardown` ends one, `run` shows all, `timeline` draws. The times of
death come from an observer (`ptykill.testing.observer`). All processes of the demo carry a mark in
their environment. The demo kills them at its end, and they would end by themselves in a minute.
"""

from __future__ import annotations

import importlib.util
import os
import sys

__all__ = ["main"]

_NEEDS = ("rich", "uvicorn", "msgspec")
_GRACES = 0.2, 10.0
"""Seconds: with less, a slow machine can't clean up in half of it; more takes too long to watch."""


def main(
    *, plain: bool = False, grace: float = 1.0, as_json: bool = False, record: str | None = None
) -> int:
    """Run the demo on standard output and return the exit status.

    0: all that it claims was seen. 1: something was not. 2: it can't run here. 128 plus a number:
    this signal interrupted it. ``plain`` prints text without control codes, as if standard output
    were no terminal. ``grace`` is in seconds, 0.2 to 10. ``as_json`` prints JSON alone. ``record``
    is a folder that gets pictures of the first session and of the table of all.
    """
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        return _refuse(f"needs {' and '.join(missing)}: pip install 'ptykill[demo]'")
    if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
        return _refuse(
            "observes processes by /proc and os.pidfd_open, and so needs Linux and a Python with it"
        )
    shortest, longest = _GRACES
    if not shortest <= grace <= longest:
        return _refuse(f"takes a grace of {shortest} to {longest:.0f} seconds, not {grace}")

    from ptykill.cli.demo.run import run  # noqa: PLC0415 - what it imports is an extra

    return run(plain=plain, grace=grace, as_json=as_json, record=record)


def _refuse(why: str) -> int:
    sys.stderr.write(f"The demo {why}.\n")
    return 2
