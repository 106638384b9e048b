"""What a host calls to have the API: an app for ASGI, or for WSGI."""

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
        """Answer a request of a server that has no ASGI, from asyncio or trio."""

    async def issue_token(self, session_id: str) -> str:
        """Return the token that lets a client attach to a session which you have spawned yourself.

        Raises `SessionNotFound`.
        """


class WsgiApp(Protocol):
    """A WSGI app (PEP 3333)."""

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Callable[[bytes], object]]
    ) -> Iterable[bytes]:
        """Serve one request."""


class ApiOptions(TypedDict, total=False):
    """What `asgi_app` and `wsgi_app` can be told beside the key."""

    prefix: str
    spawning: bool
    token_suffices: bool
    grace_cap: float
    hosts: Sequence[str] | None
    origins: Sequence[str]


def asgi_app(
    target: Supervisor | Host, *, key: str | None, **options: Unpack[ApiOptions]
) -> AsgiApp:
    """Return the API as an ASGI 3 app, WebSockets included.

    With a `Supervisor` it runs in that supervisor's trio run (hypercorn on trio); with a `Host`
    in any server, asyncio's included. ``key`` is what clients send (``Authorization: Bearer``);
    None says that the host authenticates by itself. The options:

    ``prefix`` is the path of the list: it starts with a slash and does not end with one, or is
    empty (default: ``/api/v1/pty``). ``spawning`` lets clients start programs (False).
    ``token_suffices`` lets a client attach by a session's token alone, as a browser has to, which
    can't send a key with a WebSocket (False). ``grace_cap`` is the longest ``?grace=`` in seconds
    (60). ``hosts`` are patterns of what may be in ``Host``, None for anything (None);
    ``origins`` are patterns of what may be in ``Origin``, beside pages of the host that is asked
    and of loopback (none).

    Needs the extra ``http``. Raises `InvalidArgument` and `InvalidGrace`.
    """
    _check_target(target)
    _needing_msgspec()
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

    Everything but ``app`` is as for `asgi_app`. The server's lifespan goes to ``app``, and is
    answered where it refuses that. A `Host` is started before ``app`` is, so that one which can't
    be keeps the server from starting; and it is closed when ``app`` has shut down.

    Needs the extra ``http``. Raises `InvalidArgument` and `InvalidGrace`.
    """
    validate.function("app", app)
    _check_target(target)
    _needing_msgspec()
    from ptykill.http.api import Api  # noqa: PLC0415
    from ptykill.http.middleware import Middleware  # noqa: PLC0415

    return Middleware(app, Api(key=key, **options), target)


def wsgi_app(target: Host, *, key: str | None, **options: Unpack[ApiOptions]) -> WsgiApp:
    """Return the API as a WSGI app; everything but the `Host` is as for `asgi_app`.

    There are no WebSockets in WSGI. A DELETE keeps its server thread until the session is over.
    Needs the extra ``http``. Raises `InvalidArgument` and `InvalidGrace`.
    """
    if not isinstance(target, Host):
        msg = f"a WSGI server's threads reach sessions through a Host, not {type(target).__name__}"
        raise InvalidArgument(msg)
    _needing_msgspec()
    from ptykill.http.api import Api  # noqa: PLC0415
    from ptykill.http.wsgi import Application  # noqa: PLC0415

    return Application(Api(key=key, **options), target)


def _check_target(target: object) -> None:
    if not isinstance(target, Supervisor | Host):
        msg = f"target must be a Supervisor or a Host, not {target!r}"
        raise InvalidArgument(msg)


def _needing_msgspec() -> None:
    try:
        importlib.import_module("msgspec")
    except ModuleNotFoundError:
        msg = "the HTTP face needs msgspec: pip install 'ptykill[http]'"
        raise ModuleNotFoundError(msg, name="msgspec") from None
