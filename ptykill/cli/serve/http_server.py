"""The HTTP server of ``ptykill serve``: uvicorn with limits, for HTTP/1.1 and WebSockets.

uvicorn's own classes do the work. This module adds: a `ConnectionLimiter` admits connections; an
invalid upgrade is refused before a WebSocket library parses it; a protocol error closes only its
own connection; the server handles no signals; and it stops within a bound. WebSockets have no
compression.
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
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame
from websockets.http11 import Request

from ptykill import log
from ptykill.cli.serve.connections import ConnectionLimiter
from ptykill.http import limits
from ptykill.http.asgi_types import Message, Receive, Send
from ptykill.http.conversation import SILENT

__all__ = ["Server"]

_SLACK = 1.0
"""Time-out for sending the last answers once all sessions have ended, in seconds."""
_TICK = 1.0
_UNSENT = 65_536
"""Unsent bytes per client that the kernel buffers (TCP_NOTSENT_LOWAT, Linux 3.12)."""
_BACKLOG = 1024
"""The backlog of listen(2): connections that may wait to be accepted."""
_AT_ONCE = 8
"""Connections that the loop accepts in one pass, before it closes others, for example."""
_READ_AT_ONCE = 8_192
"""Bytes that the loop reads from one connection in one pass.

asyncio's 262,144 may be 40,000 chunks or frames, which would occupy the loop for half a second.
"""
_KEPT_HALF_CLOSED = frozenset({"GET", "HEAD", "DELETE"})
"""Methods of requests that are answered though the client has shut down its sending side."""

App = Callable[[Message, Receive, Send], Awaitable[None]]


class Server(uvicorn.Server):
    """Serves an ASGI app on a socket, until `finish` is called."""

    def __init__(self, app: App) -> None:
        super().__init__(
            _Config(
                cast(Any, app),
                http=_Connection,
                ws=_WebSocket,
                ws_max_size=limits.MESSAGE,
                ws_ping_interval=limits.PING_SECONDS,
                ws_ping_timeout=None,  # `_WebSocket` closes a silent client, not for a late PONG.
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
                # At lower levels uvicorn and websockets log URLs, which may contain a token.
                log_level=logging.ERROR,
            )
        )
        self._listening = asyncio.Event()
        self._stop = asyncio.Event()

    async def run_at(self, listener: socket.socket) -> None:
        """Serve on a socket; close it at the end."""
        loop = asyncio.get_running_loop()
        limiter = ConnectionLimiter()
        cast(_Config, self.config).limiter = limiter
        loop.set_exception_handler(limiter.handle_loop_error)
        try:
            await self.serve([listener])
        finally:
            limiter.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections, with a longer backlog than uvicorn's."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)
        self._listening.set()

    async def finish(self) -> None:
        """Stop: accept no more connections, finish the answers under way, and close the others.

        It takes at most two seconds, whatever the clients do.
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
        """Close expired connections once a second, until `finish`."""
        limiter = cast(_Config, self.config).limiter
        loop = asyncio.get_running_loop()
        while not await self.on_tick(0):  # uvicorn updates its header Date there.
            limiter.sweep(loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _TICK)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle no signals: the daemon does that, and ends its sessions first."""
        yield


class _Config(uvicorn.Config):
    limiter: ConnectionLimiter


class _Connection(H11Protocol):
    """An HTTP/1 connection."""

    _idle_since: float = 0.0
    _half_closed: bool = False

    @property
    def idle_since(self) -> float | None:
        """The loop's time at which the last request ended; None while one is under way."""
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
        # asyncio would close the connection after an error, too, but with a traceback in the log:
        # any client could fill the log with them.
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - a client's data ends only its own connection
            _abort(self.transport, error)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a half-closed connection until the answer is sent: the client may still read.

        A client that has closed its socket sends the same FIN (tcp(7)). So the connection of a
        create is closed, as uvicorn does: its session might have no client. So is that of an
        incomplete request.
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
            # RFC 6455, 4.1: a client waits for the answer. uvicorn would lose data sent before.
            self.send_400_response("a WebSocket sends nothing before it is accepted")
        else:
            super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_refusal(400, "BAD_REQUEST", msg))
        self.transport.close()


