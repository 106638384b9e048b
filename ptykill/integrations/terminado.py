"""Terminal managers for terminado: the end of a terminal ends every process that it has started.

`NamedTermManager`, `SingleTermManager` and `UniqueTermManager` take the places of terminado's. They
keep its names, its buffer for clients that come back, its sizes and its websockets. Each terminal
is a session of a `Host`.
"""

from __future__ import annotations

import asyncio
import codecs
import signal
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from contextlib import suppress
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from terminado import management
from terminado.websocket import TermSocket
from tornado.ioloop import IOLoop

from ptykill import Attachment, Host, Reach, Session, SessionEnded, SupervisorClosed

__all__ = ["NamedTermManager", "SessionPty", "SingleTermManager", "Terminal", "UniqueTermManager"]

P = ParamSpec("P")
T = TypeVar("T")

NO_LIMIT: Final = 1 << 30
"""More sessions than a machine can have: terminado has a limit of its own, ``max_terminals``."""

_PIECE: Final = 4096
"""Characters in a piece of the buffer for clients that come back: terminado keeps 1,000 pieces."""
_PENDING: Final = 1 << 16
"""Bytes that may wait to be read. Then the program's writes block, as on any terminal."""


class SessionPty:
    """A session, with the names of ptyprocess that terminado uses.

    ``fd`` is a number that no descriptor has: terminado knows its terminals by it. ``closed`` is
    true once the session is over.
    """

    def __init__(self, host: Host, session: Session, attachment: Attachment) -> None:
        self.host: Final = host
        self.session: Final = session
        self.attachment: Final = attachment
        self.pid: Final[int] = session.pid
        self.fd: Final[int] = -session.pid
        self.closed: bool = False

    def isalive(self) -> bool:
        """Return whether the session is not over: the shell lives, or something that it started."""
        return self.session.ended_at is None

    def write(self, text: str) -> int:
        """Type ``text``; wait while the program does not read. Once it has exited, do nothing."""
        with suppress(SessionEnded, SupervisorClosed):
            self.host.call(self.session.send, text)
        return len(text)

    def getwinsize(self) -> tuple[int, int]:
        """Return the size of the window, rows and columns."""
        return self.session.rows, self.session.cols

    def setwinsize(self, rows: int, cols: int) -> None:
        """Set the size of the window. Once the session is over, do nothing."""
        with suppress(SessionEnded, SupervisorClosed):
            self.host.call(self.session.resize, rows, cols)

    def kill(self, sig: int, reach: Reach = Reach.LEADER) -> None:
        """Send a signal. Raises `SessionEnded` once the session is over."""
        self.host.call(self.session.signal, signal.Signals(sig).name, reach)

    def close(self) -> None:
        """Release the terminal of a session that is over; end one that is not."""
        self.closed = True
        with suppress(SupervisorClosed):
            self.host.call(self.session.request_end)


