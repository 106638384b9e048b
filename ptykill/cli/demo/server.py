"""Run a daemon such as ``ptykill serve`` in a thread, and send it requests.

The demo starts and ends its sessions over HTTP, on the loopback. It shares the process with the
daemon, and so can read the verdicts, and type into the sessions without a WebSocket.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import secrets
import socket
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Self

import trio
import uvicorn

import ptykill
from ptykill.cli.demo.session_setup import DemoError
from ptykill.http import asgi_app

__all__ = ["DemoServer", "Response", "ServerTerminal"]

_TIMEOUT = 30.0
"""Seconds for what takes milliseconds on an idle machine."""
_PATH = "/api/v1/pty"


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request, and when (`time.perf_counter`) the request was sent and answered."""

    status: int
    reason: str
    server_timing: str
    body: bytes
    sent: float
    answered: float


class DemoServer:
    """A host and its HTTP server. Leaving the block ends both, and every session."""

    def __init__(self) -> None:
        self._key = secrets.token_urlsafe(24)
        self._signaller = _TimedSignaller()
        self._host = ptykill.Host(signaller=self._signaller)

    def __enter__(self) -> Self:
        """Start it. The socket listens before the thread runs, so no request is lost."""
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._listener.bind(("127.0.0.1", 0))
            self._listener.listen()
            self._address: tuple[str, int] = self._listener.getsockname()
            self._supervisor = self._host.supervisor
        except (OSError, ptykill.PtykillError) as error:
            self._listener.close()
            raise DemoError("the server did not start") from error
        app: Any = asgi_app(self._host, key=self._key, spawning=True)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, loop="asyncio", http="h11", lifespan="off", log_config=None, log_level="error"
            )
        )
        # In the main thread uvicorn would handle the signals.
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listener],), name="daemon", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it; its host ends the sessions that are left."""
        self._server.should_exit = True
        self._thread.join(_TIMEOUT)
        self._host.close()

    # --- the client -------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The API's URL."""
        host, port = self._address
        return f"http://{host}:{port}{_PATH}"

    @property
    def contains_escapees(self) -> bool:
        """Whether its containment also ends processes that leave the session."""
        return self._supervisor.containment != "session"

    def create(
        self, command: tuple[str, ...], env: dict[str, str], directory: Path
    ) -> tuple[str, int]:
        """Start a session; return its id and the leader's pid."""
        asked = {"command": command[0], "args": command[1:], "env": env}
        answer = self._request("POST", "", {**asked, "working_dir": str(directory)})
        if answer.status != http.HTTPStatus.CREATED:
            raise DemoError(f"no session was made: {answer.status} {answer.body.decode()}")
        session_id = str(json.loads(answer.body)["session_id"])
        record = json.loads(self._request("GET", f"/{session_id}").body)
        return session_id, int(record["pid"])

    def delete(self, session_id: str, grace: float) -> Response:
        """End a session, and return the answer."""
        return self._request("DELETE", f"/{session_id}?grace={grace:g}")

    def _request(self, method: str, path: str, body: object = None) -> Response:
        host, port = self._address
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
        try:
            connection.connect()
            sent = time.perf_counter()
            connection.request(
                method,
                _PATH + path,
                body=None if body is None else json.dumps(body),
                headers={"Authorization": f"Bearer {self._key}", "Connection": "close"},
            )
            response = connection.getresponse()
            answered = time.perf_counter()
            timing = response.headers.get("Server-Timing", "")
            content = response.read()
        finally:
            connection.close()
        return Response(response.status, response.reason, timing, content, sent, answered)

    # --- in the same process ----------------------------------------------------------------------

    def terminal(self, session_id: str) -> ServerTerminal:
        """Return a session's terminal."""
        return ServerTerminal(self._host.get(session_id), self._host)

    def verdict(self, session_id: str) -> ptykill.Verdict:
        """Return the verdict of a session that has ended."""
        verdict = self._host.get(session_id).verdict
        assert verdict is not None
        return verdict

    def teardown_started(self, session_id: str) -> float:
        """Return when (`time.perf_counter`) a session's first signal was delivered."""
        return self._signaller.at[session_id]


class _TimedSignaller(ptykill.StandardSignaller):
    """The standard signaller, which also records when it first delivers for each session.

    A verdict has times since then, the observer has times of a clock: this relates the two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, float] = {}

    def deliver(self, target: ptykill.Target, step: ptykill.Step) -> Awaitable[None] | None:
        self.at.setdefault(target.session_id, time.perf_counter())
        return super().deliver(target, step)


class ServerTerminal:
    """The terminal of one of its sessions (`session_setup.Terminal`)."""

    def __init__(self, session: ptykill.Session, host: ptykill.Host) -> None:
        self._session = session
        self._host = host

    def send(self, data: bytes) -> None:
        """Type into it."""
        self._host.call(self._session.send, data)

    def receive(self, timeout: float) -> bytes:
        """Return some output; ``b""`` if none came in ``timeout`` seconds, or at its end."""

        async def receive() -> bytes:
            with trio.move_on_after(timeout):
                return await self._session.receive()
            return b""

        return self._host.call(receive)
