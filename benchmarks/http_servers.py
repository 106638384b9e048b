"""Serve sessions over HTTP until the end of stdin: ``python -m benchmarks.http_servers KIND``.

Prints the port, and the path of a request that does nothing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

__all__ = ["SERVERS"]

TIER = "keeper"
START_BOUND = 20.0
BACKLOG = 16


def uvicorn(listener: socket.socket) -> None:
    """Serve on asyncio, with a `Host`."""
    import uvicorn  # noqa: PLC0415 - it may not be installed

    import ptykill  # noqa: PLC0415

    with ptykill.Host(containment=TIER) as host:
        app = ptykill.asgi_app(host, key="key", spawning=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        leave_with_stdin(lambda: setattr(server, "should_exit", True))
        server.run(sockets=[listener])


def hypercorn(listener: socket.socket) -> None:
    """Serve on trio, with a supervisor of the same run."""
    import hypercorn.config  # noqa: PLC0415 - it may not be installed
    import hypercorn.trio  # noqa: PLC0415
    import trio  # noqa: PLC0415

    import ptykill  # noqa: PLC0415

    async def main() -> None:
        async with ptykill.open_supervisor(containment=TIER) as supervisor:
            config = hypercorn.config.Config()
            config.bind = [f"fd://{listener.detach()}"]
            config.errorlog = None
            app = ptykill.asgi_app(supervisor, key="key", spawning=True)
            token, over = trio.lowlevel.current_trio_token(), trio.Event()
            leave_with_stdin(lambda: token.run_sync_soon(over.set))
            await hypercorn.trio.serve(app, config, shutdown_trigger=over.wait)  # type: ignore[arg-type]

    trio.run(main)


def serve(listener: socket.socket) -> None:
    """Run ``ptykill serve``."""
    port = listener.getsockname()[1]
    listener.close()
    argv = [sys.executable, "-m", "ptykill", "serve", "--port", str(port), "--containment", TIER]
    env = {**os.environ, "PTYKILL_API_KEY": "key"}
    daemon = subprocess.Popen(
        argv,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    leave_with_stdin(lambda: daemon.send_signal(signal.SIGTERM))
    daemon.wait()


SERVERS: dict[str, Callable[[socket.socket], None]] = {
    "uvicorn": uvicorn,
    "hypercorn": hypercorn,
    "ptykill serve": serve,
}


def leave_with_stdin(leave: Callable[[], object]) -> None:
    """Call ``leave``, which stops the server, at the end of stdin."""

    def wait() -> None:
        sys.stdin.read()
        leave()

    threading.Thread(target=wait, daemon=True).start()


def announce(port: int) -> None:
    """Print the port, once the server answers."""
    until = time.monotonic() + START_BOUND
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as client:
                client.settimeout(5)
                client.sendall(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if client.recv(1):
                    break
        except OSError:
            time.sleep(0.05)
    print(json.dumps({"port": port, "nothing": "/nothing"}), flush=True)


def main(kind: str) -> None:
    """Serve."""
    # asyncio sets TCP_NODELAY only on a socket that names its protocol; without it, answers wait
    # for 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        port = listener.getsockname()[1]
        threading.Thread(target=announce, args=(port,), daemon=True).start()
        try:
            SERVERS[kind](listener)
        except ImportError as error:
            print(json.dumps({"skipped": str(error)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
