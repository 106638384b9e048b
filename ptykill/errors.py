"""Every error that ptykill raises: whose fault it is, a code for programs, a status for HTTP.

The HTTP API and the command line use only ``code``, ``status`` and the message of an error, not
its class.
"""

from __future__ import annotations

import enum
import errno as errno_numbers
from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "AttachmentDropped",
    "Blame",
    "ContainmentUnavailable",
    "DeliveryRefused",
    "ExpectTimeout",
    "InputFull",
    "InterpreterPatched",
    "InvalidArgument",
    "InvalidDeadline",
    "InvalidGrace",
    "InvalidOffset",
    "InvalidToken",
    "KeyReused",
    "LifecycleError",
    "LimitAboveCap",
    "LimitsUnavailable",
    "NameTaken",
    "OutputEnded",
    "PlanError",
    "PtykillError",
    "SessionEnded",
    "SessionNotFound",
    "SpawnError",
    "SupervisorClosed",
    "TokenNotFound",
    "TooManySessions",
    "TooManyTokens",
]


class Blame(enum.Enum):
    """Whose fault an error is."""

    CALLER = "caller"
    HOST = "host"


class PtykillError(Exception):
    """The base of every error that ptykill raises on purpose."""

    code: str = "INTERNAL_ERROR"
    """A stable code for programs, as in the body of an HTTP error."""
    status: int = 500
    """The HTTP status for this error."""
    blame: ClassVar[Blame] = Blame.HOST
    """Whose fault it is."""


class InvalidArgument(PtykillError, ValueError):
    """An argument can't be used: an empty command, a NUL byte, a size that is no number."""

    code = "INVALID_REQUEST"
    status = 400
    blame = Blame.CALLER


class InvalidGrace(InvalidArgument):
    """A grace is negative, not finite, not a number, or beyond the limit."""

    code = "INVALID_GRACE"


class InvalidDeadline(InvalidArgument):
    """A deadline is not a number of seconds from 0.1 to 365 days, or is later than is allowed."""

    code = "INVALID_DEADLINE"


class InvalidOffset(InvalidArgument):
    """An offset in a session's output is not a whole number, negative, or beyond the output."""

    code = "INVALID_OFFSET"


class LimitAboveCap(InvalidArgument):
    """A limit of a session is above the operator's cap."""

    code = "LIMIT_ABOVE_CAP"

    def __init__(self, limit: str, asked: float, cap: float) -> None:
        super().__init__(f"{limit} is {asked}, and the cap here is {cap}")
        self.limit: str = limit
        """The name of the limit, such as ``"memory_max"``."""
        self.asked: float = asked
        """The value that was asked for."""
        self.cap: float = cap
        """The cap."""


class PlanError(InvalidArgument):
    """The text of a plan is invalid. The message shows where."""

    code = "INVALID_PLAN"

    def __init__(self, problem: str, text: str, position: int) -> None:
        super().__init__(f"{problem}, at character {position + 1}\n  {text}\n  {' ' * position}^")
        self.problem: str = problem
        """What is wrong."""
        self.text: str = text
        """The whole text."""
        self.position: int = position
        """The offset of the error in the text, in characters."""


class SessionNotFound(PtykillError, LookupError):
    """There is no such session: no session has had this id, or its record has been dropped."""

    code = "SESSION_NOT_FOUND"
    status = 404
    blame = Blame.CALLER

    def __init__(self, session_id: str) -> None:
        super().__init__("there is no such session")
        self.session_id: str = session_id
        """The id that was asked for."""


class SessionEnded(PtykillError):
    """The session is over, or its terminal was hung up: it takes no more input."""

    code = "SESSION_ENDED"
    status = 409
    blame = Blame.CALLER


class InputFull(PtykillError):
    """The program reads no input, and the terminal takes no more of it."""

    code = "INPUT_FULL"
    status = 409
    blame = Blame.CALLER


class InvalidToken(PtykillError):
    """A client has sent a wrong token for a session."""

    code = "INVALID_TOKEN"
    status = 403
    blame = Blame.CALLER


class AttachmentDropped(PtykillError):
    """The attachment did not receive output in time, and was detached; the session goes on."""

    code = "ATTACHMENT_DROPPED"
    status = 409
    blame = Blame.CALLER


class ExpectTimeout(PtykillError, TimeoutError):
    """The output did not match in time. Nothing of it was taken: the next wait sees it again."""

    code = "EXPECT_TIMEOUT"
    status = 408
    blame = Blame.CALLER

    def __init__(self, seconds: float, output: str) -> None:
        super().__init__(f"no match within {seconds:g} s; the output ends with {_end(output)}")
        self.seconds: float = seconds
        """The time that has passed, in seconds."""
        self.output: str = output
        """The text that has come."""


class OutputEnded(PtykillError, EOFError):
    """The output has ended without a match."""

    code = "OUTPUT_ENDED"
    status = 409
    blame = Blame.CALLER

    def __init__(self, output: str) -> None:
        super().__init__(f"the output has ended without a match; it ends with {_end(output)}")
        self.output: str = output
        """The text that has come."""


class TokenNotFound(PtykillError, LookupError):
    """The session has no token with this id: it was revoked, has expired, or never was."""

    code = "TOKEN_NOT_FOUND"
    status = 404
    blame = Blame.CALLER


class TooManyTokens(PtykillError):
    """The session has as many tokens as it may have; those that have expired do not count."""

    code = "TOO_MANY_TOKENS"
    status = 429
    blame = Blame.CALLER


class TooManySessions(PtykillError):
    """The limit of live sessions is reached; sessions that have ended do not count."""

    code = "TOO_MANY_SESSIONS"
    status = 429
    blame = Blame.CALLER


