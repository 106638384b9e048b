"""The session: a program on a terminal, for a user to type to, read from, and end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Self

import trio

from ptykill.engine.attachment import Attachment
from ptykill.engine.caller import current_call
from ptykill.engine.drain import Drain
from ptykill.engine.driver import Driver, Shared
from ptykill.engine.output import CHUNK, Output
from ptykill.engine.settings import Settings
from ptykill.engine.watcher import Watcher
from ptykill.errors import SessionEnded
from ptykill.rules import validate
from ptykill.rules.command import Command, check_size
from ptykill.rules.lifecycle import State
from ptykill.rules.plan import KILL_NOW, Plan
from ptykill.rules.protocols import Spawned
from ptykill.rules.verdict import ExitStatus, Verdict

__all__ = ["Session", "abandon", "spawn_number"]

_SLACK = 1.0
"""Seconds that a shield may outlast the plan that it protects."""


class Session:
    """One terminal session. Made by `Supervisor.spawn`; an async context manager that ends it.

    ``id`` is a random text that fits in a URL; ``command`` is the command that was spawned;
    ``created_at`` is the time of that, in seconds since the epoch; ``rows`` and ``cols`` are the
    size of its window.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        session_id: str,
        number: int,
        command: Command,
        spawned: Spawned,
        settings: Settings,
        *,
        on_end: Callable[[Session, Output], None],
        shared: Shared,
    ) -> None:
        self.id: Final = session_id
        self._number = number
        self.command: Final = command
        self.rows: int = command.rows
        self.cols: int = command.cols
        self.created_at: Final = time.time()
        self._made_in = current_call.get()
        self._plan = settings.plan
        self._end_requested = False
        self._output = Output(settings.backlog)
        self._driver = Driver(
            session_id,
            *spawned,
            settings.signaller,
            settings.plan,
            settings.leftovers,
            lambda: on_end(self, self._output),
            shared,
        )
        drain = Drain(session_id, self._driver.terminal, self._output)
        watcher = Watcher(self._driver, drain.finish, shared.cleanup, shared.on_closed)
        shared.start_soon(watcher.run)
        shared.start_soon(drain.run)

    def __repr__(self) -> str:
        program = self.command.args[0]
        return f"<Session {self.id}, {self.state.value}, pid {self.pid}, {program!r}>"

    @property
    def pid(self) -> int:
        """The session leader's pid."""
        return self._driver.pid

    @property
    def state(self) -> State:
        """The session's state."""
        return self._driver.state

    @property
    def exit_status(self) -> ExitStatus | None:
        """How the leader ended; None while it lives, or if its status can't be known."""
        return self._driver.exit_status

    @property
    def ended_at(self) -> float | None:
        """When the session was over, in seconds since the epoch; None while it is not."""
        return self._driver.ended_at

    @property
    def exited(self) -> bool:
        """True once the leader is dead; members of the session may still live."""
        return self._driver.exited.is_set()

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, once there is one."""
        return self._driver.verdict

    @property
    def bytes_dropped(self) -> int:
        """How many bytes of output were dropped before they were received."""
        return self._output.bytes_dropped

    @property
    def end_requested(self) -> bool:
        """True if the end was requested while the leader lived; False if that ended by itself."""
        return self._end_requested

    async def send(self, data: bytes) -> None:
        """Type ``data`` into the terminal; wait while the program does not read.

        Raises `SessionEnded` once the leader has exited or the terminal was hung up, and
        `InvalidArgument`.
        """
        typed = validate.byte_string("data", data)
        if self.exited:
            msg = "the session's leader has exited"
            raise SessionEnded(msg)
        await self._driver.terminal.send_all(typed)

    async def keep_at_end(self) -> None:
        """Let each program that reads a line from the terminal find the end of the input.

        Use it for a terminal without input: a program that asks for a password, for example, does
        not wait for ever. It lasts until this is cancelled, or the session is over. A program that
        reads single keys (without ICANON, termios(3)) gets no end of input.
        """
        await self._driver.terminal.keep_at_end()

    async def receive(self, most: int = CHUNK) -> bytes:
        """Wait for output and return up to ``most`` bytes; ``b""`` at its end.

        The output ends when the leader exits, even if its leftovers keep the terminal open; or, if
        the end was requested, up to some tenth of a second after the verdict. The terminal is
        always drained, and the newest bytes are kept (see ``bytes_dropped``). While there are
        attachments (`attach`), they receive the output, and this waits.
        """
        validate.whole("most", most, 1)
        await trio.lowlevel.checkpoint()
        return await self._output.receive(most)

    def attach(self, limit: int = 1 << 20, stall_timeout: float = 1.0) -> Attachment:
        """Attach: receive all output of the terminal from now on. Several may be attached.

        The newest output that is kept comes first, whether or not others have received it. An
        attachment with ``limit`` bytes of later output pending stops the program's writes, as a
        terminal does. A single attachment may do so for any time. While another one waits for
        output, it may do so for ``stall_timeout`` seconds in all until it has caught up; then it is
        dropped. An attachment that has never called `receive` is dropped after as many seconds,
        even if it is the only one. No attachment stops the writes of a session that is being ended.
        Raises `InvalidArgument`.
        """
        checked = validate.seconds("stall_timeout", stall_timeout)
        return Attachment(self._output.attach(validate.whole("limit", limit, 1), checked))

    def resize(self, rows: int, cols: int) -> None:
        """Set the window's size in characters; the foreground process group gets SIGWINCH.

        Raises `InvalidArgument`, and `SessionEnded` once the session is over, its terminal was hung
        up, or can't be resized any more. The record then keeps the last size.
        """
        check_size(rows, cols)
        if self._driver.over.is_set() or not self._driver.terminal.open:
            msg = "the session has no terminal any more"
            raise SessionEnded(msg)
        self._driver.terminal.resize(rows, cols)
        self.rows, self.cols = rows, cols

    async def wait(self) -> Verdict:
        """Wait until the session is over, and return its verdict.

        This also returns when the supervisor is closed, which stops watching a session that could
        not be ended.
        """
        await self._driver.over.wait()
        assert self._driver.verdict is not None
        return self._driver.verdict

    async def wait_exited(self) -> ExitStatus | None:
        """Wait until the leader is dead, and return its status; None if it can't be known."""
        await self._driver.exited.wait()
        return self.exit_status

    async def terminate(
        self, *, grace: float | None = None, plan: Plan | str | None = None
    ) -> Verdict:
        """End the session by ``plan`` (default: its own) and return the verdict.

        ``grace`` (seconds) is the time until SIGKILL; None means the plan's. Any number of callers
        share one teardown: the first chooses the plan, later ones can only make SIGKILL come
        earlier. Cancelling a caller does not stop the teardown. It takes at most ``plan.longest``.
        A verdict that is not ``empty`` names the survivors; another call tries to kill them again.
        Raises `InvalidGrace` and `PlanError`, and then has sent no signal.
        """
        self.request_end(grace=grace, plan=plan)
        return await self._driver.settled()

    async def settled(self) -> Verdict:
        """Wait for the verdict of a teardown that was requested, whether it is empty or not."""
        return await self._driver.settled()

    def request_end(self, *, grace: float | None = None, plan: Plan | str | None = None) -> None:
        """Request the end as `terminate` does, without waiting for it."""
        chosen = self._plan if plan is None else Plan.of(plan)
        self._driver.request(chosen if grace is None else chosen.with_grace(grace))
        self._end_requested = self._end_requested or not self.exited
        self._output.flow()  # A clean-up that writes must not wait for a slow receiver.

    async def kill(self) -> Verdict:
        """Send SIGKILL to every member now, and return the verdict."""
        return await self.terminate(plan=KILL_NOW)

    async def __aenter__(self) -> Self:
        """Return the session itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the session, also after an error or a cancel; bounded in time by the plan.

        In a forked child of the host this does nothing.
        """
        if not self._driver.ours:
            return
        bound = trio.current_time() + self._plan.longest + _SLACK
        with trio.CancelScope(shield=True, deadline=bound):
            await self.terminate()


def spawn_number(session: Session) -> int:
    """Return a session's number in the order of its supervisor's spawns, from 1 on.

    ``created_at`` gives no order: the wall clock can be set back.
    """
    return session._number  # noqa: SLF001 - as if it were a method


def abandon(session: Session) -> None:
    """Stop watching a session that could not be ended; called when the supervisor closes."""
    session._driver.abandon()  # noqa: SLF001 - as above
