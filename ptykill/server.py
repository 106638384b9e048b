"""The daemon: the API on hypercorn and trio, from the first socket to the last session's end.

Here, and only here, ptykill is the application: it takes SIGTERM, SIGINT and SIGHUP, and decides
where the log goes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import logging
import os
import secrets
import shlex
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import hypercorn.config
import hypercorn.trio
import hypercorn.typing
import trio

import ptykill
from ptykill.daemon_log import logging_to_stderr
from ptykill.errors import InvalidArgument
from ptykill.http.api import DEFAULT_PREFIX, Api
from ptykill.http.auth import LOOPBACK_HOSTS
from ptykill.http.site import Site
from ptykill.plan import HANGUP_THEN_KILL, Plan
from ptykill.supervisor import Supervisor, open_supervisor

__all__ = ["Settings", "serve"]

_PING_EVERY = 4.0
"""Seconds between two PINGs: a public client gives up after ten of silence."""
_SLACK = 1.0
"""Seconds that answers may take to be sent once all sessions have ended."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a daemon is run.

    It listens at ``uds``, the path of a UNIX socket with the permissions ``uds_mode``, or else at
    ``host`` and ``port``. ``key`` None has one made and shown, on loopback only. ``hosts`` None
    takes, on loopback, what this machine is called there, and elsewhere anything; the rest is as
    for `ptykill.asgi_app` and `ptykill.open_supervisor`.
    """

    host: str = "127.0.0.1"
    port: int = 8022
    uds: str | None = None
    uds_mode: int = 0o600
    key: str | None = dataclasses.field(default=None, repr=False)
    plan: Plan = HANGUP_THEN_KILL
    max_sessions: int = 64
    containment: str = "auto"
    hosts: Sequence[str] | None = None
    origins: Sequence[str] = ()
    token_suffices: bool = False


def serve(settings: Settings, say: Callable[[str], object] = print) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; then end every session by the plan, and return.

    ``say`` shows a line to whoever started the server. Raises `PtykillError`, and OSError if the
    address can't be bound.
    """
    made = secrets.token_urlsafe(32) if settings.key is None else None
    hosts = settings.hosts
    with (
        _listen(settings, loopback_only=made is not None) as listener,
        _removed_at_the_end(settings.uds),
        logging_to_stderr(),
    ):
        if hosts is None and listener.family != socket.AF_UNIX and _is_loopback(listener):
            hosts = LOOPBACK_HOSTS
        api = Api(
            key=made or settings.key,
            spawning=True,
            token_suffices=settings.token_suffices,
            hosts=hosts,
            origins=settings.origins,
        )
        greeting = _greeting(listener, made)
        trio.run(partial(_serve, listener, api, settings, partial(say, greeting)))


async def _serve(
    listener: socket.socket, api: Api, settings: Settings, greet: Callable[[], object]
) -> None:
    plan = settings.plan
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # As it is under nohup(1).
        signals.append(signal.SIGHUP)
    with trio.open_signal_receiver(*signals) as received:
        async with (
            open_supervisor(
                plan=plan, max_sessions=settings.max_sessions, containment=settings.containment
            ) as supervisor,
            trio.open_nursery() as nursery,
        ):
            app = Site(api, supervisor)
            greet()  # Now that signals are taken, and clients can connect.
            with trio.CancelScope() as serving:
                await hypercorn.trio.serve(
                    cast(hypercorn.typing.ASGIFramework, app),
                    _config(listener, plan),
                    shutdown_trigger=partial(_stopped, received, supervisor, nursery, serving),
                    mode="asgi",
                )
            nursery.cancel_scope.cancel()


async def _stopped(
    received: AsyncIterator[int],
    supervisor: Supervisor,
    nursery: trio.Nursery,
    serving: trio.CancelScope,
) -> None:
    """Return when a signal has come, and all sessions have ended; a second one hurries that.

    Until then the server answers, so that every DELETE is told how it went, and whoever asks for
    more sessions that there are none to be had.
    """
    await anext(received)
    nursery.start_soon(_hurry, received, supervisor)
    await supervisor.close()
    nursery.start_soon(_end, serving)


async def _end(serving: trio.CancelScope) -> None:
    """Let no client that dawdles keep the daemon for long."""
    await trio.sleep(_SLACK)
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


def _listen(settings: Settings, *, loopback_only: bool) -> socket.socket:
    """Bind the first address of a host; one that others can reach is not for a key just made."""
    if settings.uds is not None:
        return _listen_at(settings.uds, settings.uds_mode)
    host, port = settings.host, settings.port
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


def _listen_at(path: str, mode: int) -> socket.socket:
    """Bind a UNIX socket, in place of one that nobody hears; it never has more than ``mode``."""
    if _is_abandoned(path):
        Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(path)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


@contextlib.contextmanager
def _removed_at_the_end(path: str | None) -> Iterator[None]:
    """Remove a UNIX socket that was bound, unless another daemon has replaced it meanwhile."""
    if path is None:
        yield
        return
    ours = os.lstat(path).st_ino
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(path).st_ino == ours:
                Path(path).unlink()


def _is_abandoned(path: str) -> bool:
    """Return whether there is a socket, and nobody listens at it."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except FileNotFoundError:
        pass
    return False


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def _greeting(listener: socket.socket, made: str | None) -> str:
    """Return what to tell whoever started the server, commands to try included."""
    curl, at = 'curl -sH "Authorization: Bearer $PTYKILL_API_KEY"', ""
    if listener.family == socket.AF_UNIX:
        at, place = f", at {listener.getsockname()}", "localhost"
        curl += f" --unix-socket {shlex.quote(listener.getsockname())}"
    else:
        address, port = listener.getsockname()[:2]
        place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    url = f"http://{place}{DEFAULT_PREFIX}"
    lines = [
        f"ptykill {ptykill.__version__} serves {url}{at}",
        *([] if made is None else ["", f"  export PTYKILL_API_KEY={made}"]),
        "",
        f"""  {curl} {url} --json '{{"command": "bash"}}'""",
        f"  {curl} {url}",
        f"  {curl} -iX DELETE {url}/SESSION_ID",
        "",
    ]
    return "\n".join(lines)
