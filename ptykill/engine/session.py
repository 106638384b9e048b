"""The session: a program on a terminal, for a user to type to, read from, and end.

This file is longer than others: all that a user can do with a session is in one class, and half of
it is documentation. How it is done is in the files that it calls.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Self

import trio

from ptykill.engine.attachment import Attachment
from ptykill.engine.caller import current_call
from ptykill.engine.deadlines import SessionDeadlines
from ptykill.engine.direct import DirectTerminal
from ptykill.engine.drain import Drain
from ptykill.engine.driver import Driver
from ptykill.engine.event_ring import EventRing
from ptykill.engine.members import interrupt, list_members, signal_members
from ptykill.engine.output import CHUNK, Output
from ptykill.engine.settings import Settings
from ptykill.engine.shared import Shared
from ptykill.engine.transcript import Transcript
from ptykill.engine.watcher import Watcher
from ptykill.engine.window import Viewer, Window
from ptykill.errors import SessionEnded
from ptykill.rules import validate
from ptykill.rules.command import Command
from ptykill.rules.deadlines import Deadlines
from ptykill.rules.lifecycle import State
from ptykill.rules.member import Member
from ptykill.rules.naming import Naming
from ptykill.rules.plan import KILL_NOW, Plan
from ptykill.rules.protocols import Signalled, Spawned
from ptykill.rules.search import Match
from ptykill.rules.session_event import EventKind
from ptykill.rules.steps import Reach
from ptykill.rules.usage import Usage
from ptykill.rules.verdict import EndReason, ExitStatus, Verdict
from ptykill.rules.window_size import Size

__all__ = ["Session", "abandon", "spawn_number", "traffic"]

_SLACK = 1.0
"""Seconds that a shield may outlast the plan that it protects."""


class Session:
    """One terminal session. Made by `Supervisor.spawn`; an async context manager that ends it."""

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        session_id: str,
        number: int,
        command: Command,
        spawned: Spawned,
        settings: Settings,
        *,
        naming: Naming,
        on_end: Callable[[Session, Output], None],
        shared: Shared,
    ) -> None:
        self.id: Final = session_id
        """A random text that fits in a URL."""
        self._number = number
        self.command: Final = command
        """The command that was spawned."""
        self.name: Final = naming.name
        """The name that it was spawned with; None if there is none."""
        self.labels: Final = naming.labels
        """The labels that it was spawned with."""
        self.key: Final = naming.key
        """The idempotency key that it was spawned with; None if there is none."""
        self.created_at: Final = time.time()
        """When it was spawned, in seconds since the epoch."""
        self._typed_at: float | None = None
        self._typed = 0
        """Bytes that were typed."""
        self._claims = [current_call.get()]
        self._plan = settings.plan
        self._ring = shared.ring
        self._output = Output(settings.backlog, partial(_tell_clients, self._ring, session_id))
        self._driver = Driver(
            session_id,
            *spawned,
            settings.signaller,
            settings.plan,
            settings.leftovers,
            lambda: self._end(on_end),
            shared,
        )
        self._transcript = Transcript(self._output)
        driver = self._driver  # Not the session: a cycle would keep an ended one in memory.
        self._deadlines = SessionDeadlines(settings, driver, self._output, shared.timer)
        self._window = Window(
            driver.terminal,
            settings.window_size,
            Size(command.rows, command.cols),
            lambda: driver.terminal.open and not driver.over.is_set(),
            shared.start_soon,
            partial(_tell_size, self._ring, session_id),
        )
        self._drain: Drain | DirectTerminal
        if command.terminal is not None:
            self._drain = DirectTerminal(driver.terminal, self._output, partial(_may_end, driver))
        else:
            self._drain = Drain(session_id, driver.terminal, self._output, self._deadlines.touch)
        watcher = Watcher(driver, self._drain.finish, shared.cleanup, shared.on_closed)
        shared.start_soon(watcher.run)
        shared.start_soon(self._drain.run)

    def __repr__(self) -> str:
        program = self.command.args[0]
        return f"<Session {self.id}, {self.state.value}, pid {self.pid}, {program!r}>"

    @property
    def pid(self) -> int:
        """The session leader's pid."""
        return self._driver.pid

    @property
    def rows(self) -> int:
        """The height of the window, in characters."""
        return self._window.size.rows

    @property
    def cols(self) -> int:
        """The width of the window, in characters."""
        return self._window.size.cols

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

    def usage(self) -> Usage:
        """Return what the session has used until now, or until its end, as far as it is known."""
        verdict = self._driver.verdict
        if verdict is not None and self._driver.over.is_set():
            return verdict.usage
        return self._driver.containment.usage()

    @property
    def output_offset(self) -> int:
        """How many bytes the terminal has put out so far: the offset of the next one."""
        return self._output.kept.end

    @property
    def bytes_dropped(self) -> int:
        """How many bytes of output were dropped before they were received."""
        return self._output.bytes_dropped

    @property
    def attached(self) -> int:
        """How many attachments there are."""
        return len(self._output.readers)

    @property
    def last_input_at(self) -> float | None:
        """When input was last typed by `send`, in seconds since the epoch; None if never."""
        return self._typed_at

    @property
    def last_output_at(self) -> float | None:
        """When the terminal last gave output, in seconds since the epoch; None if never."""
        return self._output.put_at

    @property
    def end_requested(self) -> bool:
        """True if the end was requested while the leader lived; False if that ended by itself."""
        return self.end_reason not in (None, EndReason.EXITED)

    @property
    def end_reason(self) -> EndReason | None:
        """The first cause of the session's end; None while there is none."""
        return self._driver.report.reason

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines in force, or those that were, once the session is being ended."""
        return self._deadlines.deadlines

    def set_deadlines(self, deadlines: Deadlines) -> None:
        """Replace all deadlines; `Deadlines()` removes them.

        They count from when they would have counted before: ``lifetime`` from the spawn, ``idle``
        from the last activity, ``detached`` from the last detach. One that has passed ends the
        session at once. Raises `InvalidArgument`, and `SessionEnded` if the session is over or is
        being ended.
        """
        self._deadlines.change(validate.instance("deadlines", deadlines, Deadlines))
        self._ring.add(EventKind.DEADLINES, self.id, {"deadlines": dataclasses.asdict(deadlines)})

    async def send(self, data: bytes | str) -> None:
        """Type ``data`` into the terminal; wait while the program does not read.

        A str is sent as UTF-8. Raises `SessionEnded` once the leader has exited or the terminal was
        hung up, and `InvalidArgument`.
        """
        typed = validate.typed("data", data)
        if self.exited:
            msg = "the session's leader has exited"
            raise SessionEnded(msg)
        self._typed_at = time.time()
        self._typed += len(typed)
        self._deadlines.touch()
        if self._driver.terminal.may_echo():
            self._transcript.note_typed(typed)
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

    def __aiter__(self) -> Self:
        """Return the session itself, which yields its output."""
        return self

    async def __anext__(self) -> bytes:
        """Wait for output and return some, as `receive` does, until its end."""
        data = await self.receive()
        if not data:
            raise StopAsyncIteration
        return data

    async def expect(self, *patterns: str | re.Pattern[str], timeout: float = 30.0) -> Match:  # noqa: ASYNC109
        """Wait until the output matches one of ``patterns``, and return the first match.

        A str stands for itself, a compiled regular expression for what it matches. They match the
        output as text: UTF-8, without escape sequences, with a newline at each end of line. The
        output is taken up to the end of the match, and the next call goes on there, as `receive`
        does. The echo of what was typed does not match: that is the first copy of each line sent,
        and a later copy for a pattern that matches a part of it. (But the text is not echoed while
        a program asks for a password.) Attachments receive all of it as well.

        Raises `ExpectTimeout` after ``timeout`` seconds and `OutputEnded`, which have the text that
        has come, and `InvalidArgument`. Nothing is taken then, nor if this is cancelled.
        """
        return await self._transcript.expect(patterns, timeout)

    async def until_quiet(self, seconds: float, *, timeout: float = math.inf) -> str:  # noqa: ASYNC109
        """Wait until no output has come for ``seconds``, and take and return the text until then.

        It is text as for `expect`, with echoes. It is returned as well at the end of the output,
        and after ``timeout`` seconds, if output goes on. Raises `InvalidArgument`.
        """
        return await self._transcript.until_quiet(seconds, timeout)

    def attach(
        self,
        limit: int = 1 << 20,
        stall_timeout: float = 1.0,
        *,
        since: int | None = None,
        may_stall: bool = True,
    ) -> Attachment:
        """Attach: receive all output of the terminal from now on. Several may be attached.

        The newest output that is kept comes first, whether or not others have received it.
        ``since`` is the offset to go on from, that is the ``offset`` of an earlier attachment: how
        many bytes of the output were received before. If output from there on is kept no more, it
        begins as without ``since``, and ``Attachment.missing`` is the size of the gap. An
        attachment with ``limit`` bytes of later output pending stops the program's writes, as a
        terminal does. A single attachment may do so for any time. While another one waits for
        output, it may do so for ``stall_timeout`` seconds in all until it has caught up; then it is
        dropped. An attachment that has never called `receive` is dropped after as many seconds,
        even if it is the only one; so is one with ``may_stall`` False, for a user who may see the
        session and not hold it up. No attachment stops the writes of a session that is being ended.
        Raises `InvalidArgument`, and `InvalidOffset` for a ``since`` that is not from 0 to
        ``output_offset``.
        """
        validate.whole("limit", limit, 1)
        validate.seconds("stall_timeout", stall_timeout)
        validate.true_or_false("may_stall", may_stall)
        if since is not None:
            validate.offset("since", since, self.output_offset)
        reader = self._output.attach(limit, stall_timeout, since, may_stall=may_stall)
        return Attachment(reader, Viewer(self._window))

    def resize(self, rows: int, cols: int) -> None:
        """Set the window's size in characters; the foreground process group gets SIGWINCH.

        A dimension of 0 stays as it is. The size holds until an attachment tells another one
        (`Attachment.resize`), or, with the ``window_size`` ``"latest"``, until one types.
        Raises `InvalidArgument`, and `SessionEnded` once the session is over, its terminal was hung
        up, or can't be resized any more. The record then keeps the last size.
        """
        self._window.resize(rows, cols)

    async def members(self) -> tuple[Member, ...]:
        """List the members that there are now, the oldest first; none once the session is over.

        A process that ends meanwhile may be left out; a stranger never gets in. The containment
        says who is found (`containment.md`). Takes at most half a second longer than the system
        calls: a process can delay the reading of its command line, and is then listed by its name.
        Raises OSError if the host has no descriptor left.
        """
        return await list_members(self._driver)

    def signal(self, name: str, reach: Reach | str = Reach.FOREGROUND) -> Signalled:
        """Send a signal, such as ``"INT"``, without ending the session; return whom it reached.

        ``name`` may begin with ``SIG``; ``reach`` is as in a plan. Exactly this signal is sent: a
        stopped process acts on it when it gets a ``"CONT"``. The state changes when a process has
        ended, never because a signal was sent; a kill in progress goes on. The processes for which
        the kernel refused the signal are in ``refused``: that is no error, nor is a reach without
        processes. Raises `InvalidArgument`, and `SessionEnded` once the session is over.
        """
        return signal_members(self._driver, name, reach)

    def interrupt(self) -> None:
        """Do what Ctrl-C does in the terminal's present mode. Never waits.

        Where a key interrupts (ISIG, and VINTR is set: termios(3)), whichever key that is, the
        foreground process group gets SIGINT, and input that waits to be read is discarded. In raw
        mode the program gets the byte 0x03 to read: an editor, a program at the other end of ssh.
        Raises `SessionEnded` once the leader has exited or the terminal was hung up, and
        `InputFull` if a program in raw mode has left so much unread that nothing can be typed.
        """
        interrupt(self._driver)
        self._typed_at = time.time()

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
        self._output.flow()  # A clean-up that writes must not wait for a slow receiver.

    async def kill(self) -> Verdict:
        """Send SIGKILL to every member now, and return the verdict."""
        return await self.terminate(plan=KILL_NOW)

    def _end(self, on_end: Callable[[Session, Output], None]) -> None:
        """Note that the session is over; let a caller that reads the terminal see that at once."""
        on_end(self, self._output)
        if self.command.terminal is not None:
            self._drain.finish()

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


def _may_end(driver: Driver) -> bool:
    """Return whether the output of the caller's terminal may end."""
    return driver.over.is_set() or driver.report.reason is EndReason.EXITED


def _tell_clients(ring: EventRing, session_id: str, change: int, count: int) -> None:
    """Tell how many are attached. It refers to no session: that would be a reference cycle."""
    kind = EventKind.ATTACHED if change > 0 else EventKind.DETACHED
    ring.add(kind, session_id, {"client_count": count})


def _tell_size(ring: EventRing, session_id: str, size: Size) -> None:
    """Tell the new size of the window."""
    ring.add(EventKind.RESIZED, session_id, {"rows": size.rows, "cols": size.cols})


def spawn_number(session: Session) -> int:
    """Return a session's number in the order of its supervisor's spawns, from 1 on.

    ``created_at`` gives no order: the wall clock can be set back.
    """
    return session._number  # noqa: SLF001 - as if it were a method


def traffic(session: Session) -> tuple[Output, int]:
    """Return a session's output, and how many bytes were typed into it."""
    return session._output, session._typed  # noqa: SLF001 - as above


def abandon(session: Session) -> None:
    """Stop watching a session that could not be ended; called when the supervisor closes."""
    session._driver.abandon()  # noqa: SLF001 - as above