class Terminal(management.PtyWithClients):
    """A session with its websockets: ``ptyproc`` is a `SessionPty`."""

    ptyproc: SessionPty

    def __init__(
        self, host: Host, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> None:
        # Not terminado's own __init__: that starts a process.
        self.clients: list[Any] = []
        self.read_buffer: deque[str] = deque(maxlen=1000)
        self.term_name: str | None = None
        session = host.spawn(argv, env=env, cwd=cwd)
        # It has no rival that it could hold up, so it is never dropped.
        attach = partial(session.attach, _PENDING, float("inf"))
        self.ptyproc = SessionPty(host, session, host.call(attach))
        self.reader: asyncio.Task[None] | None = None
        """Passes the output on, and ends when the manager and the websockets know of the end."""

    def killpg(self, sig: int = signal.SIGTERM) -> None:
        """Send a signal to the process group of the shell."""
        self.ptyproc.kill(sig, Reach.GROUP)

    async def terminate(self, force: bool = False) -> bool:  # noqa: FBT001, FBT002 - as terminado
        """End the session, and return whether all its processes have ended.

        With ``force`` it is ended by its plan, SIGKILL included, within the plan's bound. Without,
        all its processes get SIGHUP, SIGTERM and SIGCONT, and have the plan's grace.
        """
        pty = self.ptyproc
        with suppress(SupervisorClosed, SessionEnded, TimeoutError):
            if force:
                await pty.host.acall(pty.session.terminate)
            else:
                for sig in signal.SIGHUP, signal.SIGTERM, signal.SIGCONT:
                    pty.kill(sig, Reach.ALL)
                grace = pty.host.supervisor.plan.grace
                await asyncio.wait_for(pty.host.acall(pty.session.wait), grace)
        if pty.isalive():
            return False
        if self.reader is not None:
            await asyncio.wait([self.reader])
        return True


class _SessionManager(management.TermManagerBase):
    """What the managers have in common: their terminals are sessions of ``host``.

    ``host`` is one of the caller's, or else one of the manager's own, which `shutdown` closes.
    """

    def __init__(self, *args: Any, host: Host | None = None, **options: Any) -> None:  # noqa: ANN401 - terminado's
        options.setdefault("blocking_io_executor", _Threads())
        super().__init__(*args, **options)
        self.host: Host = Host(max_sessions=NO_LIMIT) if host is None else host
        self._owns_host = host is None

    def new_terminal(self, **options: Any) -> Terminal:  # noqa: ANN401 - terminado's
        """Start a session with terminado's options, and return its terminal.

        Raises `SpawnError`, and `SupervisorClosed` after `shutdown`.
        """
        settings = {**self.term_settings, "shell_command": self.shell_command, **options}
        env = self.make_term_env(**settings)
        return Terminal(self.host, settings["shell_command"], env, settings.get("cwd"))

    def start_reading(self, ptywclients: management.PtyWithClients) -> None:
        """Pass the terminal's output to its websockets, and keep watch over its end."""
        assert isinstance(ptywclients, Terminal)
        self.ptys_by_fd[ptywclients.ptyproc.fd] = ptywclients
        loop: asyncio.AbstractEventLoop = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
        ptywclients.reader = loop.create_task(self._read(ptywclients))

    async def _read(self, terminal: Terminal) -> None:
        """Pass on the output until its end; then wait until all processes have ended."""
        pty = terminal.ptyproc
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        try:
            while data := await pty.host.acall(pty.attachment.receive):
                self._pass_on(terminal, decoder.decode(data))
            verdict = await pty.host.acall(pty.session.settled)
            if not verdict.empty:
                # It stays in the list, so that a user can try again, and nobody takes its name.
                left = ", ".join(map(str, verdict.survivors))
                self.log.warning("Terminal %s has not ended: %s", terminal.term_name, left)
                _disconnect(terminal)
                await pty.host.acall(pty.session.wait)
        except SupervisorClosed:
            self.log.debug("The host of terminal %s is closed", terminal.term_name)
        finally:
            self.on_eof(terminal)
            _disconnect(terminal)

    def _pass_on(self, terminal: Terminal, text: str) -> None:
        self.pre_pty_read_hook(terminal)
        pieces = range(0, len(text), _PIECE)
        terminal.read_buffer.extend(text[start : start + _PIECE] for start in pieces)
        for client in list(terminal.clients):
            try:
                client.on_pty_read(text)
            except Exception:  # The other clients are to get it all the same.
                self.log.debug(
                    "A client of terminal %s has gone", terminal.term_name, exc_info=True
                )

    async def shutdown(self) -> None:
        """End all terminals, and the manager's own host."""
        await super().shutdown()
        if self._owns_host:
            await self.host.aclose()


def _disconnect(terminal: Terminal) -> None:
    """Tell the websockets that the terminal has ended."""
    for client in list(terminal.clients):
        with suppress(Exception):  # It has gone meanwhile.
            client.on_pty_died()


class NamedTermManager(_SessionManager, management.NamedTermManager):
    """Terminals with names, which websockets share."""


class SingleTermManager(_SessionManager, management.SingleTermManager):
    """One terminal for all websockets."""


class UniqueTermManager(_SessionManager, management.UniqueTermManager):
    """A terminal for each websocket, which is ended when that closes."""

    def get_terminal(self, url_component: str | None = None) -> Terminal:  # noqa: ARG002 - terminado's
        """Start a terminal. Those that are being ended do not count for ``max_terminals``.

        Raises `terminado.management.MaxTerminalsReached`, and as `new_terminal` does.
        """
        sessions = [each.ptyproc.session for each in self.ptys_by_fd.values()]
        if 0 < (self.max_terminals or 0) <= sum(each.end_reason is None for each in sessions):
            raise management.MaxTerminalsReached(self.max_terminals or 0)
        terminal = self.new_terminal()
        self.start_reading(terminal)
        return terminal

    def client_disconnected(self, websocket: TermSocket) -> None:
        """End the session of a websocket that has closed, by its plan."""
        if isinstance(terminal := websocket.terminal, Terminal):
            with suppress(SupervisorClosed):
                self.host.call(terminal.ptyproc.session.request_end)


class _Threads(futures.Executor):
    """Runs each function in a daemon thread: terminado types its clients' input there.

    That waits for a program that does not read. In terminado's executor, with its one thread, the
    input of all other terminals would wait as well, and so would the end of the interpreter.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[T]:
        """Run a function in a thread of its own; each websocket has one at a time."""
        future: futures.Future[T] = futures.Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                future.set_exception(error)

        threading.Thread(target=run, name="ptykill terminado", daemon=True).start()
        return future
