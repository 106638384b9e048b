"""uvicorn, as ``ptykill serve`` runs it: HTTP/1.1 and WebSockets without compression, bounded.

uvicorn's own classes do the work. What is added here: a `ConnectionLimiter` admits connections;
what can't be an upgrade is refused before a WebSocket library sees it; an error of a protocol
closes its connection, and nothing else; the server takes no signals; and it stops within a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from ptykill import log
from ptykill.cli.serve.connections import ConnectionLimiter
from ptykill.http import limits
from ptykill.http.asgi_types import Message, Receive, Send
from ptykill.http.conversation import SILENT

__all__ = ["Server"]

_SLACK = 1.0
"""Seconds that answers may take to be sent once all sessions have ended."""
_TICK = 1.0
_UNSENT = 65_536
"""Bytes that the kernel takes for a client beyond what it has sent (Linux 3.12)."""
_BACKLOG = 1024
"""Connections that may wait to be accepted."""
_AT_ONCE = 8
"""Connections that are accepted before the loop does anything else, such as close others."""
_READ_AT_ONCE = 8_192
"""Bytes of one connection that are read before the loop serves others.

asyncio's 262,144 may be 40,000 chunks or frames, for which it would serve nobody for half a second.
"""
_KEPT_HALF_CLOSED = frozenset({"GET", "HEAD", "DELETE"})
"""The methods of requests that are answered to a client that has shut down its sending side."""

App = Callable[[Message, Receive, Send], Awaitable[None]]


class Server(uvicorn.Server):
    """Serves an ASGI app at a socket, until `finish` is called."""

    def __init__(self, app: App) -> None:
        super().__init__(
            _Config(
                cast(Any, app),
                http=_Connection,
                ws=_WebSocket,
                ws_max_size=limits.MESSAGE,
                ws_ping_interval=limits.PING_SECONDS,
                ws_ping_timeout=None,  # A late PONG is no reason; silence is: `_WebSocket`.
                ws_per_message_deflate=False,
                h11_max_incomplete_event_size=limits.HEADER,
                timeout_keep_alive=limits.KEEP_ALIVE_SECONDS,
                backlog=_AT_ONCE,
                loop="asyncio",
                lifespan="off",
                workers=1,
                proxy_headers=False,
                server_header=False,
                log_config=None,
                # Below, uvicorn and websockets log the URL of a WebSocket, in which a token may be.
                log_level=logging.ERROR,
                access_log=False,
            )
        )
        self._listening = asyncio.Event()
        self._stop = asyncio.Event()

    async def run_at(self, listener: socket.socket) -> None:
        """Serve at a socket, which is closed at the end."""
        loop = asyncio.get_running_loop()
        limiter = ConnectionLimiter()
        cast(_Config, self.config).limiter = limiter
        loop.set_exception_handler(limiter.handle_loop_error)
        try:
            await self.serve([listener])
        finally:
            limiter.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)
        self._listening.set()

    async def finish(self) -> None:
        """Stop: accept no more, let what is being answered come to its end, and cut off the rest.

        It takes two seconds at most, whatever the clients do.
        """
        await self._listening.wait()
        for server in self.servers:
            server.close()
        await self._wait_answered()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._wait_answered()
        self.should_exit = True
        self._stop.set()

    async def _wait_answered(self) -> None:
        if tasks := set(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=_SLACK)

    async def main_loop(self) -> None:
        """Look after the connections once a second, until it is to stop."""
        limiter = cast(_Config, self.config).limiter
        loop = asyncio.get_running_loop()
        while not await self.on_tick(0):  # The header Date.
            limiter.sweep(loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _TICK)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none: the daemon does, and ends its sessions first."""
        yield


class _Config(uvicorn.Config):
    limiter: ConnectionLimiter


