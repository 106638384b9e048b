"""Makes the API's apps: `asgi_app`, `asgi_middleware` and `wsgi_app`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypedDict, Unpack

from ptykill.embedding.host import Host
from ptykill.engine.supervisor import Supervisor
from ptykill.errors import InvalidArgument
from ptykill.http.asgi_types import AsgiCallable, Receive, Scope, Send
from ptykill.http.messages import Request, Response
from ptykill.rules import validate

__all__ = [
    "ApiOptions",
    "AsgiApp",
    "WsgiApp",
    "asgi_app",
    "asgi_middleware",
    "checked_target",
    "needing_msgspec",
    "wsgi_app",
]


class AsgiApp(Protocol):
    """An ASGI 3 app."""

    async def __call__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Serve one connection of any kind."""

    async def respond(self, request: Request) -> Response:
        """Answer a request for a server without ASGI, from asyncio or trio."""

    async def issue_token(
        self, session_id: str, access: str = "write", expires_in: float | None = None
    ) -> str:
        """Return a token that lets a client attach to a session, which you may have spawned.

        ``access`` is ``"write"``, or ``"read"`` for a client that may only see the output.
        ``expires_in`` is in seconds; None is as long as the session's record is kept. The token
        with ``"write"`` and None is the same at each call. Raises `SessionNotFound`,
        `InvalidArgument`, and `TooManyTokens` beyond 256 tokens of a session.
        """

    async def issue_ticket(self, session_id: str, access: str = "write") -> str:
        """Return a ticket, by which one client may attach to a session once, within 30 s.

        A page puts it into the URL of its WebSocket, ``…/ws?ticket=``, and needs neither the key
        nor a token. ``access`` is as of `issue_token`. Raises `SessionNotFound`,
        `InvalidArgument`, and `TooManyTokens` beyond 4096 unused tickets.
        """


class WsgiApp(Protocol):
    """A WSGI app (PEP 3333)."""

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Callable[[bytes], object]]
    ) -> Iterable[bytes]:
        """Serve one request."""


class ApiOptions(TypedDict, total=False):
    """The options of `asgi_app`, `asgi_middleware` and `wsgi_app`."""

    prefix: str
    """The path of the list of sessions: ``/api/v1/pty``."""
    spawning: bool
    """Whether clients may start programs: False."""
    token_suffices: bool
    """Whether clients may attach with a session's token and without the key: False."""
    grace_cap: float
    """The longest ``?grace=``, in seconds: 60."""
    hosts: Sequence[str] | None
    """Patterns of the ``Host`` headers that are allowed; None allows any."""
    origins: Sequence[str]
    """Patterns of the ``Origin`` headers that are allowed beside the request's own and loopback."""


def asgi_app(
    target: Supervisor | Host, *, key: str | None, **options: Unpack[ApiOptions]
) -> AsgiApp:
    """Return the API as an ASGI 3 app, WebSockets included.

    With a `Supervisor` it runs in that supervisor's trio run (hypercorn on trio); with a `Host`
    in any server, also on asyncio. ``key`` is what clients send (``Authorization: Bearer``);
    None means that the host authenticates the clients. The options, with their defaults:

    ``prefix`` (``/api/v1/pty``) is the path of the list of sessions: it starts with a slash and
    does not end with one, or is empty. ``spawning`` (False) lets clients start programs.
    ``token_suffices`` (False) lets clients attach with a session's token and without the key, which
    browsers can't send with a WebSocket. ``grace_cap`` (60) is the longest ``?grace=`` in seconds.
    ``hosts`` (None) are patterns of the allowed ``Host`` headers; None allows any. ``origins``
    (none) are patterns of the allowed ``Origin`` headers; those of the request's own host and of
    loopback are always allowed.

    Needs the extra ``http``. Raises `InvalidArgument` and `InvalidGrace`.
    """
    checked_target(target)
    needing_msgspec()
    from ptykill.http.api import Api  # noqa: PLC0415 - these need msgspec
    from ptykill.http.asgi import Application  # noqa: PLC0415

    return Application(Api(key=key, **options), target)


def asgi_middleware(
    app: AsgiCallable,
    target: Supervisor | Host,
    *,
    key: str | None,
    **options: Unpack[ApiOptions],
) -> AsgiApp:
    """Return an ASGI 3 app that has the API below its prefix, and ``app`` everywhere else.

    The other parameters are those of `asgi_app`. The server's lifespan messages go to ``app``; if
    that does not support them, they are answered for it. A `Host` is started before ``app``: if it
    can't start, neither does the server. It is closed after ``app`` has shut down.

    Needs the extra ``http``. Raises `InvalidArgument` and `InvalidGrace`.
    """
    validate.function("app", app)
    checked_target(target)
    needing_msgspec()
    from ptykill.http.api import Api  # noqa: PLC0415
    from ptykill.http.middleware import Middleware  # noqa: PLC0415

    return Middleware(app, Api(key=key, **options), target)


def wsgi_app(target: Host, *, key: str | None, **options: Unpack[ApiOptions]) -> WsgiApp:
    """Return the API as a WSGI app; the other parameters are those of `asgi_app`.

    WSGI has no WebSockets. A DELETE occupies its server thread until the session is over.
    Needs the extra ``http``. Raises `InvalidArgument` and `InvalidGrace`.
    """
    if not isinstance(target, Host):
        msg = f"a WSGI server's threads reach sessions through a Host, not {type(target).__name__}"
        raise InvalidArgument(msg)
    needing_msgspec()
    from ptykill.http.api import Api  # noqa: PLC0415
    from ptykill.http.wsgi import Application  # noqa: PLC0415

    return Application(Api(key=key, **options), target)


def checked_target(target: object) -> None:
    """Raise `InvalidArgument` for a target that has no sessions."""
    if not isinstance(target, Supervisor | Host):
        msg = f"target must be a Supervisor or a Host, not {target!r}"
        raise InvalidArgument(msg)


def needing_msgspec() -> None:
    """Raise ModuleNotFoundError, with what to install, without msgspec."""
    try:
        importlib.import_module("msgspec")
    except ModuleNotFoundError:
        msg = "the HTTP API needs msgspec: pip install 'ptykill[http]'"
        raise ModuleNotFoundError(msg, name="msgspec") from None
