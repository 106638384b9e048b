"""The ASGI app that has the page, its logins, and the API behind them."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, Final

from ptykill.http.api import Api
from ptykill.http.asgi import (
    LOGIN,
    Application,
    TooLong,
    receive_body,
    request_of,
    send_response,
)
from ptykill.http.asgi_types import AsgiCallable, Message, Receive, Scope, Send
from ptykill.http.limits import BodyBudget, TooManyBodies
from ptykill.http.messages import Login, Request, Response, error_response, json_response
from ptykill.page.files_served import HEADERS, load
from ptykill.page.logins import LOGIN_SECONDS, Logins
from ptykill.page.same_origin import is_from_own_page

__all__ = ["PageApp"]

_PROOF: Final = b"x-ptykill-proof"
"""The header with the proof of a login."""
_LONGEST: Final = 4096
"""The longest body of a login, in bytes."""
_NO_STORE: Final = (b"cache-control", b"no-store")


class PageApp:
    """The app that `ptykill.page.page_app` returns.

    ``app`` is the API. ``site`` serves all that is neither the page's nor the API's, in an app that
    has more than these; by default that is the API's to answer.
    """

    def __init__(self, api: Api, app: Application, site: AsgiCallable | None = None) -> None:
        self._api = api
        self._app = app
        self._site: AsgiCallable = app if site is None else site
        self._files = load()
        self._bodies = BodyBudget()
        self.logins: Final = Logins()
        """Those who have logged in, and the codes that log in once."""

    async def respond(self, request: Request) -> Response:
        """Answer a request to the API (`ptykill.http.AsgiApp.respond`)."""
        return await self._app.respond(request)

    async def issue_token(
        self, session_id: str, access: str = "write", expires_in: float | None = None
    ) -> str:
        """Return a token of a session (`ptykill.http.AsgiApp.issue_token`)."""
        return await self._app.issue_token(session_id, access, expires_in)

    async def issue_ticket(self, session_id: str, access: str = "write") -> str:
        """Return a ticket for a session (`ptykill.http.AsgiApp.issue_ticket`)."""
        return await self._app.issue_ticket(session_id, access)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any kind."""
        if scope["type"] != "http":
            # A WebSocket has a ticket: its cookie counts for nothing.
            await self._site(scope, receive, send)
            return
        asked = request_of(scope, "/")
        # A program that names no type it takes is told what it was told without a page.
        root = asked.path in {"", "/"} and asked.header(b"accept")
        if root or asked.path.startswith("/page/"):
            response = await self._answer(asked, scope, receive)
            if scope["method"] == "HEAD":
                response = dataclasses.replace(response, body=b"")
            await send_response(response, send)
            return
        request = request_of(scope, self._api.prefix)
        login = self._login(request) if request.path.startswith(self._api.prefix) else None
        if login is None:
            await self._site(scope, receive, send)
        else:
            sending = _until_end(send, self.logins, login)
            await self._site({**scope, LOGIN: login}, receive, sending)

    # --- logins -----------------------------------------------------------------------------------

    def _login(self, request: Request) -> Login | None:
        """Return the login of a request; None without one, or if it may be of another page."""
        cookies, proofs = _cookies(request), request.header(_PROOF)
        if request.header(b"authorization") or len(cookies) != 1 or len(proofs) != 1:
            return None
        if not is_from_own_page(request):
            return None
        return self.logins.check(cookies[0], proofs[0].decode("latin-1"))

    async def _answer(self, request: Request, scope: Scope, receive: Receive) -> Response:
        refusal = self._api.refuse_place(request)
        if refusal is not None:
            return _with_headers(refusal)
        if request.path in {"/page/login", "/page/logout"}:
            return _with_headers(await self._change(request, scope, receive))
        if request.method not in {"GET", "HEAD"}:
            return _with_headers(_not_allowed(b"GET, HEAD"))
        if request.path == "/page/settings":
            return _with_headers(json_response(200, self._settings(request)))
        if not request.path:  # The path of a mount, without the slash that relative links need.
            place = scope.get("root_path", "").encode("utf-8") + b"/"
            return Response(308, ((b"location", place), (b"content-length", b"0"), *HEADERS))
        return self._file(request)

    def _file(self, request: Request) -> Response:
        name = "index.html" if request.path == "/" else request.path.removeprefix("/page/")
        found = self._files.get(name)
        if found is None:
            return _with_headers(error_response(404, "NOT_FOUND", "there is no such path"))
        headers = dict(found.headers)
        if headers[b"etag"] in request.header(b"if-none-match"):
            kept = (b"etag", b"cache-control")
            return Response(304, (*((each, headers[each]) for each in kept), *HEADERS))
        return found

    def _settings(self, request: Request) -> dict[str, object]:
        """Return what the page has to know; a page without a login learns nothing of sessions."""
        return {
            "logged_in": not self._api.needs_key or self._login(request) is not None,
            "needs_key": self._api.needs_key,
            "api": self._api.prefix.removeprefix("/"),
            "spawning": self._api.spawning,
            "grace_cap": self._api.grace_cap,
        }

    async def _change(self, request: Request, scope: Scope, receive: Receive) -> Response:
        """Log in or out."""
        if request.method != "POST":
            return _not_allowed(b"POST")
        if not is_from_own_page(request):
            return error_response(403, "ORIGIN_NOT_ALLOWED", "this request is of another page")
        if request.path == "/page/logout":
            for cookie in _cookies(request):
                if (login_id := self.logins.end(cookie)) is not None:
                    await self._app.end_login(login_id)
            return Response(204, ((b"set-cookie", _cookie(request, scope, "", 0)),))
        try:
            with self._bodies.room() as room:
                body = await receive_body(receive, _LONGEST, room)
        except (TooLong, TooManyBodies, TimeoutError):
            body = None
        if body is None or not self._admits(_fields(body)):
            return error_response(401, "UNAUTHORIZED", "the key or the link is wrong, or was used")
        new = self.logins.begin()
        header = _cookie(request, scope, new.cookie, LOGIN_SECONDS)
        return json_response(200, {"proof": new.proof}, (b"set-cookie", header))

    def _admits(self, fields: dict[str, Any]) -> bool:
        match fields:
            case {"code": str(code)}:
                return self.logins.redeem(code)
            case {"key": str(key)}:
                return self._api.is_key(key)
        return False