class _Connection(H11Protocol):
    """A connection that speaks HTTP/1."""

    _idle_since: float = 0.0
    _half_closed: bool = False

    @property
    def idle_since(self) -> float | None:
        """Since when no request is under way, by the loop's clock."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        return None if under_way else self._idle_since

    @property
    def _limiter(self) -> ConnectionLimiter:
        return cast(_Config, self.config).limiter

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        cast(Any, transport).max_size = _READ_AT_ONCE  # asyncio's (selector_events.py).
        self._idle_since = self.loop.time()
        if not self._limiter.admit(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # What asyncio does with an error here, too, is to close the connection. It logs a traceback
        # of it as well, which whoever can connect could then fill the log with.
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - nothing that a client sends ends more than that
            _abort(self.transport, error)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a connection whose client sends no more, but may read, until the answer is sent.

        A client that has closed it sends the same FIN (tcp(7)). So a create is let go, as uvicorn
        does: its session would have nobody. Nor is a request kept that is not whole.
        """
        asked = self.cycle is not None and not self.cycle.response_complete
        whole = self.conn.their_state is not h11.SEND_BODY
        self._half_closed = asked and whole and self.scope["method"] in _KEPT_HALF_CLOSED
        return self._half_closed

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()
        if self._half_closed and self.cycle.response_complete:
            self.transport.close()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        if event.method != b"GET" or event.http_version < b"1.1":
            self.send_400_response("a WebSocket begins with a GET of HTTP/1.1")
        elif self.conn.trailing_data[0]:
            # RFC 6455, 4.1: a client waits for the answer. uvicorn would lose what it has not.
            self.send_400_response("a WebSocket sends nothing before it is accepted")
        else:
            super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_refusal(400, "BAD_REQUEST", msg))
        self.transport.close()


class _WebSocket(WebSocketsSansIOProtocol):
    """A connection that speaks WebSocket, or is about to."""

    _heard: float = 0.0
    _message: bytes | bytearray = b""
    """What has come of a message that comes in pieces."""

    @property
    def idle_since(self) -> float | None:
        """None: a WebSocket is never idle."""
        return None

    @property
    def _limiter(self) -> ConnectionLimiter:
        return cast(_Config, self.config).limiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._heard = self.loop.time()
        # A client that is slow, and its PINGs, would be behind megabytes; and the socket is said to
        # be writable only when a third of them have gone (Linux sk_stream_is_writeable).
        with contextlib.suppress(OSError, AttributeError):  # A UNIX socket; not Linux.
            stream = self.transport.get_extra_info("socket")
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        if not self._limiter.upgrade(self):
            self._refuse(503, "TOO_MANY_CONNECTIONS", "there are too many WebSockets here")

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._heard = self.loop.time()
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - nothing that a client sends ends more than that
            _abort(self.transport, error)
            return
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # uvicorn answers what websockets does not understand with silence.
            self._refuse(400, "BAD_REQUEST", "this is no request for a WebSocket")

    def _refuse(self, status: int, code: str, sentence: str) -> None:
        self.close_sent = True
        self.transport.write(_refusal(status, code, sentence))
        self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        # uvicorn has a list of the pieces: there may be any number, as empty ones count for no
        # limit, and each takes more than it has in it.
        if self.frames:
            self._message = bytearray(self.frames.pop())
        self._message += event.data
        if event.fin:
            self.frames.append(bytes(self._message))
            self._message = b""
            self.send_receive_event_to_app()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # The client sends PINGs, and does not read. RFC 6455, 5.5.3: not each needs its PONG.
            self.conn.data_to_send()

    def schedule_ping(self) -> None:
        # uvicorn takes the time of the last PONG off, and would send one PING after the other to a
        # client that is as slow as they are.
        self.ping_timer = self.loop.call_later(limits.PING_SECONDS, self.send_keepalive_ping)

    def resume_writing(self) -> None:
        super().resume_writing()
        # A client that is slow comes to a PING only after all that was sent before it.
        self._heard = self.loop.time()

    def send_keepalive_ping(self) -> None:
        now = self.loop.time()
        if self.close_sent or self.transport.is_closing():
            return
        if self.read_paused:
            self._heard = now  # It is we who do not listen.
        if now - self._heard > limits.SILENCE_SECONDS:
            self._give_up()
        elif self.writable.is_set():
            super().send_keepalive_ping()
        else:
            self.schedule_ping()  # It has more to read than it does already.

    def _give_up(self) -> None:
        """Detach a client from which nothing was heard; the limiter aborts what it does not take.

        uvicorn tells the app only when everything is sent, and a dead client takes nothing.
        """
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1013, "reason": SILENT})
        self.conn.send_close(1013, SILENT)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()


def _abort(transport: asyncio.Transport, error: Exception) -> None:
    log.event(logging.WARNING, "serve.bad_request", error=type(error).__name__)
    transport.abort()


def _refusal(status: int, code: str, sentence: str) -> bytes:
    """Return an answer in the one form that every error has."""
    reason = {400: "Bad Request", 503: "Service Unavailable"}[status]
    body = json.dumps({"error": sentence, "code": code}, separators=(",", ":"))
    return (
        f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}"
    ).encode()
