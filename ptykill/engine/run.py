"""Runs one command to its end: gives it its input, keeps its output, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Self, TypedDict, Unpack

import trio

from ptykill.engine.session import Session
from ptykill.engine.settings import SpawnOptions
from ptykill.rules import validate
from ptykill.rules.command import Attributes
from ptykill.rules.deadlines import Deadlines, deadline_seconds
from ptykill.rules.head_tail import HeadTail
from ptykill.rules.plain_text import PlainText
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.protocols import Signaller
from ptykill.rules.run_result import RunResult

__all__ = ["RunOptions", "run_command"]

_PENDING: Final = 65_536
"""Bytes of output that wait to be kept; with more, the command waits."""
_MOST_OUTPUT: Final = 1 << 20


class RunOptions(TypedDict, total=False):
    """The keyword arguments of `Supervisor.run` and of `run`, to annotate ``**options`` with.

    Those that are not here are `SpawnOptions`' of the same name.
    """

    timeout: float | None
    """Seconds after which the command is ended; None for no such limit."""
    idle: float | None
    """Seconds without output and without processor time after which it is ended."""
    grace: float | None
    """Seconds from the first signal to SIGKILL; None means the plan's."""
    max_output: int
    """The most bytes of output that are kept (1 MiB): the first half of them, and the last."""
    input: bytes | str | None
    """What the command reads from its descriptor 0, which is a pipe. None: that is the terminal,
    which is at its end of input."""
    check: bool
    """Whether to raise `RunFailed` unless the result is ``ok``."""
    plain: bool
    """Whether to keep the output without escape sequences, and with newlines as ends of lines."""
    env: Mapping[str, str] | None
    """The environment; None means the host's, without what describes its own terminal."""
    cwd: str | os.PathLike[str] | None
    """The working directory; None means the host's."""
    rows: int
    """The height of the window, in characters: 24."""
    cols: int
    """The width of the window, in characters: 80."""
    attributes: Attributes | None
    """The user, limits and so on of the leader; None means the host's."""
    plan: Plan | str | None
    """The plan by which it is ended; None means the supervisor's."""
    leftovers: Leftovers | str | None
    """What to do with processes that outlive the command; None means the supervisor's."""
    signaller: Signaller | None
    """What delivers the plan's steps; None means the supervisor's."""
    name: str | None
    """A name that no other live session has."""
    labels: Mapping[str, str] | None
    """Labels to find the session by, while it runs."""


async def run_command(
    spawn: Callable[..., Awaitable[Session]],
    start_soon: Callable[..., None],
    default_plan: Plan,
    command: Sequence[str],
    options: RunOptions,
) -> RunResult:
    """Run a command, and return when nothing of it is left. See `Supervisor.run`."""
    asked = _Asked(default_plan, **options)
    with asked.stdin as stdin:
        session = await spawn(command, stdin=stdin.read_end, **asked.spawn)
        stdin.close_read_end()
        try:
            with session.attach(_PENDING) as attachment:
                start_soon(session.keep_at_end if stdin.empty else stdin.write)
                while data := await attachment.receive():
                    asked.keep(data)
                dropped = attachment.missing
            verdict = await session.settled()
        except BaseException:
            await session.__aexit__()
            raise
    head, missing, tail = asked.kept()
    result = RunResult(session.command.args, head, missing + dropped, tail, verdict)
    return result.check() if asked.check else result


class _Asked:
    """The checked options of one run, and the output so far."""

    def __init__(self, default_plan: Plan, **options: Unpack[RunOptions]) -> None:
        unknown = [each for each in options if each not in RunOptions.__annotations__]
        if unknown:
            known = ", ".join(RunOptions.__annotations__)
            msg = f"there is no option {unknown[0]!r}: the options are {known}"
            raise TypeError(msg)
        timeout, idle = options.pop("timeout", None), options.pop("idle", None)
        grace, plan = options.pop("grace", None), options.pop("plan", None)
        most = validate.whole("max_output", options.pop("max_output", _MOST_OUTPUT), 0)
        text = options.pop("input", None)
        self.check: bool = validate.true_or_false("check", options.pop("check", False))
        plain = validate.true_or_false("plain", options.pop("plain", False))
        self.spawn: SpawnOptions = {**options}  # type: ignore[typeddict-item]  # What is left.
        if grace is not None or plan is not None:
            chosen = default_plan if plan is None else Plan.of(plan)
            self.spawn["plan"] = chosen if grace is None else chosen.with_grace(grace)
        if timeout is not None or idle is not None:
            if timeout is not None:  # Its error is to have the name that the caller has used.
                timeout = deadline_seconds("timeout", timeout)
            self.spawn["deadlines"] = Deadlines(lifetime=timeout, idle=idle)
        self._kept = HeadTail(most)
        self._plain = PlainText() if plain else None
        self.stdin: _Input = _Input(None if text is None else validate.typed("input", text))

    def keep(self, data: bytes) -> None:
        """Keep some output."""
        if self._plain is None:
            self._kept.put(data)
        else:
            self._kept.put(b"".join([text for _, text in self._plain.feed(data)]))

    def kept(self) -> tuple[bytes, int, bytes]:
        """Return the start of the output, how much is missing after it, and its end."""
        if self._plain is not None:
            self._kept.put(b"".join([text for _, text in self._plain.finish()]))
        return self._kept.parts()


class _Input:
    """The pipe through which a command gets its input; none if it gets nothing."""

    def __init__(self, data: bytes | None) -> None:
        self.empty: bool = data is None
        self.read_end: int | None = None
        self._data = data
        self._stream: trio.lowlevel.FdStream | None = None

    def __enter__(self) -> Self:
        if self._data is not None:
            self.read_end, write_end = os.pipe()
            self._stream = trio.lowlevel.FdStream(write_end)
        return self

    async def write(self) -> None:
        """Write all of it, unless the command ends before it has read it; then close the pipe."""
        assert self._stream is not None
        assert self._data is not None
        try:
            await self._stream.send_all(self._data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._stream.close()

    def close_read_end(self) -> None:
        """Close our copy, once the command has its own: else its end would not be noticed."""
        if self.read_end is not None:
            os.close(self.read_end)
            self.read_end = None

    def __exit__(self, *_: object) -> None:
        self.close_read_end()
        if self._stream is not None:
            self._stream.close()
