"""Supervisors, sessions and attachments for threads: their methods block.

This file is written by ``tests/faces/generate.py`` from the classes for trio: change those.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Self, Unpack

from ptykill.embedding.ending import end
from ptykill.embedding.host import Host
from ptykill.embedding.host_events import HostEvents
from ptykill.embedding.run_through import run_through
from ptykill.engine import attachment, session, supervisor
from ptykill.engine.output import CHUNK
from ptykill.engine.run import RunOptions
from ptykill.errors import SupervisorClosed
from ptykill.rules.command import Attributes, Command
from ptykill.rules.deadlines import Deadlines
from ptykill.rules.lifecycle import State
from ptykill.rules.member import Member
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.protocols import Signalled, Signaller
from ptykill.rules.run_result import RunResult
from ptykill.rules.search import Match
from ptykill.rules.steps import Reach
from ptykill.rules.usage import Usage
from ptykill.rules.verdict import EndReason, ExitStatus, Verdict

__all__ = ["Attachment", "Session", "Supervisor"]


class Attachment:
    """Receives all output of a session's terminal. Made by `Session.attach`.

    It is a context manager that detaches. The session goes on then: the newest output is kept, and
    the next attachment receives it first.
    """

    def __init__(self, host: Host, of: attachment.Attachment) -> None:
        self._host = host
        self._of = of

    def __repr__(self) -> str:
        return repr(self._of)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attachment) and other._of is self._of

    def __hash__(self) -> int:
        return hash(self._of)

    @property
    def pending(self) -> int:
        """How many kept bytes it has not received yet."""
        return self._of.pending

    @property
    def start(self) -> int:
        """The offset at which it began: how many bytes the terminal had put out before that one."""
        return self._of.start

    @property
    def offset(self) -> int:
        """The offset of the next byte to receive: the ``since`` of an attach that goes on there."""
        return self._of.offset

    @property
    def missing(self) -> int:
        """How many bytes it does not receive, because they were kept no more.

        They are those between ``since``, or the start of the output, and ``start``. There are more
        if it is slow while the session is being ended.
        """
        return self._of.missing

    @property
    def dropped(self) -> bool:
        """True once it was detached because it had stopped the program's writes for too long."""
        return self._of.dropped

    def receive(self, most: int = CHUNK) -> bytes:
        """Wait for output and return up to ``most`` bytes; ``b""`` at its end.

        Raises `AttachmentDropped` if it has stopped the program's writes for too long, and
        `InvalidArgument`.
        """
        return self._host.call(self._of.receive, most)

    def resize(self, rows: int, cols: int) -> None:
        """Tell the size of the window in which this attachment's user sees the session.

        Several attachments may tell theirs; the supervisor's ``window_size`` says which one the
        session's own window gets. A dimension of 0 means that it is unknown. An attachment that is
        detached gives its size back: the others decide. The first few changes are made at once, and
        then at most 20 in a second.
        Raises `InvalidArgument`, and `SessionEnded` as `Session.resize` does.
        """
        self._host.call(self._of.resize, rows, cols)

    def typed(self, data: bytes) -> None:
        """Note that this attachment's user has typed ``data``, which `Session.send` sends.

        With the ``window_size`` ``"latest"`` the session's window gets the size that this
        attachment has told. What a terminal sends by itself, such as its answer to a query, does
        not count. Raises `InvalidArgument`.
        """
        self._host.call(self._of.typed, data)

    def wait_detached(self) -> bool:
        """Wait until it is detached; return True if it was dropped, False if it was closed.

        This is for a program that is not in `receive`, because it passes the output on to somebody.
        """
        return self._host.call(self._of.wait_detached)

    def close(self) -> None:
        """Detach. May be called again; a task that waits in `receive` gets ``b""``."""
        self._host.call(self._of.close)

    def __enter__(self) -> Self:
        """Return the attachment itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Detach."""
        with suppress(SupervisorClosed):  # Its host has detached it.
            self.close()


