"""The HTTP client of a daemon: its URL, its key, and its requests."""

from __future__ import annotations

import dataclasses
import json
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final, NamedTuple, Self, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec
import trio
from msgspec import UNSET

from ptykill.errors import InvalidArgument, PtykillError
from ptykill.http.api import DEFAULT_PREFIX
from ptykill.http.auth import checked_key
from ptykill.http.process_schema import Processes, Reached
from ptykill.http.schema import Created
from ptykill.http.session_record import SessionRecord, Sessions
from ptykill.http.token_bodies import IssuedToken
from ptykill.rules.deadlines import Deadlines

__all__ = ["KEY_VARIABLE", "DaemonClient", "DaemonError", "Killed", "session_path"]

T = TypeVar("T")

KEY_VARIABLE: Final = "PTYKILL_API_KEY"
URL_VARIABLE: Final = "PTYKILL_URL"

_TIMEOUT: Final = 30.0
"""Seconds that an answer may take. A kill's answer is bounded by the daemon's plan instead."""
EVENTS_SILENCE: float = 45.0
"""Seconds without a byte after which a stream of events is dead: it has a comment every 15 s."""


class DaemonError(PtykillError):
    """A request failed; the message is for people.

    ``code`` and ``status`` are those of the answer: ``"UNREACHABLE"`` and 0 if none came. ``errno``
    is the kernel's error for that, None if there was none.
    """

    def __init__(
        self,
        message: str,
        code: str = "UNREACHABLE",
        status: int = 0,
        errno: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.errno = errno


class Killed(NamedTuple):
    """A session that was ended; ``took`` is in seconds, None if the daemon did not say."""

    session_id: str
    took: float | None


class DaemonClient:
    """Sends requests to the daemon at ``url``, with ``key``; an async context manager.

    ``url`` is ``http://…``, ``https://…`` or ``unix:/path/to/socket``; the path of the API may be
    left out. Raises `DaemonError` for any other URL.
    """

    def __init__(self, url: str, key: str | None) -> None:
        self.url: Final = url
        msg = f"{url!r} is not a daemon's URL: http://HOST:PORT or unix:/path/to/socket"
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError:  # UnicodeError is one.
            raise DaemonError(msg) from None
        self._socket = parts.path if parts.scheme == "unix" else None
        if not (self._socket or (parts.scheme in ("http", "https") and parts.hostname)):
            raise DaemonError(msg)
        try:
            bearer = {} if key is None else {b"authorization": b"Bearer " + checked_key(key)}
        except InvalidArgument:
            msg = f"the key in {KEY_VARIABLE} is not valid: a key is printable, without spaces"
            raise DaemonError(msg) from None
        # The default context reads OpenSSL's own files as well as SSL_CERT_FILE.
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or "localhost"
        self._port = port or (443 if self._tls else 80)
        self.authority: Final = "localhost" if self._socket else parts.netloc.rpartition("@")[2]
        path = "" if self._socket else parts.path.rstrip("/")
        self.path: Final = path or DEFAULT_PREFIX
        self.headers: Final = bearer
        self._client = httpx.AsyncClient(
            base_url=f"{'https' if self._tls else 'http'}://{self.authority}{self.path}",
            transport=httpx.AsyncHTTPTransport(uds=self._socket, verify=self._tls or False),
            headers=dict(self.headers),
            # Without the environment: a proxy of it can't reach loopback, and a password in
            # ~/.netrc would be sent in place of the key.
            trust_env=False,
            timeout=httpx.Timeout(_TIMEOUT, pool=None),
        )

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        with trio.CancelScope(shield=True):  # Closing does not wait for the daemon.
            await self._client.aclose()

    # --- requests; each raises `DaemonError` ------------------------------------------------------

    async def create(  # noqa: PLR0913 - all but the command have their defaults
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        working_dir: str | None = None,
        size: tuple[int, int] | None = None,
        limits: Mapping[str, float | None] | None = None,
        deadlines: Deadlines | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Created:
        """Start a session; ``size`` is rows and columns, None for the daemon's default.

        ``limits`` are those of the whole session, by the names of `Attributes`. ``key`` is an
        idempotency key.
        """
        body: dict[str, object] = {"command": command[0], "args": list(command[1:])}
        body |= {"env": dict(env or {}), "working_dir": working_dir}
        body |= {"name": name, "labels": dict(labels or {})}
        body |= limits or {}
        if deadlines:
            body["deadlines"] = dataclasses.asdict(deadlines)
        if size is not None:
            body |= {"rows": size[0], "cols": size[1]}
        headers = {} if key is None else {"idempotency-key": key}
        return _decode(await self._request("POST", "", body, headers), Created)

    async def list(self, labels: Sequence[str] = ()) -> list[SessionRecord]:
        """Return all sessions that the daemon knows, the oldest first.

        With ``labels``, such as ``team=ci`` or ``team``, it returns those that have all of them.
        """
        sessions: list[SessionRecord] = []
        wanted = urlencode([("label", each) for each in labels])
        query = f"?{wanted}" if wanted else ""
        while True:
            page = _decode(await self._request("GET", query), Sessions)
            sessions += page.sessions
            if page.next is UNSET:
                return sessions
            query = f"?after={page.next}&{wanted}"

    async def get(self, session_id: str) -> SessionRecord:
        """Return one session."""
        return _decode(await self._request("GET", session_path(session_id)), SessionRecord)

    async def resize(self, session_id: str, rows: int, cols: int) -> None:
        """Set the size of a session's window, in characters."""
        await self._request(
            "POST", f"{session_path(session_id)}/resize", {"rows": rows, "cols": cols}
        )

    async def set_deadlines(self, session_id: str, deadlines: Deadlines) -> None:
        """Replace the deadlines of a session; None stands for the daemon's."""
        path = f"{session_path(session_id)}/deadlines"
        await self._request("POST", path, dataclasses.asdict(deadlines))

    async def issue_token(self, session_id: str, access: str) -> str:
        """Return a new token of a session, for ``"read"`` or ``"write"``."""
        path = f"{session_path(session_id)}/tokens"
        answer = await self._request("POST", path, {"access": access})
        return _decode(answer, IssuedToken).token

    async def processes(self, session_id: str) -> Processes:
        """List the processes of a session."""
        path = f"{session_path(session_id)}/processes"
        return _decode(await self._request("GET", path), Processes)

    async def signal(self, session_id: str, name: str, reach: str) -> Reached:
        """Send a signal to processes of a session."""
        path = f"{session_path(session_id)}/signal"
        return _decode(await self._request("POST", path, {"signal": name, "reach": reach}), Reached)

    async def interrupt(self, session_id: str) -> None:
        """Do what Ctrl-C does in a session's terminal."""
        await self._request("POST", f"{session_path(session_id)}/interrupt")

    async def kill(self, session_id: str, grace: float | None = None) -> Killed:
        """End a session, and return when it has ended. Takes up to the length of the daemon's plan.

        ``grace`` is in seconds, None for the daemon's own.
        """
        query = "" if grace is None else f"?grace={grace!r}"
        answer = await self._request("DELETE", f"{session_path(session_id)}{query}", bounded=False)
        return Killed(session_id, _total(answer.headers.get("server-timing", "")))

    @asynccontextmanager
    async def events(self, since: str | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the stream of events, after that with the id ``since``; yield its bytes.

        The iterator ends when the daemon ends the stream. Raises `DaemonError` if it is cut off.
        """
        headers = {"accept": "text/event-stream"}
        if since is not None:
            headers["last-event-id"] = since
        timeout = httpx.Timeout(_TIMEOUT, read=EVENTS_SILENCE, pool=None)
        url = f"{self._client.base_url}".rstrip("/") + "/events"
        try:
            async with self._client.stream("GET", url, headers=headers, timeout=timeout) as answer:
                kind = answer.headers.get("content-type", "")
                if answer.status_code != 200 or not kind.startswith("text/event-stream"):
                    raise self.refusal(answer.status_code, await answer.aread())
                async with aclosing(cast(AsyncGenerator[bytes], answer.aiter_bytes())) as data:
                    yield data
        except httpx.TimeoutException:
            raise self._silent() from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from None

    # --- for the WebSocket ------------------------------------------------------------------------

    async def stream(self) -> trio.abc.Stream:
        """Open a new connection. Raises `DaemonError`."""
        try:
            if self._socket is not None:
                return await trio.open_unix_socket(self._socket)
            if self._tls is None:
                return await trio.open_tcp_stream(self._host, self._port)
            return await trio.open_ssl_over_tcp_stream(
                self._host, self._port, ssl_context=self._tls
            )
        except OSError as error:
            raise self._unreachable(error) from None

    def refusal(self, status: int, body: bytes) -> DaemonError:
        """Return the error that an answer stands for."""
        try:
            answer = json.loads(body)
            message, code = str(answer["error"]), str(answer["code"])
        except (ValueError, TypeError, LookupError):
            message = f"the server at {self.url} is no ptykill: it answered {status}"
            return DaemonError(message, status=status)
        if status == 401:
            message = f"{message}: set {KEY_VARIABLE}, or --key-file, to the daemon's key"
        return DaemonError(message, code, status)

    # --- sending ----------------------------------------------------------------------------------

    async def _request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        bounded: bool = True,
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body).encode("ascii")
        timeout = httpx.Timeout(_TIMEOUT, read=_TIMEOUT if bounded else None, pool=None)
        sent = dict(headers or {})
        if body is not None:
            sent["content-type"] = "application/json"
        url = f"{self._client.base_url}".rstrip("/") + path
        try:
            answer = await self._client.request(
                method, url, content=content, headers=sent, timeout=timeout
            )
        except httpx.TimeoutException:
            raise self._silent() from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from None
        if not answer.is_success:
            raise self.refusal(answer.status_code, answer.content)
        return answer

    def _silent(self) -> DaemonError:
        return DaemonError(f"the daemon at {self.url} does not answer")

    def _unreachable(self, error: Exception) -> DaemonError:
        number, text = _system_error(error)
        return DaemonError(
            f"no daemon answers at {self.url}{text and f' ({text})'}: start one with `ptykill"
            f" serve`, or set {URL_VARIABLE} to its URL",
            errno=number,
        )


def session_path(session_id: str) -> str:
    """Return the path of a session below the API's path; the id may hold any characters."""
    return f"/{quote(session_id, safe='', errors='surrogateescape')}"


def _decode(answer: httpx.Response, kind: type[T]) -> T:
    try:
        # `json` first: msgspec rejects lone surrogates, which an argument may have.
        return msgspec.convert(json.loads(answer.content), kind)
    except (ValueError, msgspec.ValidationError):
        msg = "the daemon's answer can't be read: it may have another version"
        raise DaemonError(msg, status=answer.status_code) from None


def _total(timing: str) -> float | None:
    """Return the seconds of ``total;dur=…`` (in milliseconds) in a Server-Timing."""
    for entry in timing.split(","):
        name, _, duration = entry.strip().partition(";dur=")
        if name == "total":
            try:
                return float(duration) / 1000
            except ValueError:
                return None
    return None


def _system_error(error: BaseException) -> tuple[int | None, str]:
    """Return the errno of a failed connection, and its text; None and "" if there is none.

    A failed name look-up has numbers of its own, which are no errno.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno:
            if seen.errno > 0:  # trio puts the address into its message.
                return seen.errno, os.strerror(seen.errno)
            return None, seen.strerror or ""
        if isinstance(seen, ExceptionGroup):
            seen = seen.exceptions[0]
        else:
            seen = seen.__cause__ or seen.__context__
    return None, ""
