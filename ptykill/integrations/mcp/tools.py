"""The tools: the name, the description and the arguments of each, and what it does.

A class is a tool. Its docstring and those of its fields are what a model reads, so they are short.
"""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from ptykill import (
    Deadlines,
    ExpectTimeout,
    InvalidArgument,
    OutputEnded,
    Reach,
    RunOptions,
    Session,
)
from ptykill.integrations.mcp.keys import NAMES
from ptykill.integrations.mcp.sessions import Sessions
from ptykill.integrations.mcp.texts import (
    bounded,
    ended,
    member_lines,
    name_of,
    one_line,
    run_ended,
    status,
)

__all__ = ["TOOLS", "Tool"]

_MOST_CHARS = 20_000
_MOST_LISTED = 50

Command = Annotated[
    str | list[str],
    Field(description="A text is run by sh -c; a list of arguments is run as it is."),
]
Name = Annotated[str, Field(description="The name of the session, as `start` has returned it.")]
MaxChars = Annotated[
    int,
    Field(
        description="The most characters of output to return; the middle of a longer one is left"
        " out, and can't be read later.",
        ge=100,
        le=200_000,
    ),
]
Timeout = Annotated[float, Field(description="Seconds to wait at most.", ge=0, le=3600)]
Env = Annotated[
    dict[str, str], Field(description="Environment variables, added to those of the server.")
]
Cwd = Annotated[str | None, Field(description="The directory; by default the server's.")]


