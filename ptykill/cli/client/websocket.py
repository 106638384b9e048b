"""Connect a WebSocket to a session of a daemon, and notice when the connection is dead.

If a peer disappears without closing (a laptop sleeps, a NAT forgets its entry, a cable is pulled),
the connection looks open for many minutes. A daemon sends PINGs, but not every server in front of
an application does. So after some silence we send a PING, which each server has to answer (RFC
6455, 5.5.2); after more silence the connection counts as dead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import trio
import trio_websocket
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection
from wsproto.utilities import ProtocolError

from ptykill.cli.client.daemon_client import DaemonClient, DaemonError

__all__ = ["run_websocket"]

CONNECT_TIMEOUT: Final = 10.0
"""Seconds that connecting may take."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds that the closing handshake may take."""
SILENCE_TIMEOUT: float = 15.0
"""Seconds without a byte after which a connection is dead; after a third of them we send a PING."""


async def run_websocket(
    daemon: DaemonClient,
    resource: str,
    headers: Sequence[tuple[bytes, bytes]],
    use: Callable[[WebSocketConnection], Awaitable[None]],
) -> None:
    """Connect, call ``use``, and close. Raises `DaemonError` if the connection fails.

    ``use`` gets ConnectionClosed when the daemon has closed the connection, or has fallen silent.
    """
    failed: DaemonError | None = None
    stream: _MonitoredStream | None = None
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(CONNECT_TIMEOUT):
                stream = _MonitoredStream(await daemon.stream())
                websocket = await trio_websocket.wrap_client_stream(
                    nursery,
                    stream,  # type: ignore[arg-type] # its docstring allows any stream
                    daemon.authority,
                    resource,
                    extra_headers=list(headers),
                )
            nursery.start_soon(_ping_when_silent, websocket, stream)
            try:
                await use(websocket)
            finally:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await websocket.aclose()
            nursery.cancel_scope.cancel()
    except* ConnectionRejected as refused:
        rejected = _first(refused)
        assert isinstance(rejected, ConnectionRejected)
        failed = daemon.refusal(rejected.status_code, rejected.body or b"")
    except* DaemonError as group:
        error = _first(group)
        assert isinstance(error, DaemonError)
        failed = error
    except* (ProtocolError, trio.TooSlowError):
        failed = DaemonError(f"the daemon at {daemon.url} does not answer as it should")
    finally:
        if stream is not None:
            await trio.aclose_forcefully(stream)
    if failed is not None:
        raise failed


class _MonitoredStream(trio.abc.Stream):
    """A stream that breaks if no byte arrives for `SILENCE_TIMEOUT` while a task receives.

    Time in which no task receives does not count: then this side is slow, not the daemon.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.last_received = trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive. Raises BrokenResourceError after `SILENCE_TIMEOUT`."""
        self.last_received = trio.current_time()
        with trio.move_on_after(SILENCE_TIMEOUT):
            return await self._stream.receive_some(max_bytes)
        msg = "the peer is silent"
        raise trio.BrokenResourceError(msg)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending may not block."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()


async def _ping_when_silent(websocket: WebSocketConnection, stream: _MonitoredStream) -> None:
    """Send a PING after each third of `SILENCE_TIMEOUT` without a byte."""
    pause = SILENCE_TIMEOUT / 3
    while True:
        await trio.sleep(pause)
        if trio.current_time() - stream.last_received >= pause:
            with suppress(ConnectionClosed), trio.move_on_after(pause):
                await websocket.ping()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
