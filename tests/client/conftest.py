"""Fixtures: a daemon, clients at terminals, and a folder for the clients' tokens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.client.terminals import TIMEOUT, Cli, Terminal

KEY = "the-key-for-clients"

QUICK = ("--plan", "HUP@session 500ms, KILL 15s")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the clients' state, which is empty."""
    state = tmp_path / "run"
    state.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(state))
    for name in ("PTYKILL_API_KEY", "PTYKILL_URL", "PTYKILL_TOKEN", "PTYKILL_DETACH_KEY"):
        monkeypatch.delenv(name, raising=False)
    return state / "ptykill"


@contextmanager
def serving(*options: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``ptykill serve``; a test may end it."""
    with subprocess.Popen(
        [sys.executable, "-m", "ptykill", "serve", *options, *QUICK],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PTYKILL_API_KEY": KEY},
    ) as process:
        yield process
        process.terminate()
        process.communicate(timeout=TIMEOUT)


@pytest.fixture
def daemon() -> Iterator[subprocess.Popen[str]]:
    """Run a daemon on a free port."""
    with serving("--port", "0") as process:
        yield process


@pytest.fixture
def cli(daemon: subprocess.Popen[str]) -> Cli:
    """Return the daemon's clients."""
    assert daemon.stdout is not None
    found = re.search(r"serves (\S+)", daemon.stdout.readline())
    assert found is not None
    return Cli(found[1], KEY)


@pytest.fixture
def on_a_socket(tmp_path: Path) -> Iterator[Cli]:
    """Return the clients of a daemon on a UNIX socket."""
    path = tmp_path / "socket"
    with serving("--uds", str(path)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield Cli(f"unix:{path}", KEY)


@pytest.fixture
def start() -> Iterator[Callable[..., Terminal]]:
    """Return a function that starts a command at a terminal, as `Terminal` does."""
    terminals: list[Terminal] = []

    def start(*arguments: str, cli: Cli | None = None, **options: Any) -> Terminal:  # noqa: ANN401 - those of Terminal
        terminals.append(Terminal(*arguments, env=cli.env if cli is not None else None, **options))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.leave()
