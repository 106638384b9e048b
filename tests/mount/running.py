"""A real server process with one of the apps, and a client of it, both on loopback."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from ptykill.testing import processes
from tests.docs.pages import TOP
from tests.mount.pairs import Pair
from tests.waiting import IDLE_LOOP, TIMEOUT, free_port, listens, wait_until

__all__ = ["GRACE", "Client", "Server", "Session", "serving"]

GRACE = 0.3
"""Seconds of grace for a session; the apps of the page have two."""
_KEY = "key-for-tests"
_PREFIX = "/api/v1/pty"
_DEAF = f"""
trap ': > hung-up' HUP
trap '' INT TERM QUIT
setsid sh -c "trap '' HUP; : > daemon; {IDLE_LOOP}" &
until [ -e daemon ]; do sleep 0.05; done
: > ready
{IDLE_LOOP}
"""
"""It records a SIGHUP and goes on. Its daemon ignores SIGHUP."""


class Server:
    """A server process that listens."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self._folder = folder
        self._count = 0

    def folder(self) -> Path:
        """Make a folder for one session."""
        self._count += 1
        folder = self._folder / f"session-{self._count}"
        folder.mkdir()
        return folder

    def signal(self, number: signal.Signals, done: Callable[[], bool]) -> dict[str, float]:
        """Send a signal; return the seconds until the server exited, and until ``done``."""
        began = time.monotonic()
        self.process.send_signal(number)
        seconds: dict[str, float] = {}
        conditions = {"exited": lambda: self.process.poll() is not None, "done": done}
        while len(seconds) < len(conditions):
            assert time.monotonic() < began + TIMEOUT, seconds
            for name, condition in conditions.items():
                if name not in seconds and condition():
                    seconds[name] = time.monotonic() - began
            time.sleep(0.01)
        return seconds


class Client:
    """A client with one connection, and so with one worker, if there are several."""

    def __init__(self, server: Server) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        self._server = server

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Send a request, and return the status and the body of its answer."""
        self.send(method, path, body)
        try:
            answer = self.connection.getresponse()
        except http.client.RemoteDisconnected:  # It has been idle for too long.
            self.send(method, path, body)
            answer = self.connection.getresponse()
        return answer.status, answer.read()

    def send(self, method: str, path: str, body: object = None) -> None:
        """Send a request."""
        headers = {"Authorization": f"Bearer {_KEY}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        self.connection.request(method, path, content, headers)

    def answer(self) -> str:
        """Return the status of the answer to the last request, or that there is none."""
        try:
            return str(self.connection.getresponse().status)
        except (http.client.HTTPException, OSError):
            return "cut off"

    def start(self) -> Session:
        """Start a session that ignores SIGHUP, and wait until it runs."""
        folder = self._server.folder()
        command = {"command": "sh", "args": ["-c", _DEAF], "working_dir": str(folder)}
        status, body = self.ask("POST", _PREFIX, command)
        assert status == 201, body
        told = json.loads(body)
        wait_until((folder / "ready").exists)
        _, body = self.ask("GET", f"{_PREFIX}/{told['session_id']}")
        return Session(self._server, told, json.loads(body)["pid"], folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


class Session:
    """A session on a server, known from outside by its pid."""

    def __init__(self, server: Server, told: dict[str, Any], pid: int, folder: Path) -> None:
        self.path = f"{_PREFIX}/{told['session_id']}"
        self.folder = folder
        self.pid = pid
        self._url = f"ws://127.0.0.1:{server.port}{self.path}/ws"
        self._token = told["token"]

    @contextmanager
    def attached(self) -> Iterator[ClientConnection]:
        """Attach to it by a WebSocket."""
        headers = {"Authorization": f"Bearer {_KEY}", "X-PTY-Token": self._token}
        with connect(
            self._url,
            additional_headers=headers,
            proxy=None,
            compression=None,
            open_timeout=TIMEOUT,
            close_timeout=1,
        ) as connection:
            yield connection


def app_of(pair: Pair) -> str:
    """Return the app that the page shows, with a shorter grace."""
    app = TOP / "docs" / "mounting" / f"{pair.app}.py"
    text = app.read_text(encoding="utf-8")
    assert "2s, KILL" in text
    return text.replace("2s, KILL", f"{1000 * GRACE:.0f}ms, KILL 15s")


@contextmanager
def serving(pair: Pair, folder: Path, mark: str, text: str | None = None) -> Iterator[Server]:
    """Run a server in a group of its own, until the block is left; with another app's ``text``."""
    file = folder / f"{pair.app}.py"
    file.write_text(app_of(pair) if text is None else text, encoding="utf-8")
    port = free_port()
    variables = {
        "PTYKILL_API_KEY": _KEY,
        "PORT": str(port),
        "PYTHONPATH": str(folder),
        "HOME": str(folder),  # gunicorn has a socket there.
        processes.MARK: mark,
        # Its console script is looked for beside this Python.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            pair.argv(port),
            cwd=folder,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
    try:
        wait_until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, log.read_text()
        yield Server(process, port, folder)
    except BaseException:
        sys.stdout.write(log.read_text(errors="replace"))
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)
