"""One WebSocket to a session of a daemon's, and how its death is noticed.

A peer that has gone without a word (a laptop that sleeps, a NAT that has forgotten, a cable) leaves
a connection that looks open for many minutes. A daemon sends PINGs, but not every server in front
of an application does. So silence is answered by a PING of our own, which each server has to answer
(RFC 6455, 5.5.2), and further silence is the end.
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
"""Seconds that a connection may take."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds that a goodbye may take."""
SILENCE_TIMEOUT: float = 15.0
"""Seconds without a byte after which a connection is dead; a third of them, until we ask."""


async def run_websocket(
    daemon: DaemonClient,
    resource: str,
    headers: Sequence[tuple[bytes, bytes]],
    talk: Callable[[WebSocketConnection], Awaitable[None]],
) -> None:
    """Connect, talk, and say goodbye. Raises `DaemonError` if there is no connection to be had.

    ``talk`` sees ConnectionClosed when the other side has gone, or has fallen silent.
    """
    failed: DaemonError | None = None
    stream: _MonitoredStream | None = None
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(CONNECT_TIMEOUT):
                stream = _MonitoredStream(await daemon.stream())
                websocket = await trio_websocket.wrap_client_stream(
                    nursery,
                    stream,  # type: ignore[arg-type] # any stream does, as its docstring says
                    daemon.authority,
                    resource,
                    extra_headers=list(headers),
                )
            nursery.start_soon(_ping_when_silent, websocket, stream)
            try:
                await talk(websocket)
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
    """A stream that breaks if nothing comes for `SILENCE_TIMEOUT` while somebody receives.

    The time in which nobody receives does not count: then it is we who are slow.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.last_received = trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the stream does. Raises BrokenResourceError after silence."""
        self.last_received = trio.current_time()
        with trio.move_on_after(SILENCE_TIMEOUT):
            return await self._stream.receive_some(max_bytes)
        msg = "nothing has come for long"
        raise trio.BrokenResourceError(msg)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As the stream does."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """As the stream does."""
        await self._stream.aclose()


async def _ping_when_silent(websocket: WebSocketConnection, stream: _MonitoredStream) -> None:
    """Send a PING whenever it has been quiet for a while."""
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
