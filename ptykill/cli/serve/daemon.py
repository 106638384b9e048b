"""The daemon: the API on uvicorn, from the first socket to the last session's end.

The server has the main thread, the sessions have a trio thread of their own (`ptykill.Host`): what
clients do to the one makes the end of the other no later.

Here, and only here, ptykill is the application: it takes SIGTERM, SIGINT and SIGHUP, and decides
where the log goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import os
import secrets
import shlex
import signal
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import trio

import ptykill
from ptykill.cli.serve import separation
from ptykill.cli.serve.http_server import Server
from ptykill.cli.serve.log import logging_to_stderr
from ptykill.embedding.host import Host
from ptykill.errors import InvalidArgument, SupervisorClosed
from ptykill.http.api import DEFAULT_PREFIX, Api
from ptykill.http.auth import LOOPBACK_HOSTS, PROGRAM_HOSTS
from ptykill.http.daemon_app import DaemonApp
from ptykill.rules.plan import HANGUP_THEN_KILL, Plan

__all__ = ["Settings", "serve"]

_PORT_LEFT_OUT = 80
"""Where browsers send ``Host`` without a port."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a daemon is run.

    It listens at ``uds``, the path of a UNIX socket with the permissions ``uds_mode``, or else at
    ``host`` and ``port``. ``key`` None has one made and shown, on loopback only. ``hosts`` None
    takes, on loopback, what this machine is called there, and elsewhere anything. ``user`` or
    ``uid`` is whose the sessions are, the daemon's own if both are None. The rest is as for
    `ptykill.asgi_app` and `ptykill.open_supervisor`.
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
    user: str | None = None
    uid: int | None = None


def serve(settings: Settings, say: Callable[[str], object] = print) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; then end every session by the plan, and return.

    ``say`` shows a line to whoever started the server. Raises `PtykillError`, and OSError if the
    address can't be bound.
    """
    separation.make_undumpable()  # Before a key is made.
    owner = separation.owner_of(settings.user, settings.uid)
    made = secrets.token_urlsafe(32) if settings.key is None else None
    hosts = settings.hosts
    with (
        _listen(settings, loopback_only=made is not None) as listener,
        _removed_at_the_end(settings.uds),
        logging_to_stderr(),
    ):
        program_hosts: Sequence[str] = ()
        if hosts is None and listener.family != socket.AF_UNIX and _is_loopback(listener):
            hosts = LOOPBACK_HOSTS
            # A browser leaves out the port 80, and would look like a program.
            program_hosts = PROGRAM_HOSTS if listener.getsockname()[1] != _PORT_LEFT_OUT else ()
        api = Api(
            key=made or settings.key,
            spawning=True,
            token_suffices=settings.token_suffices,
            hosts=hosts,
            origins=settings.origins,
            program_hosts=program_hosts,
        )
        greet = partial(say, _greeting(listener, made))
        asyncio.run(_serve(listener, partial(DaemonApp, api, owner=owner), settings, greet))


async def _serve(
    listener: socket.socket,
    site: Callable[[Host], DaemonApp],
    settings: Settings,
    greet: Callable[[], object],
) -> None:
    received: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
        ignored = signal.getsignal(number) is signal.SIG_IGN
        if number != signal.SIGHUP or not ignored:  # As it is under nohup(1).
            loop.add_signal_handler(number, received.put_nowait, None)
    async with Host(
        plan=settings.plan, max_sessions=settings.max_sessions, containment=settings.containment
    ) as host:
        server = Server(cast(Any, site(host)))
        greet()  # Now that signals are taken, and clients can connect.
        stopping = asyncio.create_task(_stop(received, host, server))
        lost = asyncio.create_task(_stop_if_lost(host, server))
        await server.run_at(listener)
        stopping.cancel()
        if not lost.cancel():
            await lost


async def _stop_if_lost(host: Host, server: Server) -> None:
    """Stop the server, and raise, if the sessions' thread ends by a mistake: all would be refused.

    Whatever has started the daemon (systemd) is to start it again.
    """
    try:
        await host.acall(trio.sleep_forever)
    except SupervisorClosed:
        await server.finish()
        raise RuntimeError("the thread that has the sessions is gone: the log says why") from None


async def _stop(received: asyncio.Queue[None], host: Host, server: Server) -> None:
    """Stop the server when a signal has come, and all sessions have ended; a second one hurries it.

    Until then the server answers, so that every DELETE is told how it went, and whoever asks for
    more sessions that there are none to be had.
    """
    await received.get()
    hurrying = asyncio.create_task(_hurry(received, host))
    try:
        await host.acall(host.supervisor.close)
    finally:
        hurrying.cancel()
        await server.finish()


async def _hurry(received: asyncio.Queue[None], host: Host) -> None:
    async def hurry() -> None:
        host.supervisor.hurry()

    while True:
        await received.get()
        await host.acall(hurry)


def _listen(settings: Settings, *, loopback_only: bool) -> socket.socket:
    """Bind the first address of a host; one that others can reach is not for a key just made."""
    if settings.uds is not None:
        return _listen_at(settings.uds, settings.uds_mode)
    host, port = settings.host, settings.port
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if loopback_only and not ipaddress.ip_address(address[0]).is_loopback:
        msg = f"{host} can be reached from outside, which wants a key of yours: set PTYKILL_API_KEY"
        raise InvalidArgument(msg)
    # With the protocol named, or asyncio leaves TCP_NODELAY alone, and answers wait for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
