"""Serve over HTTP until the end of stdin.

``python -m benchmarks.http_servers KIND [TIER [PYTHON]]`` prints the port, the path of a request
that does nothing, and the server's pid. PYTHON is the interpreter whose ``ptykill serve`` runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["DAEMON", "NO_OP", "SERVERS"]

DAEMON, NO_OP = "ptykill serve", "no-op"
TIER = "keeper"
START_BOUND = 20.0
BACKLOG = 16


def uvicorn(listener: socket.socket, tier: str, _python: str) -> None:
    """Serve on asyncio, with a `Host`."""
    import uvicorn  # noqa: PLC0415 - it may not be installed

    import ptykill  # noqa: PLC0415

    with ptykill.Host(containment=tier) as host:
        app = ptykill.asgi_app(host, key="key", spawning=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        leave_with_stdin(lambda: setattr(server, "should_exit", True))
        announce(listener.getsockname()[1])
        server.run(sockets=[listener])


def hypercorn(listener: socket.socket, tier: str, _python: str) -> None:
    """Serve on trio, with a supervisor of the same run."""
    import hypercorn.config  # noqa: PLC0415 - it may not be installed
    import hypercorn.trio  # noqa: PLC0415
    import trio  # noqa: PLC0415

    import ptykill  # noqa: PLC0415

    async def main() -> None:
        async with ptykill.open_supervisor(containment=tier) as supervisor:
            announce(listener.getsockname()[1])
            config = hypercorn.config.Config()
            config.bind = [f"fd://{listener.detach()}"]
            config.errorlog = None
            app = ptykill.asgi_app(supervisor, key="key", spawning=True)
            token, over = trio.lowlevel.current_trio_token(), trio.Event()
            leave_with_stdin(lambda: token.run_sync_soon(over.set))
            await hypercorn.trio.serve(app, config, shutdown_trigger=over.wait)  # type: ignore[arg-type]

    trio.run(main)


def serve(listener: socket.socket, tier: str, python: str) -> None:
    """Run ``ptykill serve``."""
    port = listener.getsockname()[1]
    listener.close()
    argv = [python, "-m", "ptykill", "serve", "--port", str(port), "--containment", tier]
    env = {**os.environ, "PTYKILL_API_KEY": "key"}
    daemon = subprocess.Popen(
        argv,
        env=env,
        cwd="/",  # Nothing of the checkout is to be imported.
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    leave_with_stdin(lambda: daemon.send_signal(signal.SIGTERM))
    announce(port, daemon.pid)
    daemon.wait()


def no_op(listener: socket.socket, _tier: str, _python: str) -> None:
    """Answer what ``ptykill serve`` would, with its server and settings, and do nothing else."""
    from ptykill.cli.serve.http_server import Server  # noqa: PLC0415 - uvicorn may be missing

    async def main() -> None:
        server, loop = Server(answer_at_once), asyncio.get_running_loop()
        finishing: list[asyncio.Task[None]] = []
        leave_with_stdin(
            lambda: loop.call_soon_threadsafe(
                lambda: finishing.append(loop.create_task(server.finish()))
            )
        )
        announce(listener.getsockname()[1])
        await server.run_at(listener)

    asyncio.run(main())


async def answer_at_once(scope: Any, receive: Any, send: Any) -> None:
    """Answer a create or a DELETE, once its body has come."""
    while (await receive()).get("more_body"):
        pass
    creates = scope["method"] == "POST"
    body = json.dumps({"session_id": "0" * 22, "token": "0" * 43}).encode() if creates else b""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    status, headers = (201, headers) if creates else (204, [])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


SERVERS: dict[str, Callable[[socket.socket, str, str], None]] = {
    "uvicorn": uvicorn,
    "hypercorn": hypercorn,
    DAEMON: serve,
}
"""How sessions are served."""


def leave_with_stdin(leave: Callable[[], object]) -> None:
    """Call ``leave``, which stops the server, at the end of stdin."""

    def wait() -> None:
        sys.stdin.read()
        leave()

    threading.Thread(target=wait, daemon=True).start()


def announce(port: int, pid: int | None = None) -> None:
    """Print the port and the pid, this process's if none is given, once the server answers."""
    told = {"port": port, "nothing": "/nothing", "pid": pid or os.getpid()}
    threading.Thread(target=tell_when_up, args=(told, port), daemon=True).start()


def tell_when_up(told: dict[str, object], port: int) -> None:
    """Print that, once a server at the port answers."""
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
    print(json.dumps(told), flush=True)


def main(kind: str, tier: str = TIER, python: str = sys.executable) -> None:
    """Serve."""
    # asyncio sets TCP_NODELAY only on a socket that names its protocol; without it, answers wait
    # for 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        try:
            {**SERVERS, NO_OP: no_op}[kind](listener, tier, python)
        except ImportError as error:
            print(json.dumps({"skipped": str(error)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
