"""``ptykill serve`` as a process, or its server in a thread, for tests of what talks to it."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

import ptykill
from ptykill.cli.serve.http_server import Server
from tests.waiting import TIMEOUT, wait_until

__all__ = ["serving", "serving_in_a_thread"]


@contextmanager
def serving(
    *options: str, key: str, prefix: Sequence[str] = (), log: IO[str] | None = None
) -> Iterator[str]:
    """Run ``ptykill serve``, by way of ``prefix``, and yield its host and port."""
    listen = () if "--uds" in options else ("--port", "0")
    with subprocess.Popen(
        [*prefix, sys.executable, "-m", "ptykill", "serve", *listen, *options],
        env={**os.environ, "PTYKILL_API_KEY": key},
        stdout=subprocess.PIPE,
        stderr=log or subprocess.DEVNULL,
        text=True,
    ) as daemon:
        try:
            greeting = cast(IO[str], daemon.stdout).readline()
            yield re.findall(r"serves http://([^/]+)/", greeting)[0]
        finally:
            daemon.terminate()
            daemon.communicate(timeout=2 * TIMEOUT)
    assert daemon.returncode == 0


@contextmanager
def serving_in_a_thread(host: ptykill.Host, key: str | None) -> Iterator[str]:
    """Serve a host as the daemon does, in this process, and yield the host name and port."""
    stop: list[Any] = []

    async def main() -> None:
        server = Server(cast(Any, ptykill.asgi_app(host, key=key, spawning=True)))
        loop = asyncio.get_running_loop()
        stop.append(lambda: asyncio.run_coroutine_threadsafe(server.finish(), loop))
        await server.run_at(listener)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        thread.start()
        wait_until(lambda: stop)
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop[0]()
            thread.join(TIMEOUT)
            assert not thread.is_alive()