class Session:
    """One terminal session. Made by `Supervisor.spawn`; a context manager that ends it."""

    def __init__(self, host: Host, of: session.Session) -> None:
        self._host = host
        self._of = of

    def __repr__(self) -> str:
        return repr(self._of)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Session) and other._of is self._of

    def __hash__(self) -> int:
        return hash(self._of)

    @property
    def id(self) -> str:
        """A random text that fits in a URL."""
        return self._of.id

    @property
    def command(self) -> Command:
        """The command that was spawned."""
        return self._of.command

    @property
    def name(self) -> str | None:
        """The name that it was spawned with; None if there is none."""
        return self._of.name

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that it was spawned with."""
        return self._of.labels

    @property
    def key(self) -> str | None:
        """The idempotency key that it was spawned with; None if there is none."""
        return self._of.key

    @property
    def created_at(self) -> float:
        """When it was spawned, in seconds since the epoch."""
        return self._of.created_at

    @property
    def pid(self) -> int:
        """The session leader's pid."""
        return self._of.pid

    @property
    def rows(self) -> int:
        """The height of the window, in characters."""
        return self._of.rows

    @property
    def cols(self) -> int:
        """The width of the window, in characters."""
        return self._of.cols

    @property
    def state(self) -> State:
        """The session's state."""
        return self._of.state

    @property
    def exit_status(self) -> ExitStatus | None:
        """How the leader ended; None while it lives, or if its status can't be known."""
        return self._of.exit_status

    @property
    def ended_at(self) -> float | None:
        """When the session was over, in seconds since the epoch; None while it is not."""
        return self._of.ended_at

    @property
    def exited(self) -> bool:
        """True once the leader is dead; members of the session may still live."""
        return self._of.exited

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, once there is one."""
        return self._of.verdict

    def usage(self) -> Usage:
        """Return what the session has used until now, or until its end, as far as it is known."""
        return self._host.call(self._of.usage)

    @property
    def output_offset(self) -> int:
        """How many bytes the terminal has put out so far: the offset of the next one."""
        return self._of.output_offset

    @property
    def bytes_dropped(self) -> int:
        """How many bytes of output were dropped before they were received."""
        return self._of.bytes_dropped

    @property
    def attached(self) -> int:
        """How many attachments there are."""
        return self._of.attached

    @property
    def last_input_at(self) -> float | None:
        """When input was last typed by `send`, in seconds since the epoch; None if never."""
        return self._of.last_input_at

    @property
    def last_output_at(self) -> float | None:
        """When the terminal last gave output, in seconds since the epoch; None if never."""
        return self._of.last_output_at

    @property
    def end_requested(self) -> bool:
        """True if the end was requested while the leader lived; False if that ended by itself."""
        return self._of.end_requested

    @property
    def end_reason(self) -> EndReason | None:
        """The first cause of the session's end; None while there is none."""
        return self._of.end_reason

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines in force, or those that were, once the session is being ended."""
        return self._of.deadlines

    def set_deadlines(self, deadlines: Deadlines) -> None:
        """Replace all deadlines; `Deadlines()` removes them.

        They count from when they would have counted before: ``lifetime`` from the spawn, ``idle``
        from the last activity, ``detached`` from the last detach. One that has passed ends the
        session at once. Raises `InvalidArgument`, and `SessionEnded` if the session is over or is
        being ended.
        """
        self._host.call(self._of.set_deadlines, deadlines)

    def send(self, data: bytes | str) -> None:
        """Type ``data`` into the terminal; wait while the program does not read.

        A str is sent as UTF-8. Raises `SessionEnded` once the leader has exited or the terminal was
        hung up, and `InvalidArgument`.
        """
        self._host.call(self._of.send, data)

    def keep_at_end(self) -> None:
        """Let each program that reads a line from the terminal find the end of the input.

        Use it for a terminal without input: a program that asks for a password, for example, does
        not wait for ever. It lasts until this is cancelled, or the session is over. A program that
        reads single keys (without ICANON, termios(3)) gets no end of input.
        """
        self._host.call(self._of.keep_at_end)

    def receive(self, most: int = CHUNK) -> bytes:
        """Wait for output and return up to ``most`` bytes; ``b""`` at its end.

        The output ends when the leader exits, even if its leftovers keep the terminal open; or, if
        the end was requested, up to some tenth of a second after the verdict. The terminal is
        always drained, and the newest bytes are kept (see ``bytes_dropped``). While there are
        attachments (`attach`), they receive the output, and this waits.
        """
        return self._host.call(self._of.receive, most)

    def __iter__(self) -> Self:
        """Return the session itself, which yields its output."""
        return self

    def __next__(self) -> bytes:
        """Wait for output and return some, as `receive` does, until its end."""
        data = self.receive()
        if not data:
            raise StopIteration
        return data

    def expect(self, *patterns: str | re.Pattern[str], timeout: float = 30.0) -> Match:
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
        return self._host.call(partial(self._of.expect, *patterns, timeout=timeout))

    def until_quiet(self, seconds: float, *, timeout: float = math.inf) -> str:
        """Wait until no output has come for ``seconds``, and take and return the text until then.

        It is text as for `expect`, with echoes. It is returned as well at the end of the output,
        and after ``timeout`` seconds, if output goes on. Raises `InvalidArgument`.
        """
        return self._host.call(partial(self._of.until_quiet, seconds, timeout=timeout))

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
        return Attachment(
            self._host,
            self._host.call(
                partial(self._of.attach, limit, stall_timeout, since=since, may_stall=may_stall)
            ),
        )

    def resize(self, rows: int, cols: int) -> None:
        """Set the window's size in characters; the foreground process group gets SIGWINCH.

        A dimension of 0 stays as it is. The size holds until an attachment tells another one
        (`Attachment.resize`), or, with the ``window_size`` ``"latest"``, until one types.
        Raises `InvalidArgument`, and `SessionEnded` once the session is over, its terminal was hung
        up, or can't be resized any more. The record then keeps the last size.
        """
        self._host.call(self._of.resize, rows, cols)

    def members(self) -> tuple[Member, ...]:
        """List the members that there are now, the oldest first; none once the session is over.

        A process that ends meanwhile may be left out; a stranger never gets in. The containment
        says who is found (`containment.md`). Takes at most half a second longer than the system
        calls: a process can delay the reading of its command line, and is then listed by its name.
        Raises OSError if the host has no descriptor left.
        """
        return self._host.call(self._of.members)

    def signal(self, name: str, reach: Reach | str = Reach.FOREGROUND) -> Signalled:
        """Send a signal, such as ``"INT"``, without ending the session; return whom it reached.

        ``name`` may begin with ``SIG``; ``reach`` is as in a plan. Exactly this signal is sent: a
        stopped process acts on it when it gets a ``"CONT"``. The state changes when a process has
        ended, never because a signal was sent; a kill in progress goes on. The processes for which
        the kernel refused the signal are in ``refused``: that is no error, nor is a reach without
        processes. Raises `InvalidArgument`, and `SessionEnded` once the session is over.
        """
        return self._host.call(self._of.signal, name, reach)

    def interrupt(self) -> None:
        """Do what Ctrl-C does in the terminal's present mode. Never waits.

        Where a key interrupts (ISIG, and VINTR is set: termios(3)), whichever key that is, the
        foreground process group gets SIGINT, and input that waits to be read is discarded. In raw
        mode the program gets the byte 0x03 to read: an editor, a program at the other end of ssh.
        Raises `SessionEnded` once the leader has exited or the terminal was hung up, and
        `InputFull` if a program in raw mode has left so much unread that nothing can be typed.
        """
        self._host.call(self._of.interrupt)

    def wait(self) -> Verdict:
        """Wait until the session is over, and return its verdict.

        This also returns when the supervisor is closed, which stops watching a session that could
        not be ended.
        """
        return self._host.call(self._of.wait)

    def wait_exited(self) -> ExitStatus | None:
        """Wait until the leader is dead, and return its status; None if it can't be known."""
        return self._host.call(self._of.wait_exited)

    def terminate(self, *, grace: float | None = None, plan: Plan | str | None = None) -> Verdict:
        """End the session by ``plan`` (default: its own) and return the verdict.

        ``grace`` (seconds) is the time until SIGKILL; None means the plan's. Any number of callers
        share one teardown: the first chooses the plan, later ones can only make SIGKILL come
        earlier. Cancelling a caller does not stop the teardown. It takes at most ``plan.longest``.
        A verdict that is not ``empty`` names the survivors; another call tries to kill them again.
        Raises `InvalidGrace` and `PlanError`, and then has sent no signal.
        """
        return self._host.call(partial(self._of.terminate, grace=grace, plan=plan))

    def settled(self) -> Verdict:
        """Wait for the verdict of a teardown that was requested, whether it is empty or not."""
        return self._host.call(self._of.settled)

    def request_end(self, *, grace: float | None = None, plan: Plan | str | None = None) -> None:
        """Request the end as `terminate` does, without waiting for it."""
        self._host.call(partial(self._of.request_end, grace=grace, plan=plan))

    def kill(self) -> Verdict:
        """Send SIGKILL to every member now, and return the verdict."""
        return self._host.call(self._of.kill)

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the session, also after an error or a cancel; bounded in time by the plan.

        In a forked child of the host this does nothing.
        """
        end(self._host, self._of.__aexit__)


class Supervisor:
    """Spawns, finds and ends the sessions of one program. Made by `open_supervisor`."""

    def __init__(self, host: Host, of: supervisor.Supervisor) -> None:
        self._host = host
        self._of = of

    def __repr__(self) -> str:
        return repr(self._of)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Supervisor) and other._of is self._of

    def __hash__(self) -> int:
        return hash(self._of)

    @property
    def host(self) -> Host:
        """The host that it belongs to: `asgi_app` and `wsgi_app` take it."""
        return self._host

    @property
    def containment(self) -> str:
        """The name of the containment in force."""
        return self._of.containment

    @property
    def closed(self) -> bool:
        """True once `close` was called: no more sessions are started."""
        return self._of.closed

    @property
    def plan(self) -> Plan:
        """The default plan of the sessions."""
        return self._of.plan

    @property
    def deadlines(self) -> Deadlines:
        """The default deadlines of the sessions."""
        return self._of.deadlines

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The live sessions, and the ended ones whose record is kept, the oldest first."""
        return tuple(
            Session(self._host, each) for each in self._host.call(lambda: self._of.sessions)
        )

    def spawn(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        rows: int = 24,
        cols: int = 80,
        echo: bool = True,
        stdin: int | None = None,
        terminal: tuple[int, int] | None = None,
        attributes: Attributes | None = None,
        plan: Plan | str | None = None,
        leftovers: Leftovers | str | None = None,
        signaller: Signaller | None = None,
        deadlines: Deadlines | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Session:
        """Start a program on a terminal of its own, and return its session, running.

        ``env`` None means the host's environment, without the variables that would be wrong in the
        session: those that describe the host's own terminal, and a ``PWD`` of another directory. A
        mapping replaces all of it. The command is looked up in the PATH of this environment.
        ``rows`` and ``cols`` are in characters. ``echo`` is whether the terminal echoes input,
        until a program changes that (termios(3)). ``stdin`` is a descriptor, such as a pipe or a
        file, that the program gets as its descriptor 0 in place of the terminal; it still has the
        terminal as 1 and 2 and as ``/dev/tty``, and the caller's own descriptor stays open.
        ``terminal`` is a master and its slave, as `os.openpty` returns them, in place of a terminal
        that ptykill opens: the caller reads and types by its own master (`ptyprocess.md`), and
        closes both descriptors.
        ``attributes`` are its user, limits and so on, the host's if left out. ``plan``,
        ``leftovers``, ``signaller`` and ``deadlines`` default to the supervisor's; `Deadlines()`
        means no deadlines.

        `find` finds the session by ``name`` and ``labels``. A name has up to 63 letters, digits,
        dots, dashes and underscores, and no two live sessions have the same one. A session has up
        to 16 labels, each with a value of up to 63 printable characters. ``key`` is an idempotency
        key of up to 255 printable ASCII characters: a spawn that is repeated with it returns the
        session of the first one, also while that is being spawned, and after its end, as long as
        its record is kept.

        Raises `SpawnError`, `TooManySessions`, `NameTaken`, `KeyReused`, `LimitsUnavailable`,
        `InvalidArgument` or `SupervisorClosed`, and then leaves no process behind.
        """
        return Session(
            self._host,
            self._host.call(
                partial(
                    self._of.spawn,
                    command,
                    env=env,
                    cwd=cwd,
                    rows=rows,
                    cols=cols,
                    echo=echo,
                    stdin=stdin,
                    terminal=terminal,
                    attributes=attributes,
                    plan=plan,
                    leftovers=leftovers,
                    signaller=signaller,
                    deadlines=deadlines,
                    name=name,
                    labels=labels,
                    key=key,
                )
            ),
        )

    def run(self, command: Sequence[str], **options: Unpack[RunOptions]) -> RunResult:
        """Run a command in a session of its own, and return when nothing of it is left.

        Its output is kept up to ``max_output`` bytes. It is ended by its plan if it runs longer
        than ``timeout`` seconds, or does nothing for ``idle`` seconds; no exception is raised then,
        unless ``check`` is true. `RunOptions` has all options. Cancelling this ends the command by
        its plan, too. It takes at most as long as the command or the deadline, and ``plan.longest``
        after that.

        Raises what `spawn` raises, and `RunFailed` with ``check``.
        """
        return run_through(self._host, command, options)

    def get(self, session_id: str) -> Session:
        """Return a session, live or ended, while its record is kept. Raises `SessionNotFound`."""
        return Session(self._host, self._host.call(self._of.get, session_id))

    def find(
        self, *, labels: Mapping[str, str | None] | None = None, name: str | None = None
    ) -> tuple[Session, ...]:
        """Return the sessions with this name and all these labels, live and ended, oldest first.

        A label's value None stands for any value. Raises `InvalidArgument`.
        """
        return tuple(
            Session(self._host, each)
            for each in self._host.call(partial(self._of.find, labels=labels, name=name))
        )

    def events(self, since: str | None = None) -> HostEvents:
        """Return an iterator of all that happens to the sessions, until `close` is done.

        The first event is a reset, with the records of all sessions as they are when it is read.
        ``since`` is the id of an event: if those after it are kept, they come instead. A reader
        that is so slow that events are no longer kept gets a reset, too. Raises `InvalidArgument`.
        """
        return self._host.events(since)

    @property
    def last_event_id(self) -> str:
        """The id of the newest event: what `sessions` shows is what has happened up to it."""
        return self._of.last_event_id

    def terminate_matching(
        self,
        *,
        labels: Mapping[str, str | None] | None = None,
        name: str | None = None,
        grace: float | None = None,
        plan: Plan | str | None = None,
    ) -> tuple[Verdict, ...]:
        """End all sessions that `find` finds now, at the same time; return a verdict for each.

        Each is ended as by `terminate`; an ended one has its verdict already. Raises
        `InvalidArgument` if neither a label nor a name is given, and as `terminate` does.
        """
        return self._host.call(
            partial(self._of.terminate_matching, labels=labels, name=name, grace=grace, plan=plan)
        )

    def terminate(
        self, session_id: str, *, grace: float | None = None, plan: Plan | str | None = None
    ) -> Verdict:
        """End a session by its id, as `Session.terminate` does. Raises `SessionNotFound`."""
        return self._host.call(partial(self._of.terminate, session_id, grace=grace, plan=plan))

    @property
    def longest(self) -> float:
        """The longest (seconds) that `close` can take: the longest plan of any session."""
        return self._of.longest

    def hurry(self) -> None:
        """Kill every session now, without waiting for it."""
        self._host.call(self._of.hurry)

    def close(self, *, plan: Plan | str | None = None) -> None:
        """End every session, by ``plan`` or else its own, and start no more; bounded in time.

        The end of the block calls this. A session that could not be ended in time is no longer
        watched, and has a verdict that is not empty, which is also logged. In a forked child of the
        host this ends no session. Raises `PlanError` and `InvalidArgument`, and then does nothing.
        """
        self._host.call(partial(self._of.close, plan=plan))
