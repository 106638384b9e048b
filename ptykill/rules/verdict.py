"""The verdict: a typed report of how one session ended."""

from __future__ import annotations

import dataclasses
import enum

from ptykill.rules.usage import NOTHING_KNOWN, Usage

__all__ = ["Caveat", "Delivery", "EndReason", "ExitStatus", "Outcome", "Survivor", "Verdict"]


class Outcome(enum.StrEnum):
    """How a session ended, in one word."""

    EXITED = "exited"
    """It ended by itself: nothing was delivered to it."""
    GRACEFUL = "graceful"
    """It ended within the grace, before SIGKILL."""
    KILLED = "killed"
    """It ended after SIGKILL."""
    SPARED = "spared"
    """The leader ended by itself, and the leftovers run on, as the caller asked."""
    UNPROVEN = "unproven"
    """No process of it is found, but one that can't be found may live: see `Caveat.UNPROVEN`. It is
    no longer watched."""
    STUCK = "stuck"
    """It has not ended: a process outlived the kill bound."""


class EndReason(enum.StrEnum):
    """Why a session has ended, or is being ended: the first cause of its end."""

    EXITED = "exited"
    """Its leader has exited, and nobody had asked for the end."""
    REQUESTED = "requested"
    """The end was requested."""
    LIFETIME = "lifetime"
    """Its lifetime has passed (`Deadlines`)."""
    IDLE = "idle"
    """It has been idle for too long."""
    DETACHED = "detached"
    """No client has been attached for too long."""


class Caveat(enum.StrEnum):
    """What a verdict can't know, and why."""

    ESCAPEES_UNKNOWN = "escapees unknown"
    """This containment can't find processes that had called setsid(2), and lost their parent,
    before it looked."""
    SCANNED = "scanned"
    """A scan of the process table found no member, but the kernel has not proved that. Most often
    zombies that their parent has not reaped yet kept the session's number."""
    REAPED_BY_OTHERS = "reaped by others"
    """Other code in this process reaped the leader (a ``waitpid(-1)``, an ignored SIGCHLD). Its
    status is unknown, and members could be distinguished from strangers only while a known one
    lived."""
    KEEPER_LOST = "keeper lost"
    """The session's keeper was killed before the session had ended. The leader was killed with it,
    and its status is unknown. The warden inherited the other members, and killed them."""
    UNPROVEN = "unproven"
    """The session's keeper is lost, and it can't be proved that no process is left: its warden,
    which inherits the children of a dead keeper, was killed as well, or has not answered. Every
    process that was found has been killed; the verdict is not empty."""
    INTERNAL_ERROR = "internal error"
    """ptykill itself failed while watching; the log has the traceback."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExitStatus:
    """How the leader ended."""

    code: int | None = None
    """Its exit code, 0 to 255, if it exited; else None."""
    signal: int | None = None
    """The number of the signal that ended it; else None."""
    core_dumped: bool = False
    """Whether it left a core dump (core(5))."""
    oom_killed: bool = False
    """Whether the signal was SIGKILL, and the kernel's out-of-memory killer had killed a process of
    the session. Only a cgroup with the memory controller counts that; elsewhere it is False."""

    @property
    def shell_code(self) -> int:
        """The status as a shell gives it: the code, or 128 plus the signal's number."""
        return 128 + (self.signal or 0) if self.code is None else self.code


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a teardown."""

    what: str
    """The signal and its reach, as in a plan's text: ``HUP@session``."""
    at: float
    """When it began, in seconds since the teardown began."""
    took: float = 0.0
    """How long it took, in seconds."""
    reached: int = 0
    """How many processes were signalled."""
    refused: tuple[int, ...] = ()
    """The pids for which the kernel refused the signal (kill(2), EPERM)."""
    error: str | None = None
    """Why it failed; None if it did not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Survivor:
    """A member that outlived the kill."""

    pid: int
    """Its pid."""
    name: str = "?"
    """Its name, as in ``/proc/PID/comm``; ``?`` if it can't be read."""
    state: str = "?"
    """The letter of ps(1): ``D`` uninterruptible, ``T`` stopped, ``Z`` zombie …; or ``?``."""
    user: str = "?"
    """The name of its effective user, or its number; or ``?``."""
    command: str = ""
    """Its command line; empty if it can't be read."""
    started: float | None = None
    """When it started, in seconds since the epoch; None if it can't be read."""
    why: str = "unknown"
    """What kept it alive, if that is known."""


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """The report of one session's end.

    Check ``empty``. A verdict is neither true nor false: ``if verdict:`` raises TypeError.
    """

    session_id: str
    """The session's id."""
    pid: int
    """The leader's pid."""
    outcome: Outcome
    """How the session ended, in a word."""
    empty: bool
    """Whether no process of the session is left, and its leader was reaped."""
    exit_status: ExitStatus | None
    """How the leader ended; None if that can't be known."""
    deliveries: tuple[Delivery, ...]
    """What was delivered to whom, in the order of the plan; SIGKILL is the last."""
    survivors: tuple[Survivor, ...]
    """The processes that are left, if ``empty`` is False."""
    containment: str
    """The name of the containment that was in force: ``cgroup``, ``keeper`` or ``session``."""
    caveats: frozenset[Caveat]
    """What this containment could not know about the session."""
    took: float
    """Seconds from the request, or the leader's own exit, to the verdict."""
    grace: float
    """The part of that before SIGKILL."""
    kill: float
    """The part of that from the first SIGKILL on; 0.0 if there was none."""
    reason: EndReason = EndReason.REQUESTED
    """The first cause of the end."""
    usage: Usage = NOTHING_KNOWN
    """What the session has used, as far as that is known."""

    def __bool__(self) -> bool:
        """Raise TypeError: any object is true by default, also a verdict that is not empty."""
        msg = "a verdict is neither true nor false: check verdict.empty, or whether it is None"
        raise TypeError(msg)

    def __repr__(self) -> str:
        left = ", ".join(str(each.pid) for each in self.survivors)
        state = "empty" if self.empty else f"not empty, survivors: {left or 'none known'}"
        caveats = "".join(f", {each.value}" for each in sorted(self.caveats))
        return f"<Verdict {self.outcome.value}, {state}, took {self.took:.3f} s{caveats}>"