class Tool(BaseModel):
    """The arguments of a tool."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    reads_only: ClassVar[bool] = False
    """Whether it changes nothing."""

    async def call(self, sessions: Sessions) -> str:
        """Do it, and return the answer. Raises `PtykillError` and OSError."""
        raise NotImplementedError

    @classmethod
    def schema_of(cls) -> dict[str, Any]:
        """Return the JSON schema of the arguments, without what tells a model nothing."""
        schema = cls.model_json_schema()
        return {
            "type": "object",
            "properties": {
                name: _concise(field) for name, field in schema.get("properties", {}).items()
            },
            "required": schema.get("required", []),
            "additionalProperties": False,
        }


def _concise(field: dict[str, Any]) -> dict[str, Any]:
    field.pop("title", None)
    choices = [each for each in field.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) == 1:
        del field["anyOf"]
        field |= choices[0]
    if field.get("default", ...) is None:
        del field["default"]
    return field


class Start(Tool):
    """Start a program on a terminal of its own, and let it run: a shell, a REPL, a server.

    Returns the name of the session at once, before the program has printed anything: use `wait`.
    When the program exits, or is killed, all processes that it has started are ended too.
    """

    command: Command
    name: Annotated[str | None, Field(description="A name of your choice; by default s1, s2 …")] = (
        None
    )
    cwd: Cwd = None
    env: Env = {}
    rows: Annotated[int, Field(description="Height of the terminal, in characters.")] = 24
    cols: Annotated[int, Field(description="Width of the terminal, in characters.")] = 80
    lifetime: Annotated[
        float | None, Field(description="End it after so many seconds, if it runs so long.")
    ] = None
    idle: Annotated[
        float | None,
        Field(description="End it after so many seconds without input, output and work."),
    ] = None

    async def call(self, sessions: Sessions) -> str:
        """Start the program."""
        deadlines = Deadlines(lifetime=self.lifetime, idle=self.idle).within(sessions.caps)
        session = await sessions.supervisor.spawn(
            _command(self.command),
            cwd=self.cwd,
            env=sessions.environment(self.env, self.cwd),
            rows=self.rows,
            cols=self.cols,
            name=sessions.new_name() if self.name is None else self.name,
            deadlines=deadlines,
        )
        return f"[{name_of(session)}: running, pid {session.pid}]"


class Run(Tool):
    """Run one command to its end, and return its output and exit status.

    It has a terminal of its own, without input. It returns when no process of the command is left:
    processes that it leaves behind in the background are ended. For a program that goes on, or
    asks questions, use `start`.
    """

    command: Command
    cwd: Cwd = None
    env: Env = {}
    timeout: Annotated[
        float,
        Field(description="Seconds after which the command is ended.", ge=0.1, le=86_400),
    ] = 50.0
    input: Annotated[
        str | None, Field(description="What the command reads from its standard input.")
    ] = None
    max_chars: MaxChars = _MOST_CHARS

    async def call(self, sessions: Sessions) -> str:
        """Run the command."""
        caps = sessions.caps
        options = RunOptions(
            cwd=self.cwd,
            env=sessions.environment(self.env, self.cwd),
            input=self.input,
            timeout=min(self.timeout, caps.lifetime or self.timeout),
            idle=caps.idle,
            max_output=self.max_chars,
            plain=True,
        )
        result = await sessions.supervisor.run(_command(self.command), **options)
        return _joined(result.text, run_ended(result.verdict))


class Send(Tool):
    """Type into the terminal of a session: a text, then keys.

    A line is read by most programs only after the key enter. Use `wait` to see what comes of it.
    """

    session: Name
    text: Annotated[str, Field(description="Typed as it is, without enter.")] = ""
    keys: Annotated[list[str], Field(description=f"Typed after the text, in order: {NAMES}.")] = []
    timeout: Annotated[
        float, Field(description="Seconds to wait while the program reads no input.", ge=0, le=3600)
    ] = 10.0

    async def call(self, sessions: Sessions) -> str:
        """Type it."""
        session = sessions.find(self.session)
        data = await sessions.typed(session, self.text, self.keys)
        if not data:
            msg = "give a text, or keys"
            raise InvalidArgument(msg)
        await sessions.send(session, data, self.timeout)
        return status(session)


class Wait(Tool):
    """Wait for output of a session, and return it, from where `wait` or `read` ended before.

    Give `text` or `regex` to wait until the output has it; the output is returned up to there. With
    neither, wait until no output has come for `quiet` seconds, or the program has ended. The echo
    of what was typed does not match. If the time is over the error has the output so far, which
    the next call returns again.
    """

    reads_only = True
    session: Name
    text: Annotated[str | None, Field(description="A text, as it is.", min_length=1)] = None
    regex: Annotated[str | None, Field(description="A regular expression of Python.")] = None
    quiet: Annotated[float, Field(description="Seconds without output.", ge=0, le=3600)] = 1.0
    timeout: Timeout = 30.0
    max_chars: MaxChars = _MOST_CHARS

    async def call(self, sessions: Sessions) -> str:
        """Wait for it."""
        session = sessions.find(self.session)
        if self.text is None and self.regex is None:
            output = await session.until_quiet(self.quiet, timeout=self.timeout)
            return _answer(sessions, session, output, self.max_chars)
        patterns: list[str | re.Pattern[str]] = [] if self.text is None else [self.text]
        if self.regex is not None:
            patterns.append(_compiled(self.regex))
        try:
            match = await session.expect(*patterns, timeout=self.timeout)
        except (ExpectTimeout, OutputEnded) as error:
            what = (
                "the output has ended without a match"
                if isinstance(error, OutputEnded)
                else f"no match within {self.timeout:g} s"
            )
            output = bounded(error.output, self.max_chars)
            error.args = (_joined(f"{what}; the output so far:\n{output}", status(session)),)
            raise
        return _answer(sessions, session, match.before + match.text, self.max_chars)


class Read(Tool):
    """Return the output of a session that has come since the last `wait` or `read`, at once."""

    reads_only = True
    session: Name
    raw: Annotated[
        bool,
        Field(
            description="Return the newest output instead, read before or not, with its escape"
            " sequences: for a program that draws on the whole screen."
        ),
    ] = False
    max_chars: MaxChars = _MOST_CHARS

    async def call(self, sessions: Sessions) -> str:
        """Read it."""
        session = sessions.find(self.session)
        if self.raw:
            text = (await sessions.newest(session)).decode(errors="replace")
            left_out = max(0, len(text) - self.max_chars)
            note = f"[... {left_out} characters ...]\n" if left_out else ""
            return _joined(note + text[left_out:], status(session))
        output = await session.until_quiet(0, timeout=0)
        return _answer(sessions, session, output, self.max_chars)


class Interrupt(Tool):
    """Do what Ctrl-C does in a session: interrupt the program in the foreground."""

    session: Name

    async def call(self, sessions: Sessions) -> str:
        """Interrupt it."""
        session = sessions.find(self.session)
        session.interrupt()
        return status(session)


class Signal(Tool):
    """Send a signal to processes of a session, without ending the session."""

    session: Name
    name: Annotated[str, Field(description="Such as INT, TERM, HUP, STOP, CONT, USR1, KILL.")]
    reach: Annotated[
        str,
        Field(
            description="Who gets it: foreground (the program that has the terminal), leader (the"
            " program that was started), group (its process group), session, escaped (daemons),"
            " all."
        ),
    ] = Reach.FOREGROUND.value

    async def call(self, sessions: Sessions) -> str:
        """Send it."""
        session = sessions.find(self.session)
        sent = session.signal(self.name, self.reach)
        lines = [f"sent to {_pids(sent.reached)}"]
        if sent.refused:
            lines.append(f"not permitted for {_pids(sent.refused)}")
        return "\n".join([*lines, status(session)])


class List(Tool):
    """List the sessions: name, state, age, command; and the processes of those that run."""

    reads_only = True

    async def call(self, sessions: Sessions) -> str:
        """List them."""
        known = sessions.supervisor.sessions
        lines = [] if len(known) <= _MOST_LISTED else [f"[{len(known) - _MOST_LISTED} older ones]"]
        for session in known[-_MOST_LISTED:]:
            age = max(0.0, time.time() - session.created_at)
            lines.append(
                f"{status(session)} {one_line(session.command.args)}, started {age:.0f} s ago"
            )
            members = await session.members()
            lines += [f"    {each}" for each in member_lines(members[:_MOST_LISTED])]
        return "\n".join(lines) or "there are no sessions"


class Kill(Tool):
    """End a session: the program and all processes that it has started, daemons too.

    Asks them to end, and kills those that do not. Returns when it is over, with the processes that
    were ended, and whether any is left.
    """

    session: Name
    grace: Annotated[
        float | None,
        Field(description="Seconds until SIGKILL; 0 kills at once; by default 2.", ge=0, le=3600),
    ] = None

    async def call(self, sessions: Sessions) -> str:
        """End it."""
        session = sessions.find(self.session)
        members = await session.members()
        verdict = await session.terminate(grace=self.grace)
        return ended(session, verdict, members)


TOOLS: dict[str, type[Tool]] = {
    "start": Start,
    "run": Run,
    "send": Send,
    "wait": Wait,
    "read": Read,
    "interrupt": Interrupt,
    "signal": Signal,
    "list": List,
    "kill": Kill,
}
"""All tools, by their names."""


def _command(command: str | list[str]) -> list[str]:
    return ["/bin/sh", "-c", command] if isinstance(command, str) else command


def _compiled(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error as error:
        msg = f"{regex!r} is not a regular expression: {error}"
        raise InvalidArgument(msg) from None


def _pids(pids: set[int]) -> str:
    return ", ".join(f"pid {each}" for each in sorted(pids)) or "no process"


def _answer(sessions: Sessions, session: Session, output: str, most: int) -> str:
    dropped = sessions.newly_dropped(session)
    note = f"[{dropped} bytes of output were dropped before they were read]\n" if dropped else ""
    return _joined(note + bounded(output, most), status(session))


def _joined(output: str, last: str) -> str:
    return output + ("" if not output or output.endswith("\n") else "\n") + last
