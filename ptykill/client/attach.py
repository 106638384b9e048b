"""The conversation with a session of a daemon's, over a WebSocket, at the terminal one sits at."""

from __future__ import annotations

import dataclasses
import errno
import math
import signal
from collections.abc import AsyncIterator
from typing import Final, TypeAlias

import trio
import trio_websocket
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection
from wsproto.utilities import ProtocolError

from ptykill.client import keys, tty
from ptykill.client.daemon import Daemon, DaemonError
from ptykill.client.traffic import reason
from ptykill.http import frames

__all__ = ["Detached", "Ended", "Lost", "Parting", "Signalled", "attach"]

_PATIENCE: Final = 10.0
"""Seconds that a connection may take."""
_FAREWELL: Final = 1.0
"""Seconds that a goodbye may take, on either side."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """The session's leader is dead; ``code`` is None where it can't be known.

    ``killed``: somebody had the session ended.
    """

    code: int | None
    killed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Detached:
    """The detach key was pressed, or the terminal went away; the session goes on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Signalled:
    """A signal of that number asked this process to end; the session goes on."""

    number: int


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """The daemon has gone, or turned us away: ``reason`` says which."""

    reason: str


Parting: TypeAlias = Ended | Detached | Signalled | Lost
"""How a conversation came to its end."""


async def attach(
    daemon: Daemon, session_id: str, token: str, *, key: bytes | None, redraw: bool = False
) -> Parting:
    """Talk until the session ends, the key is pressed, or a signal comes.

    The terminal is in raw mode meanwhile, and as it was when this returns or raises. ``key`` None
    has no key detach. ``redraw`` has a full-screen program draw anew. Raises `DaemonError`.
    """
    talk = _Talk(daemon, session_id, token, key, redraw=redraw)
    with tty.signals() as received:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.heed, received)
            await talk.hold()
            nursery.cancel_scope.cancel()
    return talk.outcome()


