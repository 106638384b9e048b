"""The programs of one test: their supervisor, their output, and the processes they leave behind."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable
from typing import Any, Self

import trio

from ptykill import (
    EndReason,
    Host,
    InvalidArgument,
    Member,
    Outcome,
    Session,
    Signaller,
    StandardSignaller,
    Step,
    SupervisorClosed,
    Survivor,
    Target,
    Verdict,
    aio,
    blocking,
)
from ptykill.rules.head_tail import HeadTail
from ptykill.rules.plain_text import plain

__all__ = ["Programs"]

_PATIENCE = 1.0
"""Seconds that a process may outlive a leader without being left behind: it may be ending."""
_MOST_OUTPUT = 65_536
"""Bytes of each session's output that a report has: the first half of them, and the last."""


class Programs:
    """The programs of one test. A context manager that ends them.

    ``leaks`` is ``"fail"`` or ``"end"``; ``options`` are those of `ptykill.open_supervisor`.
    Raises what that raises, at once.
    """

    def __init__(self, *, leaks: str = "fail", **options: Any) -> None:  # noqa: ANN401 - many types
        if leaks not in ("fail", "end"):
            msg = f"leaks is 'fail' or 'end', not {leaks!r}"
            raise InvalidArgument(msg)
        self._watch = _Watch(options.pop("signaller", None) or StandardSignaller())
        signaller = self._watch if leaks == "fail" else self._watch.inner
        self._host = Host(signaller=signaller, **options)

    def __enter__(self) -> Self:
        self._watch.supervisor = self._host.supervisor
        return self

    def __exit__(self, *_: object) -> None:
        self._host.close()

    @property
    def blocking(self) -> blocking.Supervisor:
        """The supervisor for threads."""
        return blocking.supervisor_of(self._host)

    @property
    def aio(self) -> aio.Supervisor:
        """The supervisor for event loops: its methods work in asyncio and in trio."""
        return aio.supervisor_of(self._host)

    def end(self) -> list[str]:
        """End all programs, by their plans; return lines about the processes that were left behind.

        Those are processes that lived some time after their leader had ended by itself, and those
        that could not be ended. There is a line for each leader before them.
        """
        try:
            self._host.call(self._host.supervisor.close)
            sessions = self._host.sessions
        except SupervisorClosed:  # The test has closed the host.
            return []
        return [line for session in sessions for line in self._left_by(session)]

    def _left_by(self, session: Session) -> list[str]:
        verdict = session.verdict
        assert verdict is not None, "the supervisor is closed"
        lines = [_survived(each) for each in verdict.survivors]
        if not verdict.empty and not lines:
            lines = [f"it can't be proved that nothing is left: {verdict!r}"]
        survivors = {each.pid for each in verdict.survivors}
        left = self._watch.left.get(session.id, ())
        lines += [_ended(each, verdict) for each in left if each.pid not in survivors]
        return [_named(session), *(f"  {line}" for line in lines)] if lines else []

    def output(self) -> str:
        """Return the output of all sessions, as plain text."""
        try:
            return self._host.call(self._output)
        except SupervisorClosed:
            return ""

    async def _output(self) -> str:
        parts = []
        for session in self._host.supervisor.sessions:
            kept = HeadTail(_MOST_OUTPUT)
            with session.attach() as attachment:
                while attachment.pending:
                    kept.put(await attachment.receive())
            head, missing, tail = kept.parts()
            between = b"\n[... %d bytes ...]\n" % missing if missing else b""
            text = plain(head + between + tail).decode(errors="replace").rstrip("\n")
            parts.append(f"--- {_named(session)}\n{text}\n")
        return "".join(parts)


class _Watch:
    """A signaller that first looks which processes have outlived a leader that ended by itself.

    The plan has begun by then, but nothing was delivered yet. Processes that end within half of the
    step's wait, and within `_PATIENCE`, were not left behind: they were about to end.
    """

    def __init__(self, inner: Signaller) -> None:
        self.inner: Signaller = inner
        self.left: dict[str, list[Member]] = {}
        """By the session's id."""
        self.supervisor: Any = None
        self._looks: dict[str, trio.Event] = {}

    def deliver(self, target: Target, step: Step) -> Awaitable[None] | None:
        """Deliver a step as ``inner`` does; for the first one after such an exit, look first."""
        session: Session = self.supervisor.get(target.session_id)
        if session.end_reason is not EndReason.EXITED or session.id in self.left:
            return self.inner.deliver(target, step)
        return self._look_first(session, target, step)

    async def _look_first(self, session: Session, target: Target, step: Step) -> None:
        look = self._looks.get(session.id)
        if look is None:
            look = self._looks[session.id] = trio.Event()
            await trio.sleep(min(_PATIENCE, step.wait / 2))
            members = await session.members()
            self.left[session.id] = [each for each in members if each.state not in ("Z", "X")]
            look.set()
        else:  # The step has several deliveries, which go out together.
            await look.wait()
        waiting = self.inner.deliver(target, step)
        if waiting is not None:
            await waiting


def _ended(member: Member, verdict: Verdict) -> str:
    where = "in a session of its own" if member.escaped else "in the program's session"
    how = "SIGKILL, or a signal before it" if verdict.outcome is Outcome.KILLED else "a signal"
    command = _shown(member.command)
    return f"pid {member.pid}, {command}: it outlived the program {where}; {how} ended it"


def _survived(survivor: Survivor) -> str:
    command = _shown(survivor.command or survivor.name)
    return f"pid {survivor.pid}, {command}: it lives on in state {survivor.state}: {survivor.why}"


def _named(session: Session) -> str:
    status = session.exit_status
    if status is None:
        state = session.state.value
    elif status.signal is not None:
        state = f"ended by signal {status.signal}"
    else:
        state = f"exited with {status.code}"
    return f"{_shown(shlex.join(session.command.args))} (pid {session.pid}, {state})"


def _shown(command: str | None) -> str:
    """Return a command line on one line, without control characters, and not too long."""
    text = "?" if command is None else command
    text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return text if len(text) <= 200 else f"{text[:200]}…"
