"""The API on real servers, each in a thread of its own, on a free port of loopback."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import socketserver
import threading
import wsgiref.simple_server
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx
import hypercorn.config
import hypercorn.trio
import pytest
import trio
import uvicorn
import waitress.server  # type: ignore[import-untyped] # it has no types
from websockets.sync.client import ClientConnection, connect

import ptykill
from ptykill.cli.serve import http_server
from tests.daemon import serving

KEY = "key-for-tests"
PLAN = ptykill.Plan.parse("HUP@session 500ms, KILL 15s")
"""A short grace, and a bound that no machine is too slow for."""


class Server:
    """A running server: its address, and clients for it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/api/v1/pty"

    @contextmanager
    def attached(
        self,
        session_id: str,
        token: str,
        headers: dict[str, str] | None = None,
        query: str = "",
    ) -> Iterator[ClientConnection]:
        """Attach to a session, as a client with the key unless it has other headers."""
        headers = headers or {"Authorization": f"Bearer {KEY}", "X-PTY-Token": token}
        url = f"{self.url.replace('http', 'ws', 1)}/{session_id}/ws{query}"
        with connect(
            url, additional_headers=headers, proxy=None, compression=None, max_size=None
        ) as socket:
            yield socket

    def client(self) -> httpx.Client:
        """Return a client with the key."""
        # With verify, each client reads the certificates of all authorities: 50 ms, here for http.
        return httpx.Client(
            headers={"Authorization": f"Bearer {KEY}"}, timeout=60, trust_env=False, verify=False
        )


@pytest.fixture(params=["hypercorn", "uvicorn", "waitress", "wsgiref"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run each kind of server in turn: trio, asyncio, and two with threads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with _SERVERS[request.param](listener):
            yield Server(port)


@pytest.fixture(params=["hypercorn", "uvicorn", "serve"])
def talker(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run each kind of server that has WebSockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with _SERVERS[request.param](listener):
            yield Server(port)


@pytest.fixture
def base() -> Iterator[str]:
    """Run ``ptykill serve`` for up to four sessions, and return its address."""
    with serving("--max-sessions", "4", key=KEY) as address:
        yield f"http://{address}"


@contextmanager
def _hypercorn(listener: socket.socket) -> Iterator[None]:
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.dup().detach()}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    started, stop = threading.Event(), trio.Event()
    token: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        token.append(trio.lowlevel.current_trio_token())
        async with ptykill.open_supervisor(plan=PLAN, max_sessions=3) as supervisor:
            app = cast(Any, ptykill.asgi_app(supervisor, key=KEY, spawning=True))
            started.set()
            await hypercorn.trio.serve(app, config, shutdown_trigger=stop.wait)

    with _running(functools.partial(trio.run, main)):
        started.wait()
        yield
        token[0].run_sync_soon(stop.set)


@contextmanager
def _uvicorn(listener: socket.socket) -> Iterator[None]:
    with ptykill.Host(plan=PLAN, max_sessions=3) as host:
        app = cast(Any, ptykill.asgi_app(host, key=KEY, spawning=True))
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, ws="wsproto", http="h11", loop="asyncio")
        )
        with _running(functools.partial(server.run, [listener])):
            yield
            server.should_exit = True


@contextmanager
def _serve(listener: socket.socket) -> Iterator[None]:
    """Serve as ``ptykill serve`` does."""
    started = threading.Event()
    stop: list[Callable[[], object]] = []

    async def main() -> None:
        server = http_server.Server(app)
        loop = asyncio.get_running_loop()
        stop.append(lambda: asyncio.run_coroutine_threadsafe(server.finish(), loop))
        started.set()
        await server.run_at(listener.dup())

    with ptykill.Host(plan=PLAN, max_sessions=3) as host:
        app = cast(Any, ptykill.asgi_app(host, key=KEY, spawning=True))
        with _running(lambda: asyncio.run(main())):
            started.wait()
            yield
            stop[0]()


@contextmanager
def _waitress(listener: socket.socket) -> Iterator[None]:
    with ptykill.Host(plan=PLAN, max_sessions=3) as host:
        app = ptykill.wsgi_app(host, key=KEY, spawning=True)
        channels: dict[int, Any] = {}
        server = waitress.server.create_server(app, channels, sockets=[listener], threads=24)

        def run() -> None:
            while channels:  # Until all its sockets are closed.
                server.asyncore.loop(timeout=0.1, map=channels, count=1)

        with _running(run):
            yield
            server.task_dispatcher.shutdown()
            server.trigger.pull_trigger(functools.partial(_close_all, channels))


def _close_all(channels: dict[int, Any]) -> None:
    for channel in list(channels.values()):
        channel.close()


class _Threading(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = False
    request_queue_size = 64


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
        """Log nothing."""


@contextmanager
def _wsgiref(listener: socket.socket) -> Iterator[None]:
    with ptykill.Host(plan=PLAN, max_sessions=3) as host:
        server = _Threading(listener.getsockname(), _Quiet, bind_and_activate=False)
        server.socket.close()
        server.socket = listener.dup()
        server.server_name, server.server_port = "127.0.0.1", listener.getsockname()[1]
        server.setup_environ()
        server.set_app(ptykill.wsgi_app(host, key=KEY, spawning=True))
        with server, _running(functools.partial(server.serve_forever, 0.05)):
            yield
            server.shutdown()


@contextmanager
def _running(run: Callable[[], object]) -> Iterator[None]:
    """Run a function in a thread; the block has to make it return."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


_SERVERS = {
    "hypercorn": _hypercorn,
    "uvicorn": _uvicorn,
    "serve": _serve,
    "waitress": _waitress,
    "wsgiref": _wsgiref,
}
