"""What `run` returns: the output of a command, how it ended, and whether all of it has ended."""

from __future__ import annotations

import dataclasses
from typing import Self

from ptykill.errors import Blame, PtykillError
from ptykill.rules.verdict import EndReason, ExitStatus, Verdict

__all__ = ["RunFailed", "RunResult"]


@dataclasses.dataclass(frozen=True, slots=True)
class RunResult:
    """The output of a command, its exit status, why it has ended, and the verdict.

    What a program writes to its standard output and to its standard error comes in one output, as
    on any terminal. Lines end with CR and LF, unless ``plain`` was given.
    """

    command: tuple[str, ...]
    """The command that was run."""
    head: bytes
    """The start of the output."""
    dropped: int
    """How many bytes between the start and the end were not kept."""
    tail: bytes
    """The end of the output; empty if ``head`` has all of it."""
    verdict: Verdict
    """The verdict on its session."""

    @property
    def output(self) -> bytes:
        """The output; where something is missing, a line says how much."""
        if not self.dropped:
            return self.head + self.tail
        return b"%s\n[... %d bytes ...]\n%s" % (self.head, self.dropped, self.tail)

    @property
    def text(self) -> str:
        """The output as text: UTF-8, with a sign in place of what is none."""
        return self.output.decode(errors="replace")

    @property
    def exit_status(self) -> ExitStatus | None:
        """How the command ended; None if that can't be known."""
        return self.verdict.exit_status

    @property
    def exit_code(self) -> int | None:
        """The same as a shell gives it: 128 plus the signal's number if a signal ended it."""
        return None if self.exit_status is None else self.exit_status.shell_code

    @property
    def reason(self) -> EndReason:
        """Why it has ended: ``exited``, or the deadline that was over, ``lifetime`` or ``idle``."""
        return self.verdict.reason

    @property
    def ok(self) -> bool:
        """Whether the command exited with 0 before any deadline, and no process of it is left."""
        return self.exit_code == 0 and self.reason is EndReason.EXITED and self.verdict.empty

    def check(self) -> Self:
        """Return this if it is ``ok``. Raises `RunFailed`."""
        if self.ok:
            return self
        name = self.command[0]
        if not self.verdict.empty:
            msg = f"not all of {name} could be ended: {self.verdict!r}"
        elif self.reason is EndReason.LIFETIME:
            msg = f"{name} has not ended in time"
        elif self.reason is EndReason.IDLE:
            msg = f"{name} did nothing for too long"
        elif self.exit_status is not None and self.exit_status.signal is not None:
            msg = f"{name} was ended by signal {self.exit_status.signal}"
        else:
            msg = f"{name} has exited with status {self.exit_code}"
        raise RunFailed(msg, self)


class RunFailed(PtykillError):
    """A command that was run with ``check`` has failed."""

    code = "RUN_FAILED"
    blame = Blame.CALLER

    def __init__(self, message: str, result: RunResult) -> None:
        super().__init__(message)
        self.result: RunResult = result
        """What `run` would have returned."""