class NameTaken(PtykillError):
    """A live session has this name already, or is being started with it."""

    code = "NAME_TAKEN"
    status = 409
    blame = Blame.CALLER

    def __init__(self, name: str) -> None:
        super().__init__(f"a live session is named {name!r} already")
        self.name: str = name
        """The name."""


class KeyReused(PtykillError):
    """An idempotency key was used before, to start something else; nothing was started."""

    code = "KEY_REUSED"
    status = 422
    blame = Blame.CALLER

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key {key!r} was used to start something else")
        self.key: str = key
        """The key."""


class SupervisorClosed(PtykillError):
    """The supervisor is closed, or being closed: it starts no more sessions."""

    code = "SHUTTING_DOWN"
    status = 503


class ContainmentUnavailable(PtykillError):
    """The containment that was asked for is not available here; the message has the reason."""

    code = "CONTAINMENT_UNAVAILABLE"


class LimitsUnavailable(ContainmentUnavailable):
    """A session can't have the limits that were asked for here; the message has the reason."""

    code = "LIMITS_UNAVAILABLE"
    status = 422
    blame = Blame.CALLER

    def __init__(self, controllers: Sequence[str], reason: str) -> None:
        names = " and ".join(controllers)
        many = "controllers are" if len(controllers) > 1 else "controller is"
        super().__init__(f"no such limit can be had: the {names} {many} missing: {reason}")
        self.controllers: tuple[str, ...] = tuple(controllers)
        """The cgroup controllers that are missing, such as ``("memory",)``."""
        self.reason: str = reason
        """Why they are missing."""


class InterpreterPatched(PtykillError, RuntimeError):
    """gevent or eventlet has patched this interpreter, so its threads are not the system's.

    A `Host` needs a thread that runs whatever the other threads do.
    """

    code = "INTERPRETER_PATCHED"

    def __init__(self, by: str) -> None:
        super().__init__(
            f"{by} has patched this interpreter: its threads wait for each other, and no grace"
            " could be kept. Use a server with real threads (gunicorn's gthread), or ptykill serve"
        )
        self.by: str = by
        """The library that has patched it: ``gevent`` or ``eventlet``."""


class DeliveryRefused(PtykillError):
    """The kernel refused a step of a plan for every process that it should reach."""

    code = "DELIVERY_REFUSED"


class LifecycleError(PtykillError):
    """An event can't happen in this state: a mistake in ptykill's driver, not in the program."""

    code = "LIFECYCLE_ERROR"


class SpawnError(PtykillError, OSError):
    """The session could not be started; no process of it is left. ``errno`` is the kernel's."""

    def __init__(self, number: int, message: str, stage: str, filename: str) -> None:
        super().__init__(number, message, filename)
        self.stage: str = stage
        """What failed: ``"terminal"`` (opening a pty), ``"keeper"`` (starting the session's
        keeper), ``"limits"`` and ``"user"`` (attributes that the host may not set), ``"chdir"``
        (the working directory) or ``"exec"`` (the command)."""
        caller, code = _SPAWN_CODES.get((stage, number), (False, "SPAWN_FAILED"))
        self.code: str = code
        self.status: int = 400 if caller else 500

    def __str__(self) -> str:
        return f"{self.stage} failed: {self.strerror}: {self.filename!r}"


_SHOWN = 200
"""Characters of an output that a message shows."""


def _end(output: str) -> str:
    return repr(output if len(output) <= _SHOWN else f"…{output[-_SHOWN:]}")


_SPAWN_CODES: dict[tuple[str, int], tuple[bool, str]] = {
    ("exec", errno_numbers.ENOENT): (True, "COMMAND_NOT_FOUND"),
    ("exec", errno_numbers.ENOTDIR): (True, "COMMAND_NOT_FOUND"),
    ("exec", errno_numbers.ELOOP): (True, "COMMAND_NOT_FOUND"),
    ("exec", errno_numbers.ENAMETOOLONG): (True, "COMMAND_NOT_FOUND"),
    ("exec", errno_numbers.EACCES): (True, "COMMAND_NOT_EXECUTABLE"),
    ("exec", errno_numbers.EISDIR): (True, "COMMAND_NOT_EXECUTABLE"),
    ("exec", errno_numbers.ENOEXEC): (True, "COMMAND_NOT_EXECUTABLE"),
    ("exec", errno_numbers.ETXTBSY): (True, "COMMAND_NOT_EXECUTABLE"),
    ("exec", errno_numbers.E2BIG): (True, "COMMAND_TOO_LONG"),
    ("limits", errno_numbers.EPERM): (True, "LIMIT_NOT_PERMITTED"),
    ("limits", errno_numbers.EACCES): (True, "LIMIT_NOT_PERMITTED"),
    ("limits", errno_numbers.EINVAL): (True, "LIMIT_NOT_PERMITTED"),
    ("user", errno_numbers.EPERM): (True, "USER_NOT_PERMITTED"),
    ("chdir", errno_numbers.ENOENT): (True, "WORKING_DIR_NOT_FOUND"),
    ("chdir", errno_numbers.ENOTDIR): (True, "WORKING_DIR_NOT_FOUND"),
    ("chdir", errno_numbers.ELOOP): (True, "WORKING_DIR_NOT_FOUND"),
    ("chdir", errno_numbers.ENAMETOOLONG): (True, "WORKING_DIR_NOT_FOUND"),
    ("chdir", errno_numbers.EACCES): (True, "WORKING_DIR_NOT_ACCESSIBLE"),
}
"""Stage and errno of a failed spawn: whether it is the caller's fault, and the error code."""
