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
    """How the leader ended: ``code`` (0 to 255) if it exited, ``signal`` if one ended it.

    ``oom_killed``: the signal was SIGKILL, and the kernel's out-of-memory killer had killed a
    process of the session. Only a cgroup with the memory controller counts that; elsewhere it is
    False.
    """

    code: int | None = None
    signal: int | None = None
    core_dumped: bool = False
    oom_killed: bool = False

    @property
    def shell_code(self) -> int:
        """The status as a shell gives it: the code, or 128 plus the signal's number."""
        return 128 + (self.signal or 0) if self.code is None else self.code


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a teardown.

    ``at`` and ``took`` are seconds, the first since the teardown began. ``reached`` counts the
    processes that were signalled; ``refused`` has the pids for which the kernel refused the signal.
    ``error`` is the reason why the delivery failed; None if it did not.
    """

    what: str
    at: float
    took: float = 0.0
    reached: int = 0
    refused: tuple[int, ...] = ()
    error: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Survivor:
    """A member that outlived the kill.

    ``state`` is the letter of ps(1) (``D`` uninterruptible, ``T`` stopped, ``Z`` zombie …) or
    ``?``; ``started`` is in seconds since the epoch; ``why`` is what kept it alive, if known.
    """

    pid: int
    name: str = "?"
    state: str = "?"
    user: str = "?"
    command: str = ""
    started: float | None = None
    why: str = "unknown"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """The report of one session's end.

    ``empty``: no process of the session was left, and its leader was reaped. Check only this: a
    verdict is neither true nor false, and ``if verdict:`` raises TypeError. ``exit_status`` is the
    leader's, None if it can't be known. ``took`` is the time (seconds) from the request, or the
    leader's own exit, to the verdict; ``grace`` is the part of it before SIGKILL, ``kill`` the part
    after. ``containment`` is the name of the tier, ``caveats`` what it can't know. ``reason`` is
    the first cause of the end. ``usage`` is what the session has used, as far as that
    is known.
    """

    session_id: str
    pid: int
    outcome: Outcome
    empty: bool
    exit_status: ExitStatus | None
    deliveries: tuple[Delivery, ...]
    survivors: tuple[Survivor, ...]
    containment: str
    caveats: frozenset[Caveat]
    took: float
    grace: float
    kill: float
    reason: EndReason = EndReason.REQUESTED
    usage: Usage = NOTHING_KNOWN

    def __bool__(self) -> bool:
        """Raise TypeError: any object is true by default, also a verdict that is not empty."""
        msg = "a verdict is neither true nor false: check verdict.empty, or whether it is None"
        raise TypeError(msg)

    def __repr__(self) -> str:
        left = ", ".join(str(each.pid) for each in self.survivors)
        state = "empty" if self.empty else f"not empty, survivors: {left or 'none known'}"
        caveats = "".join(f", {each.value}" for each in sorted(self.caveats))
        return f"<Verdict {self.outcome.value}, {state}, took {self.took:.3f} s{caveats}>"
