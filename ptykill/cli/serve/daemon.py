"""Runs the daemon: binds the socket, serves the API on uvicorn, and ends all sessions at a signal.

The server runs in the main thread, the sessions in a trio thread of their own (`ptykill.Host`). So
busy clients do not delay the end of a session.

Only here ptykill is the application: it handles SIGTERM, SIGINT and SIGHUP, and configures logging.
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
import sys
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
from ptykill.integrations.prometheus import page_of
from ptykill.page.app import PageApp
from ptykill.page.logins import CODE_SECONDS
from ptykill.rules.deadlines import Deadlines
from ptykill.rules.plan import HANGUP_THEN_KILL, Plan
from ptykill.system.containment.limits_place import leave_room

__all__ = ["Settings", "serve"]

_PORT_LEFT_OUT = 80
"""The port that browsers leave out of ``Host``."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a daemon.

    It listens on ``uds``, the path of a UNIX socket with the permissions ``uds_mode``, or else on
    ``host`` and ``port``. If ``key`` is None, the daemon generates one and prints it; it then
    listens on loopback only. If ``hosts`` is None, it allows the names of loopback when it listens
    there, and any name elsewhere. Sessions run as ``user`` or ``uid``, as the daemon's own user if
    both are None. With ``page`` there is a page at ``/``. The other fields are those of
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
    window_size: str = "latest"
    memory_max: int | None = None
    pids_max: int | None = None
    cpu_max: float | None = None
    deadlines: Deadlines = dataclasses.field(default_factory=Deadlines)
    hosts: Sequence[str] | None = None
    origins: Sequence[str] = ()
    token_suffices: bool = False
    page: bool = True
    user: str | None = None
    uid: int | None = None


def serve(settings: Settings, say: Callable[[str], object] = print) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; then end every session by the plan, and return.

    ``say`` prints a text for the user. Raises `PtykillError`, and OSError if the address can't be
    bound.
    """
    separation.make_undumpable()  # Before there is a key in memory.
    if (settings.memory_max, settings.pids_max, settings.cpu_max) != (None, None, None):
        leave_room()
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
            # A browser leaves out port 80, and would look like a program.
            program_hosts = PROGRAM_HOSTS if listener.getsockname()[1] != _PORT_LEFT_OUT else ()
        api = Api(
            key=made or settings.key,
            spawning=True,
            token_suffices=settings.token_suffices,
            hosts=hosts,
            origins=settings.origins,
            program_hosts=program_hosts,
        )
        site = partial(DaemonApp, api, version=ptykill.__version__, owner=owner)

        def greet(page: PageApp | None) -> None:
            # The output of a service is a log: there, a link would be a secret in a log.
            shown = made is not None or sys.stdout.isatty()
            code = page.logins.issue_code() if page is not None and shown else None
            say(_greeting(listener, made, code))

        asyncio.run(_serve(listener, api, site, settings, greet))


async def _serve(
    listener: socket.socket,
    api: Api,
    site: Callable[..., DaemonApp],
    settings: Settings,
    greet: Callable[[PageApp | None], object],
) -> None:
    received: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
        ignored = signal.getsignal(number) is signal.SIG_IGN
        if number != signal.SIGHUP or not ignored:  # nohup(1) ignores SIGHUP.
            loop.add_signal_handler(number, received.put_nowait, None)
    async with Host(
        plan=settings.plan,
        max_sessions=settings.max_sessions,
        containment=settings.containment,
        window_size=settings.window_size,
        memory_max=settings.memory_max,
        pids_max=settings.pids_max,
        cpu_max=settings.cpu_max,
        deadlines=settings.deadlines,
    ) as host:
        daemon = site(host, metrics=page_of(host))
        page = PageApp(api, daemon.application, daemon) if settings.page else None
        server = Server(cast(Any, daemon if page is None else page))
        greet(page)  # Signals are handled, and clients can connect by now.
        stopping = asyncio.create_task(_stop(received, host, server))
        lost = asyncio.create_task(_stop_if_lost(host, server))
        await server.run_at(listener)
        stopping.cancel()
        if not lost.cancel():
            await lost


async def _stop_if_lost(host: Host, server: Server) -> None:
    """Stop the server, and raise, if the sessions' thread has crashed.

    Otherwise the daemon would refuse every request. Its exit status lets systemd start it again.
    """
    try:
        await host.acall(trio.sleep_forever)
    except SupervisorClosed:
        await server.finish()
        raise RuntimeError("the sessions' thread has crashed: see the log") from None


async def _stop(received: asyncio.Queue[None], host: Host, server: Server) -> None:
    """At a signal, end all sessions, and then stop the server; a second signal kills at once.

    The server answers until then: each DELETE under way gets its result, and a create is refused.
    """
    await received.get()
    hurrying = asyncio.create_task(_hurry(received, host))
    try:
        await host.acall(host.supervisor.close)
    finally:
        hurrying.cancel()
        await server.finish()


async def _hurry(received: asyncio.Queue[None], host: Host) -> None:
    while True:
        await received.get()
        await host.acall(host.supervisor.hurry)


def _listen(settings: Settings, *, loopback_only: bool) -> socket.socket:
    """Bind the first address of the host; refuse one beyond loopback if ``loopback_only``."""
    if settings.uds is not None:
        return _listen_at(settings.uds, settings.uds_mode)
    host, port = settings.host, settings.port
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if loopback_only and not ipaddress.ip_address(address[0]).is_loopback:
        msg = f"other machines can reach {host}, which needs a key: set PTYKILL_API_KEY"
        raise InvalidArgument(msg)
    # Name the protocol: without it asyncio does not set TCP_NODELAY, and answers take 40 ms more.
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
    """Bind a UNIX socket, in place of one without a listener.

    It has the permissions ``mode`` from the start: the umask is set before bind(2).
    """
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
    """Remove the UNIX socket at the end, unless another daemon has replaced it meanwhile."""
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
    """Return whether there is a UNIX socket on which no process listens."""
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


def _greeting(listener: socket.socket, made: str | None, code: str | None) -> str:
    """Return the text for the user: the URL, the key if it was generated, and commands to try.

    ``code`` logs in to the page once. It is in the link's fragment, which browsers send to nobody.
    """
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
    if code is not None and listener.family != socket.AF_UNIX:
        minutes = CODE_SECONDS // 60
        lines += [f"In a browser, once, within {minutes} minutes: http://{place}/#login={code}", ""]
    return "\n".join(lines)
