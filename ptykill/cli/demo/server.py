"""A daemon such as ``ptykill serve``, in a thread of its own, and its client.

The sessions are made and ended over HTTP, on the loopback. The demo shares the process with the
daemon, and so may read its verdicts and type into its sessions without a WebSocket.
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
from types import TracebackType
from typing import Any, Self

import trio
import uvicorn

import ptykill
from ptykill.cli.demo.session_setup import DemoError
from ptykill.http import asgi_app

__all__ = ["DemoServer", "Response", "ServerTerminal"]

_TIMEOUT = 30.0
"""Seconds for whatever should take next to none, on the slowest of machines."""
_PATH = "/api/v1/pty"


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """What came of a request, and when (`time.perf_counter`) it was sent and answered."""

    status: int
    reason: str
    server_timing: str
    body: bytes
    sent: float
    answered: float


class DemoServer:
    """A host and a server for it. Leaving the block ends both, and every session."""

    def __init__(self) -> None:
        self._key = secrets.token_urlsafe(24)
        self._signaller = _TimedSignaller()
        self._host = ptykill.Host(signaller=self._signaller)

    def __enter__(self) -> Self:
        """Start it: it listens already, so that no request is lost."""
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
        # Not the main thread: there, uvicorn takes the signals.
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listener],), name="daemon", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it: its host ends whatever is left."""
        self._server.should_exit = True
        self._thread.join(_TIMEOUT)
        self._host.close()

    # --- the client -------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._address
        return f"http://{host}:{port}{_PATH}"

    @property
    def contains_escapees(self) -> bool:
        """Whether its containment holds whatever escapes from a session."""
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
        """End a session, and wait for the answer as long as it takes."""
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
            told = response.read()
        finally:
            connection.close()
        return Response(response.status, response.reason, timing, told, sent, answered)

    # --- what sharing the process allows ----------------------------------------------------------

    def terminal(self, session_id: str) -> ServerTerminal:
        """Return a session's terminal."""
        return ServerTerminal(self._host.get(session_id), self._host)

    def verdict(self, session_id: str) -> ptykill.Verdict:
        """Return the verdict of a session that was ended."""
        verdict = self._host.get(session_id).verdict
        assert verdict is not None
        return verdict

    def teardown_started(self, session_id: str) -> float:
        """Return when (`time.perf_counter`) a session's teardown began."""
        return self._signaller.at[session_id]


class _TimedSignaller(ptykill.StandardSignaller):
    """Signals as usual, and remembers when it was first asked to: the verdict's times start there.

    The verdict tells times since then; those of the observer are read off a clock.
    """

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, float] = {}

    def deliver(self, target: ptykill.Target, step: ptykill.Step) -> Awaitable[None] | None:
        self.at.setdefault(target.session_id, time.perf_counter())
        return super().deliver(target, step)


class ServerTerminal:
    """The terminal of one of its sessions (`setting.Terminal`)."""

    def __init__(self, session: ptykill.Session, host: ptykill.Host) -> None:
        self._session = session
        self._host = host

    def send(self, data: bytes) -> None:
        """Type into it."""
        self._host.call(self._session.send, data)

    def receive(self, timeout: float) -> bytes:
        """Return some output; ``b""`` if there was none for ``timeout`` seconds, or is no more."""

        async def receive() -> bytes:
            with trio.move_on_after(timeout):
                return await self._session.receive()
            return b""

        return self._host.call(receive)
