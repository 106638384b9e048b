"""A server with the API, and with a pump that does nothing else.

``python -m benchmarks.websocket_server`` writes its port in a line, and serves until its stdin is
closed. ``... flood PORT SESSIONS`` is a client instead: it attaches to so many sessions that flood
their terminals, and reads what they write.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import httpx
import hypercorn.config
import hypercorn.trio
import hypercorn.typing
import trio

import ptykill
from ptykill.http import frames
from ptykill.http.api import DEFAULT_PREFIX, Api
from ptykill.http.daemon_app import DaemonApp

__all__ = ["KEY", "PUMP", "attached", "client", "flood", "masked", "pipe", "start"]

KEY = "key-for-benchmarks"
PUMP = "/pump"
"""The path of the pump: a WebSocket that sends what `flood` writes to a terminal."""
SECONDS = 300
"""Seconds after which a flood ends by itself."""
BLOCK = 1 << 20


def flood(megabytes: int, *, held: bool = False) -> list[str]:
    """Return a command that writes so much to its terminal; ``held``: once a line was typed."""
    wait = "stty -echo; read line; " if held else ""
    return ["sh", "-c", f"{wait}head -c {megabytes}000000 /dev/zero | tr '\\0' x"]


# --- the server -----------------------------------------------------------------------------------


async def serve() -> None:
    """Serve on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = hypercorn.config.Config()
        config.bind = [f"fd://{listener.dup().detach()}"]
        config.errorlog = None
        print(listener.getsockname()[1], flush=True)
    async with ptykill.open_supervisor(max_sessions=1_000) as supervisor:
        site = DaemonApp(Api(key=KEY, spawning=True), supervisor, version=ptykill.__version__)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket" and scope["path"].startswith(PUMP):
                await pump(int(scope["path"].removeprefix(PUMP)), receive, send)
            else:
                await site(scope, receive, send)

        await hypercorn.trio.serve(
            cast(hypercorn.typing.ASGIFramework, app),
            config,
            shutdown_trigger=partial(trio.lowlevel.wait_readable, sys.stdin),
            mode="asgi",
        )


async def pump(megabytes: int, receive: Any, send: Any) -> None:
    """Do the least that a server of terminals can do: send a frame for each read."""
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    with pipe(megabytes) as master:
        left = megabytes * 1_000_000
        while left > 0:
            try:
                data = os.read(master, frames.LARGEST - 1)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(master)
            else:
                left -= len(data)
                await send({"type": "websocket.send", "bytes": b"\0" + data})
    await send({"type": "websocket.close", "code": 1000})


@contextmanager
def pipe(megabytes: int) -> Iterator[int]:
    """Run a flood on a terminal; yield the master."""
    master, slave = os.openpty()
    os.set_blocking(master, False)
    try:
        with subprocess.Popen(flood(megabytes), stdin=slave, stdout=slave):
            yield master
    finally:
        os.close(master)
        os.close(slave)


# --- the client -----------------------------------------------------------------------------------


def client(port: int) -> httpx.Client:
    """Return a client of the API, with the key."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=60,
        trust_env=False,
        verify=False,
    )


def start(api: httpx.Client, command: list[str]) -> dict[str, Any]:
    """Create a session."""
    body = {"command": command[0], "args": command[1:]}
    created = api.post(DEFAULT_PREFIX, json=body).raise_for_status()
    answer: dict[str, Any] = created.json()
    return answer


def attached(port: int, path: str, token: str = "") -> socket.socket:
    """Open a WebSocket that is ready for output, on a bare socket."""
    stream = socket.create_connection(("127.0.0.1", port), 60)
    stream.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {KEY}\r\nX-PTY-Token: {token}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyAhIQ==\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += stream.recv(1)
    if b" 101 " not in answer:
        raise RuntimeError(answer.decode())
    stream.sendall(masked(frames.READY))
    return stream


def masked(data: bytes) -> bytes:
    """Return a WebSocket frame of a client; its mask, which it must have, is all zeroes."""
    return bytes([0x82, 0x80 | len(data), 0, 0, 0, 0]) + data


def read_floods(port: int, sessions: int) -> None:
    """Attach to floods, print that, and read their output until stdin is closed."""
    waiting = selectors.DefaultSelector()  # The thread uses it until this process exits.
    with client(port) as api:
        # The server drops an attached client that does not read.
        threading.Thread(target=_read_all, args=(waiting,), daemon=True).start()
        for _ in range(sessions):
            created = start(api, ["timeout", str(SECONDS), "yes"])
            stream = attached(
                port, f"{DEFAULT_PREFIX}/{created['session_id']}/ws", created["token"]
            )
            waiting.register(stream, selectors.EVENT_READ)
        print(json.dumps({"attached": sessions}), flush=True)
        sys.stdin.read()
        if len(waiting.get_map()) < sessions:
            sys.exit("a session has ended")


def _read_all(waiting: selectors.BaseSelector) -> None:
    buffer = bytearray(BLOCK)
    while True:
        for key, _ in waiting.select(0.1):
            if not cast(socket.socket, key.fileobj).recv_into(buffer):
                waiting.unregister(key.fileobj)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["flood", port, sessions]:
            read_floods(int(port), int(sessions))
        case _:
            trio.run(serve)
