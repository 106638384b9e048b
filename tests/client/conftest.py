"""A daemon for clients, seats at terminals, and a home where tokens are remembered."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.client.seat import PATIENCE, Here, Seat

KEY = "the-key-for-clients"

_ON_A_SOCKET = """
import sys, hypercorn.config, hypercorn.trio, ptykill, trio

async def main():
    config = hypercorn.config.Config()
    config.bind = [f"unix:{sys.argv[1]}"]
    async with ptykill.open_supervisor(plan="HUP@session 500ms, KILL 15s") as supervisor:
        app = ptykill.asgi_app(supervisor, key=sys.argv[2], spawning=True)
        with trio.open_signal_receiver(15) as received:
            async def stopped():
                await anext(received)
            await hypercorn.trio.serve(app, config, shutdown_trigger=stopped)

trio.run(main)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the state of clients goes: nothing is remembered there yet."""
    state = tmp_path / "run"
    state.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(state))
    for name in ("PTYKILL_API_KEY", "PTYKILL_URL", "PTYKILL_TOKEN", "PTYKILL_DETACH_KEY"):
        monkeypatch.delenv(name, raising=False)
    return state / "ptykill"


@pytest.fixture
def daemon() -> Iterator[subprocess.Popen[str]]:
    """Run ``ptykill serve`` on a free port; a test may end it."""
    options = ["--port", "0", "--plan", "HUP@session 500ms, KILL 15s"]
    with subprocess.Popen(
        [sys.executable, "-m", "ptykill", "serve", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PTYKILL_API_KEY": KEY},
    ) as process:
        yield process
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.fixture
def here(daemon: subprocess.Popen[str]) -> Here:
    """Return the daemon's clients."""
    assert daemon.stdout is not None
    found = re.search(r"serves (\S+)", daemon.stdout.readline())
    assert found is not None
    return Here(found[1], KEY)


@pytest.fixture
def on_a_socket(tmp_path: Path) -> Iterator[Here]:
    """Return the clients of a daemon on a UNIX socket."""
    path = tmp_path / "socket"
    with subprocess.Popen([sys.executable, "-c", _ON_A_SOCKET, str(path), KEY]) as process:
        here = Here(f"unix:{path}", KEY)
        while here.ask("list").returncode != 0:
            assert process.poll() is None
        yield here
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture
def sit() -> Iterator[Callable[..., Seat]]:
    """Return what starts a command at a terminal, as `Seat` does."""
    seats: list[Seat] = []

    def sit(*arguments: str, here: Here | None = None, rows: int = 24, cols: int = 80) -> Seat:
        env = here.env if here is not None else None
        seats.append(Seat(*arguments, rows=rows, cols=cols, env=env))
        return seats[-1]

    yield sit
    for seat in seats:
        seat.leave()