def _until_end(send: Send, logins: Logins, login: Login) -> Send:
    """Return a send that ends an answer once its login has ended: a stream of events."""

    async def sending(message: Message) -> None:
        if not logins.lives(login) and message.get("more_body", False):
            await send({**message, "body": b"", "more_body": False})
            raise OSError("the login has ended")  # As a send to a client that is gone.
        await send(message)

    return sending


def _fields(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _name(request: Request) -> str:
    """Return the cookie's name: with the port, since browsers send it to all ports of a host."""
    port = re.search(rb":([0-9]{1,5})$", b"".join(request.header(b"host")))
    return "ptykill" if port is None else f"ptykill-{port[1].decode('ascii')}"


def _cookies(request: Request) -> list[str]:
    """Return the value of each cookie that has our name."""
    name = _name(request)
    pairs = (
        pair.strip().partition("=")
        for header in request.header(b"cookie")
        for pair in header.decode("latin-1").split(";")
    )
    return [value for each, _, value in pairs if each == name]


def _cookie(request: Request, scope: Scope, value: str, seconds: int) -> bytes:
    """Return the header that sets the cookie."""
    path = scope.get("root_path", "").rstrip("/") + "/"
    # A proxy has removed the TLS, but the browser says what it has asked.
    secure = scope.get("scheme") == "https" or any(
        each.startswith(b"https:") for each in request.header(b"origin")
    )
    plain = re.fullmatch(r"[\w./~-]+", path, re.ASCII)
    parts = (
        f"{_name(request)}={value}",
        f"Path={path if plain else '/'}",
        f"Max-Age={seconds}",
        "HttpOnly",
        "SameSite=Strict",
        *(("Secure",) if secure else ()),
    )
    return "; ".join(parts).encode("latin-1")


def _not_allowed(methods: bytes) -> Response:
    sentence = f"this path takes {methods.decode('ascii').replace(', ', ' and ')}"
    return error_response(405, "METHOD_NOT_ALLOWED", sentence, (b"allow", methods))


def _with_headers(response: Response) -> Response:
    return dataclasses.replace(response, headers=(*response.headers, _NO_STORE, *HEADERS))
