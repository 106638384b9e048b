"""The conversation with a session of a daemon's, over a WebSocket, at the terminal one sits at."""

from __future__ import annotations

import dataclasses
import errno
import math
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Final, TypeAlias

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from ptykill.cli.client import keys, tty
from ptykill.cli.client.daemon import Daemon, DaemonError, below
from ptykill.cli.client.link import FAREWELL, linked
from ptykill.cli.client.telling import announce
from ptykill.cli.client.traffic import reason
from ptykill.cli.client.typed import LONGEST_LINE, Lines, Typed
from ptykill.http import frames

__all__ = ["Detached", "Ended", "Lost", "Parting", "Signalled", "attach"]

GIVE_UP: Final = 120.0
"""Seconds after which a connection that was lost is not tried again."""
NOBODY: Final = 3.0
"""Seconds for that if nobody listens there: the daemon is dead, and its sessions with it."""
_PAUSES: Final = (0.2, 10.0)
"""Seconds before the first try, and at most; each pause is twice as long as the one before."""
_STEADY: Final = 10.0
"""Seconds after which a connection counts as one that holds."""
_LOST: Final = (1006, 1012, 1013)
"""Close codes after which one comes back: none came, a restart, too slow (RFC 6455, IANA)."""
_PASSING: Final = (0, 429, 502, 503, 504)
"""Statuses of a daemon, or of a proxy before it, that may be better in a moment; 0 is none."""
_CTRL_C: Final = b"\x03"
_TOO_LONG: Final = (
    f"a line of the input is longer than {LONGEST_LINE} bytes:"
    " if the session reads lines, its terminal cuts it"
)


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

    A connection that is lost is made anew, for as long as that makes sense. The terminal is in raw
    mode meanwhile, and as it was when this returns or raises. ``key`` None has no key detach.
    ``redraw`` has a full-screen program draw anew. Raises `DaemonError`.
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
        self._resource = f"{daemon.path}{below(session_id)}/ws"
        bearer = token.encode("utf-8", "surrogateescape")
        self._headers = [*daemon.headers.items(), (b"x-pty-token", bearer)]
        self._key = key
        self._redraw = redraw
        self._near: tty.Near | None = None
        """This end, from the first connection until the end."""
        self._terminal = ExitStack()
        self._typing = trio.CancelScope()
        self._typing_over = trio.Event()
        self._typed = Typed()
        self._since: float | None = None
        """When the connection was made, if there is one."""
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
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await self._stay(nursery)
                    nursery.cancel_scope.cancel()
        finally:
            self._leave_terminal()

    # --- connections ------------------------------------------------------------------------------

    async def _stay(self, nursery: trio.Nursery) -> None:
        """Talk over one connection after the other, until there is nothing more to say."""

        async def talk(websocket: WebSocketConnection) -> None:
            if self._near is None:
                near = self._near = self._terminal.enter_context(tty.near())
                nursery.start_soon(self._type, near)
            else:
                near = self._near
                if near.interactive:
                    self._typed.clear()  # Nobody has seen the effect of these keys.
                self._since = trio.current_time()  # First: keys that answer this sentence count.
                await announce("connected again", raw=near.interactive)
            await self._talk(websocket, near)

        pause, alone_since = _PAUSES[0], math.inf
        while True:
            failure: DaemonError | None = None
            try:
                await linked(self._daemon, self._resource, self._headers, talk)
            except DaemonError as error:
                failure = error
            if self._parting is not None:
                return
            now = trio.current_time()
            if self._since is not None:
                pause = _PAUSES[0] if now - self._since > _STEADY else pause
                self._since, alone_since = None, now
                await self._tell_loss()
            self._judge(failure, now - alone_since)
            await trio.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])

    async def _tell_loss(self) -> None:
        assert self._near is not None
        if not self._near.interactive and not self._typed.all_sent:
            self._part(Lost("the connection was lost, and some of the input with it, perhaps"))
            return
        how = " (Ctrl-C gives up)" if self._near.interactive else ""
        lost = f"the connection to {self._daemon.url} is lost; connecting again"
        await announce(f"{lost}{how}", raw=self._near.interactive)

    def _judge(self, failure: DaemonError | None, alone: float) -> None:
        """Give up if there is no sense in another try, having been alone for so many seconds."""
        if failure is None:
            return
        if self._near is None:
            self._part(failure)
        elif failure.status == 404:
            self._part(Ended(None, killed=False))
        elif failure.status not in _PASSING:
            self._part(failure)
        elif alone >= NOBODY and failure.errno in (errno.ECONNREFUSED, errno.ENOENT):
            self._part(Lost("the daemon went away"))
        elif alone >= GIVE_UP:
            self._part(Lost(f"the connection was lost, and {failure}"))

    async def _talk(self, websocket: WebSocketConnection, near: tty.Near) -> None:
        self._since = trio.current_time()
        try:
            await self._begin(websocket, near)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_typed, websocket)
                nursery.start_soon(self._follow_size, websocket, near)
                await self._show(websocket, near)
                nursery.cancel_scope.cancel()
        except ConnectionClosed:
            pass
        finally:
            self._redraw = True
            if self._parting is not None:  # Before the goodbye, which takes its time.
                self._typing.cancel()
                with trio.CancelScope(shield=True):  # It is over as soon as it may run.
                    await self._typing_over.wait()
                self._leave_terminal()

    def _leave_terminal(self) -> None:
        self._near = None
        self._terminal.close()

    async def _begin(self, websocket: WebSocketConnection, near: tty.Near) -> None:
        size = near.size()
        if size is not None:
            rows, cols = size
            if self._redraw and rows > 1:
                # The kernel tells a program of a size only if it is another one (tty_do_resize).
                await websocket.send_message(frames.resized(rows - 1, cols))
            await websocket.send_message(frames.resized(rows, cols))
        await websocket.send_message(frames.READY)

    # --- what is typed ----------------------------------------------------------------------------

    async def _type(self, near: tty.Near) -> None:
        try:
            with self._typing:
                await self._take_in(near)
        finally:
            self._typing_over.set()

    async def _take_in(self, near: tty.Near) -> None:
        """Take what is typed. Where it comes from a pipe, its end leaves us looking on."""
        watch = keys.Watch(self._key if near.interactive else None)
        lines = None if near.interactive else Lines()
        while True:
            try:
                data = await near.receive()
            except OSError as error:
                self._part(_unusable("input", error))
                return
            if not data:
                break
            if lines is not None and lines.too_long(data):
                lines = None  # Once is enough.
                await announce(_TOO_LONG, raw=False)
            data, pressed = watch.upto(data)
            if near.interactive and self._since is None:
                pressed, data = pressed or _CTRL_C in data, b""
            await self._typed.put(data)
            if pressed:
                with trio.move_on_after(FAREWELL):
                    await self._typed.wait_sent()
                self._part(Detached())
                return
        self._typed.end()
        if near.interactive:  # A terminal in raw mode has no end but that it was hung up.
            self._part(Detached())

    async def _send_typed(self, websocket: WebSocketConnection) -> None:
        try:
            async for data in self._typed:
                await websocket.send_message(frames.typed(data))
        except ConnectionClosed:
            return  # `_show` tells why.

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

    # --- what is shown ----------------------------------------------------------------------------

    async def _show(self, websocket: WebSocketConnection, near: tty.Near) -> None:
        """Show what the session writes, until it ends or the connection does."""
        ended: frames.Exit | None = None
        try:
            # Once the exit is told, a goodbye follows, and it is not waited for for long.
            with trio.move_on_after(math.inf) as waiting:
                while True:
                    told = frames.read_told(await websocket.get_message())
                    if isinstance(told, frames.Exit):
                        ended = told
                        waiting.deadline = trio.current_time() + FAREWELL
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
        elif closed is not None and closed.code not in _LOST:
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
