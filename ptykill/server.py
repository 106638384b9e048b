"""The daemon: the API on hypercorn and trio, from the first socket to the last session's end.

Here, and only here, ptykill is the application: it takes SIGTERM, SIGINT and SIGHUP, and decides
where the log goes.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import cast

import hypercorn.config
import hypercorn.trio
import hypercorn.typing
import msgspec  # noqa: F401 - the API needs it, and to lack it is best known at the start
import trio

import ptykill
from ptykill.daemon_log import logging_to_stderr
from ptykill.errors import InvalidArgument
from ptykill.http import asgi_app
from ptykill.http.api import DEFAULT_PREFIX
from ptykill.http.auth import Bearer
from ptykill.plan import Plan
from ptykill.supervisor import Supervisor, open_supervisor

__all__ = ["serve"]

_PING_EVERY = 4.0
"""Seconds between two PINGs: a public client gives up after ten of silence."""
_SLACK = 1.0
"""Seconds that answers may take to be sent once all sessions have ended."""


def serve(  # noqa: PLR0913 - the options of one command
    host: str,
    port: int,
    *,
    key: str | None,
    plan: Plan,
    max_sessions: int,
    say: Callable[[str], object] = print,
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; then end every session by ``plan``, and return.

    ``key`` None has one made and shown, on loopback only. ``say`` shows a line to whoever started
    the server. Raises `InvalidArgument`, and OSError if the address can't be bound.
    """
    chosen = secrets.token_urlsafe(32) if key is None else key
    Bearer(chosen)  # A key that can't be used is told before anything is bound.
    with _listen(host, port, loopback_only=key is None) as listener, logging_to_stderr():
        greeting = _greeting(listener, chosen if key is None else None)
        trio.run(partial(_serve, listener, chosen, plan, max_sessions, partial(say, greeting)))


async def _serve(
    listener: socket.socket,
    key: str,
    plan: Plan,
    max_sessions: int,
    greet: Callable[[], object],
) -> None:
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # As it is under nohup(1).
        signals.append(signal.SIGHUP)
    with trio.open_signal_receiver(*signals) as received:
        async with (
            open_supervisor(plan=plan, max_sessions=max_sessions) as supervisor,
            trio.open_nursery() as nursery,
        ):
            app = asgi_app(supervisor, key=key, spawning=True)
            greet()  # Now that signals are taken, and clients can connect.
            with trio.CancelScope() as serving:
                await hypercorn.trio.serve(
                    cast(hypercorn.typing.ASGIFramework, app),
                    _config(listener, plan),
                    shutdown_trigger=partial(_stopped, received, supervisor, nursery, serving),
                    mode="asgi",
                )
            await supervisor.close()  # While `_hurry` still listens.
            nursery.cancel_scope.cancel()


async def _stopped(
    received: AsyncIterator[int],
    supervisor: Supervisor,
    nursery: trio.Nursery,
    serving: trio.CancelScope,
) -> None:
    """Return at the first signal, with the end of all sessions under way; a second one hurries it.

    The sessions end while the server still answers, so that every DELETE is told how it went.
    """
    await anext(received)
    nursery.start_soon(_end, supervisor, serving)
    nursery.start_soon(_hurry, received, supervisor)


async def _end(supervisor: Supervisor, serving: trio.CancelScope) -> None:
    await supervisor.close()
    await trio.sleep(_SLACK)  # No client that dawdles keeps the daemon for longer.
    serving.cancel()


async def _hurry(received: AsyncIterator[int], supervisor: Supervisor) -> None:
    async for _ in received:
        supervisor.hurry()


def _config(listener: socket.socket, plan: Plan) -> hypercorn.config.Config:
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.detach()}"]  # It closes it, as soon as it is to stop.
    config.errorlog = logging.getLogger("hypercorn.error")  # Or it would add a handler.
    config.include_server_header = False
    config.websocket_ping_interval = _PING_EVERY
    config.graceful_timeout = plan.longest + 2 * _SLACK  # `_end` is sooner.
    return config


def _listen(host: str, port: int, *, loopback_only: bool) -> socket.socket:
    """Bind the first address of a host; one that others can reach is not for a key just made."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if loopback_only and not ipaddress.ip_address(address[0]).is_loopback:
        msg = f"{host} can be reached from outside, which wants a key of yours: set PTYKILL_API_KEY"
        raise InvalidArgument(msg)
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def _greeting(listener: socket.socket, made: str | None) -> str:
    """Return what to tell whoever started the server, commands to try included."""
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    url = f"http://{shown}:{port}{DEFAULT_PREFIX}"
    curl = 'curl -sH "Authorization: Bearer $PTYKILL_API_KEY"'
    lines = [
        f"ptykill {ptykill.__version__} serves {url}",
        *([] if made is None else ["", f"  export PTYKILL_API_KEY={made}"]),
        "",
        f"""  {curl} {url} -d '{{"command": "bash"}}'""",
        f"  {curl} {url}",
        f"  {curl} -iX DELETE {url}/SESSION_ID",
        "",
    ]
    return "\n".join(lines)