class _Talk:
    """One conversation. What ends it is kept, and whatever else goes on is cancelled."""

    def __init__(
        self, daemon: Daemon, session_id: str, token: str, key: bytes | None, *, redraw: bool
    ) -> None:
        self._daemon = daemon
        self._resource = f"{daemon.path}/{session_id}/ws"
        self._headers = [*daemon.headers.items(), (b"x-pty-token", token.encode("utf-8"))]
        self._key = key
        self._redraw = redraw
        self._stream: trio.abc.Stream | None = None
        self._near: tty.Near | None = None
        self._resized = trio.Event()
        self._scope = trio.CancelScope()
        self._parting: Parting | DaemonError | None = None

    def outcome(self) -> Parting:
        """Return how it ended. Raises `DaemonError` if it never began."""
        assert self._parting is not None
        if isinstance(self._parting, DaemonError):
            raise self._parting
        return self._parting

    async def heed(self, received: AsyncIterator[int]) -> None:
        """Act upon signals, from before the first byte until after the last."""
        async for number in received:
            match number:
                case signal.SIGTSTP if self._near is not None:
                    self._near.stop()
                case signal.SIGTSTP:
                    tty.stop()
                case signal.SIGCONT if self._near is not None:
                    self._near.continued()
                case signal.SIGWINCH | signal.SIGCONT:
                    pass
                case _:
                    self._part(Signalled(number))
                    continue
            self._resized.set()

    async def hold(self) -> None:
        """Connect, talk, and say goodbye; never raises what the other side did."""
        try:
            async with trio.open_nursery() as nursery:
                websocket: WebSocketConnection | None = None
                with self._scope:
                    websocket = await self._connect(nursery)
                    await self._talk(websocket)
                if websocket is not None:
                    with trio.move_on_after(_FAREWELL):
                        await websocket.aclose()
                nursery.cancel_scope.cancel()
        except* ConnectionRejected as refused:
            rejected = _first(refused)
            assert isinstance(rejected, ConnectionRejected)
            self._part(self._daemon.refusal(rejected.status_code, rejected.body or b""))
        except* DaemonError as failed:
            error = _first(failed)
            assert isinstance(error, DaemonError)
            self._part(error)
        except* (ProtocolError, trio.TooSlowError):
            self._part(
                DaemonError(f"the daemon at {self._daemon.url} does not answer as it should")
            )
        finally:
            if self._stream is not None:
                await trio.aclose_forcefully(self._stream)

    async def _connect(self, nursery: trio.Nursery) -> WebSocketConnection:
        with trio.fail_after(_PATIENCE):
            self._stream = await self._daemon.stream()
            return await trio_websocket.wrap_client_stream(
                nursery,
                self._stream,  # type: ignore[arg-type] # any stream does, as its docstring says
                self._daemon.authority,
                self._resource,
                extra_headers=self._headers,
            )

    async def _talk(self, websocket: WebSocketConnection) -> None:
        with tty.near() as near:
            self._near = near
            try:
                await self._begin(websocket, near)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._type, websocket, near)
                    nursery.start_soon(self._follow_size, websocket, near)
                    await self._show(websocket, near)
            except ConnectionClosed:
                self._part(Lost("the daemon went away"))
            finally:
                self._near = None

    async def _begin(self, websocket: WebSocketConnection, near: tty.Near) -> None:
        size = near.size()
        if size is not None:
            rows, cols = size
            if self._redraw and rows > 1:
                # The kernel tells a program of a size only if it is another one (tty_do_resize).
                await websocket.send_message(frames.resized(rows - 1, cols))
            await websocket.send_message(frames.resized(rows, cols))
        await websocket.send_message(frames.READY)

    async def _type(self, websocket: WebSocketConnection, near: tty.Near) -> None:
        """Send what is typed. Where it comes from a pipe, its end leaves us looking on."""
        watch = keys.Watch(self._key if near.interactive else None)
        while True:
            try:
                data = await near.receive()
            except OSError as error:
                self._part(_unusable("input", error))
                return
            if not data:
                break
            data, pressed = watch.upto(data)
            try:
                if data:
                    await websocket.send_message(frames.typed(data))
            except ConnectionClosed:
                return  # `_show` tells why.
            if pressed:
                self._part(Detached())
                return
        if near.interactive:  # A terminal in raw mode has no end but that it was hung up.
            self._part(Detached())

    async def _follow_size(self, websocket: WebSocketConnection, near: tty.Near) -> None:
        while True:
            await self._resized.wait()
            self._resized = trio.Event()
            size = near.size()
            try:
                if size is not None:
                    await websocket.send_message(frames.resized(*size))
            except ConnectionClosed:
                return

    async def _show(self, websocket: WebSocketConnection, near: tty.Near) -> None:
        """Show what the session writes, until it ends or the daemon is gone."""
        ended: frames.Exit | None = None
        try:
            # Once the exit is told, a goodbye follows, and it is not waited for for long.
            with trio.move_on_after(math.inf) as waiting:
                while True:
                    told = frames.read_told(await websocket.get_message())
                    if isinstance(told, frames.Exit):
                        ended = told
                        waiting.deadline = trio.current_time() + _FAREWELL
                    elif told:
                        await near.send(told)
        except BrokenPipeError:
            self._part(Signalled(signal.SIGPIPE))
            return
        except OSError as error:
            self._part(_unusable("output", error))
            return
        except ConnectionClosed:
            pass
        closed = websocket.closed
        if ended is not None:
            self._part(Ended(ended.code, closed is not None and closed.code == 1001))
        elif closed is None or closed.code == 1006:
            self._part(Lost("the daemon went away"))
        else:
            self._part(Lost(f"the daemon hung up: {closed.reason or closed.code}"))

    def _part(self, parting: Parting | DaemonError) -> None:
        """End the conversation; the first reason is the reason."""
        if self._parting is None:
            self._parting = parting
        self._scope.cancel()


def _unusable(which: str, error: OSError) -> Parting:
    """Return how a conversation ends that can't use its end of standard input or output."""
    if error.errno == errno.EIO and tty.is_terminal(1 if which == "output" else 0):
        return Detached()  # It was hung up.
    return Lost(f"standard {which}: {reason(error)}")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