class _WebSocket(WebSocketsSansIOProtocol):
    """A WebSocket connection, from its handshake on."""

    _unheard: int = 0
    """How often a PING was due since the client was last heard.

    Not the time since then: while this process is stopped, it hears no client (SIGSTOP, a busy
    machine).
    """
    _message: bytes | bytearray = b""
    """The received part of a fragmented message."""

    @property
    def idle_since(self) -> float | None:
        """None: a WebSocket is never idle."""
        return None

    @property
    def _limiter(self) -> ConnectionLimiter:
        return cast(_Config, self.config).limiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Otherwise a PING to a slow client would be queued behind megabytes, and the socket would
        # become writable only when a third of them are sent (Linux sk_stream_is_writeable).
        with contextlib.suppress(OSError, AttributeError):  # A UNIX socket; not Linux.
            stream = self.transport.get_extra_info("socket")
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        if not self._limiter.upgrade(self):
            self._refuse(503, "TOO_MANY_CONNECTIONS", "too many WebSockets are open")

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unheard = 0
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - a client's data ends only its own connection
            _abort(self.transport, error)
            return
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # uvicorn sends no answer if the package websockets rejects the handshake.
            self._refuse(400, "BAD_REQUEST", "this is not a valid WebSocket handshake")

    def handle_connect(self, event: Request) -> None:
        try:
            self.conn.process_request(event)
        except InvalidHandshake:  # websockets would answer in plain text.
            self._refuse(400, "BAD_REQUEST", "this is no request for a WebSocket")
        else:
            super().handle_connect(event)

    def _refuse(self, status: int, code: str, sentence: str) -> None:
        self.close_sent = True
        self.transport.write(_refusal(status, code, sentence))
        self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        # uvicorn keeps a list of the fragments. An empty fragment takes memory, and does not count
        # towards the limit of a message, so their number has no bound.
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
            # The client sends PINGs and does not read. RFC 6455, 5.5.3: not each PING needs a PONG.
            self.conn.data_to_send()

    def schedule_ping(self) -> None:
        # uvicorn subtracts the round-trip time of the last PONG from the interval. To a client
        # whose PONG takes that long it would send one PING right after the other.
        self.ping_timer = self.loop.call_later(limits.PING_SECONDS, self.send_keepalive_ping)

    def resume_writing(self) -> None:
        super().resume_writing()
        # A slow client reads a PING only after the data sent before it: reading counts as a sign of
        # life, too.
        self._unheard = 0

    def send_keepalive_ping(self) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self._unheard += 1
        if self.read_paused:
            self._unheard = 0  # This side does not read: the client is not to blame.
        if self._unheard * limits.PING_SECONDS > limits.SILENCE_SECONDS:
            self._give_up()
        elif self.writable.is_set():
            super().send_keepalive_ping()
        else:
            self.schedule_ping()  # The client has unread data already.

    def _give_up(self) -> None:
        """Detach a silent client; the limiter aborts its connection if the close does not finish.

        uvicorn reports the disconnect only when all data is sent, and a dead client reads none.
        """
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1013, "reason": SILENT})
        self.conn.send_close(1013, SILENT)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()


def _abort(transport: asyncio.Transport, error: Exception) -> None:
    log.event(logging.WARNING, "serve.bad_request", error=type(error).__name__)
    transport.abort()


def _refusal(status: int, code: str, sentence: str) -> bytes:
    """Return an error response, as bytes."""
    reason = {400: "Bad Request", 503: "Service Unavailable"}[status]
    body = json.dumps({"error": sentence, "code": code}, separators=(",", ":"))
    return (
        f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}"
    ).encode()
