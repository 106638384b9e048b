"""A Jupyter server as a process, and a client of its terminals: REST and websockets."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import websocket

from ptykill.testing import processes
from tests.docs.running import block
from tests.waiting import TIMEOUT, free_port, listens, wait_until

__all__ = ["OURS", "Jupyter", "Websocket", "deaf_daemon", "serving_jupyter"]

OURS = block("jupyter.md", "text", "terminal_manager_class")
"""The line that switches the manager on, as the page has it."""


class Websocket:
    """A client of one terminal, as JupyterLab is: a context manager."""

    def __init__(self, url: str, token: str) -> None:
        self.text = ""
        """All output until now."""
        self._connection = websocket.create_connection(
            url, header=[f"Authorization: token {token}"], timeout=TIMEOUT
        )
        assert self._receive() == ["setup", {}]

    def _receive(self) -> list[Any]:
        message: list[Any] = json.loads(self._connection.recv())
        return message

    def type(self, text: str) -> None:
        """Send what a user types."""
        self._connection.send(json.dumps(["stdin", text]))

    def run(self, command: str) -> str:
        """Run a command of the shell, and return what it prints, to the end of its last line."""
        end = secrets.token_hex(8)
        echoed = f"{end[:8]}''{end[8:]}"
        self.type(f"{command}; echo {echoed}\r")
        self.read_until(f"{end}\r\n")
        _, _, printed = self.text.partition(f"{echoed}\r\n")
        return printed.partition(end)[0].replace("\r", "").strip()

    def resize(self, rows: int, cols: int) -> None:
        """Tell the size of the client's window."""
        self._connection.send(json.dumps(["set_size", rows, cols, 0, 0]))

    def read_until(self, text: str) -> None:
        """Wait until the output has a text in it."""
        begin = 0
        while self.text.find(text, begin) < 0:
            begin = max(0, len(self.text) - len(text))
            kind, *rest = self._receive()
            assert kind == "stdout"
            self.text += rest[0]

    def read_to_the_end(self) -> None:
        """Wait until the server says that the terminal has ended."""
        while (message := self._receive())[0] == "stdout":
            self.text += message[1]
        assert message == ["disconnect", 1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close(timeout=1)  # A server that waits for a program answers late.


class Jupyter:
    """A Jupyter server that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, token: str) -> None:
        self.process = process
        self._token = token
        self._port = port
        self._api = f"http://127.0.0.1:{port}/api/terminals"

    def ask(
        self, method: str, path: str = "", body: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Make a request below ``/api/terminals``."""
        return httpx.request(
            method,
            f"{self._api}{path}",
            json=body,
            headers={"Authorization": f"token {self._token}"},
            timeout=TIMEOUT,
        )

    def create(self, **body: str) -> str:
        """Create a terminal, and return its name."""
        answer = self.ask("POST", body=body or None)
        assert answer.status_code == 200, answer.text
        name: str = answer.json()["name"]
        return name

    def names(self) -> list[str]:
        """Return the names of all terminals."""
        return [each["name"] for each in self.ask("GET").json()]

    def connect(self, name: str) -> Websocket:
        """Connect to a terminal."""
        return Websocket(f"ws://127.0.0.1:{self._port}/terminals/websocket/{name}", self._token)

    def stop(self) -> float:
        """Send SIGTERM, and return the seconds until the server has exited, with success."""
        began = time.monotonic()
        self.process.terminate()
        assert self.process.wait(TIMEOUT) == 0
        return time.monotonic() - began


@contextmanager
def serving_jupyter(folder: Path, *config: str) -> Iterator[Jupyter]:
    """Run a Jupyter server with these lines of configuration, and yield it when it listens."""
    folder.mkdir(exist_ok=True)
    port, token = free_port(), secrets.token_hex(8)
    lines = [
        'c.ServerApp.terminado_settings = {"shell_command": ["bash", "--norc", "--noediting"]}',
        f"c.ServerApp.port = {port}",
        "c.ServerApp.port_retries = 0",
        "c.ServerApp.open_browser = False",
        "c.ServerApp.allow_root = True",
        f"c.IdentityProvider.token = {token!r}",
        *config,
    ]
    (folder / "jupyter_server_config.py").write_text("\n".join(["c = get_config()", *lines]))
    places = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    log = folder / "log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "jupyter_server"],
            env={**os.environ, **dict.fromkeys(places, str(folder)), "PS1": ""},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
        ) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or listens(port))
            assert process.poll() is None, log.read_text()
            yield Jupyter(process, port, token)
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def deaf_daemon(terminal: Websocket) -> str:
    """Start a daemon in a session of its own that ignores SIGHUP and SIGTERM; return its mark."""
    mark = secrets.token_hex(16)
    # A variable beside the test's own mark: by that one the leak check finds what is left.
    script = "trap '' HUP TERM INT; echo deaf''; exec sleep 60"
    terminal.type(f"DAEMON={mark} setsid sh -c {shlex.quote(script)} &\r")
    terminal.read_until("deaf\r\n")
    assert processes.marked(mark)
    return mark
