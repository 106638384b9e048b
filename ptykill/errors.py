"""Every error ptykill raises: whose fault it is, a code for programs, a status hint for HTTP.

A face (HTTP, command line) reads only ``code``, ``status`` and the message; it never has to know
which exception it holds.
"""

from __future__ import annotations

import enum
import errno as errno_numbers
from typing import ClassVar

__all__ = [
    "AttachmentDropped",
    "Blame",
    "ContainmentUnavailable",
    "DeliveryRefused",
    "InterpreterPatched",
    "InvalidArgument",
    "InvalidGrace",
    "InvalidToken",
    "LifecycleError",
    "PlanError",
    "PtykillError",
    "SessionEnded",
    "SessionNotFound",
    "SpawnError",
    "SupervisorClosed",
    "TooManySessions",
]


class Blame(enum.Enum):
    """Whose fault an error is."""

    CALLER = "caller"
    HOST = "host"


class PtykillError(Exception):
    """The base of every error that ptykill raises on purpose."""

    code: str = "INTERNAL_ERROR"
    """A stable word for programs, as in the HTTP error body."""
    status: int = 500
    """The HTTP status that fits."""
    blame: ClassVar[Blame] = Blame.HOST


class InvalidArgument(PtykillError, ValueError):
    """An argument can't be used: an empty command, a NUL byte, a size that is no number."""

    code = "INVALID_REQUEST"
    status = 400
    blame = Blame.CALLER


class InvalidGrace(InvalidArgument):
    """A grace that is negative, not finite, no number, or beyond the limit."""

    code = "INVALID_GRACE"


class PlanError(InvalidArgument):
    """A plan that can't be read.

    ``text`` is the whole plan and ``position`` the offset (in characters) where it goes wrong;
    the message shows both.
    """

    code = "INVALID_PLAN"

    def __init__(self, problem: str, text: str, position: int) -> None:
        super().__init__(f"{problem}, at character {position + 1}\n  {text}\n  {' ' * position}^")
        self.problem = problem
        self.text = text
        self.position = position


class SessionNotFound(PtykillError, LookupError):
    """No such session: the id was never given out, or its record has been dropped since."""

    code = "SESSION_NOT_FOUND"
    status = 404
    blame = Blame.CALLER

    def __init__(self, session_id: str) -> None:
        super().__init__("there is no such session")
        self.session_id = session_id


class SessionEnded(PtykillError):
    """The session is over, or its terminal has been hung up: it takes no input any more."""

    code = "SESSION_ENDED"
    status = 409
    blame = Blame.CALLER


class InvalidToken(PtykillError):
    """Not the token of that session."""

    code = "INVALID_TOKEN"
    status = 403
    blame = Blame.CALLER


class AttachmentDropped(PtykillError):
    """Whoever was attached did not receive in time, and was let go; the session goes on."""

    code = "ATTACHMENT_DROPPED"
    status = 409
    blame = Blame.CALLER


class TooManySessions(PtykillError):
    """The limit of live sessions is reached; sessions that have ended do not count."""

    code = "TOO_MANY_SESSIONS"
    status = 429
    blame = Blame.CALLER


class SupervisorClosed(PtykillError):
    """The supervisor has been left, or is being left: it starts no session any more."""

    code = "SHUTTING_DOWN"
    status = 503


class ContainmentUnavailable(PtykillError):
    """The containment asked for by name can't be had here; the message says why."""

    code = "CONTAINMENT_UNAVAILABLE"


class InterpreterPatched(PtykillError, RuntimeError):
    """The interpreter's threads or sockets are not the system's: gevent or eventlet has patched it.

    A `Host` needs a thread that runs whatever the others do.
    """

    code = "INTERPRETER_PATCHED"

    def __init__(self, by: str) -> None:
        super().__init__(
            f"{by} has patched this interpreter: its threads wait for each other, and no grace"
            " could be kept. Use a server with real threads (gunicorn's gthread), or ptykill serve"
        )
        self.by = by


class DeliveryRefused(PtykillError):
    """A step of a plan reached nobody because the kernel refused it for all it was meant for."""

    code = "DELIVERY_REFUSED"


class LifecycleError(PtykillError):
    """An event that can't happen in this state: a mistake in a driver, never in a program."""

    code = "LIFECYCLE_ERROR"


class SpawnError(PtykillError, OSError):
    """No session was started, and nothing is left of the attempt.

    ``errno`` is the kernel's, ``stage`` what failed: ``"terminal"`` (no pty to be had),
    ``"keeper"`` (no process to keep the session), ``"limits"`` and ``"user"`` (attributes that the
    host may not set), ``"chdir"`` (the working directory) or ``"exec"`` (the command).
    """

    def __init__(self, number: int, message: str, stage: str, filename: str) -> None:
        super().__init__(number, message, filename)
        self.stage = stage
        caller, code = _SPAWN_CODES.get((stage, number), (False, "SPAWN_FAILED"))
        self.code: str = code
        self.status: int = 400 if caller else 500

    def __str__(self) -> str:
        return f"{self.stage} failed: {self.strerror}: {self.filename!r}"


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
"""Stage and errno of a failed spawn: is it the caller's fault, and the code that says so."""
