"""The verdict: a typed, truthful report of how one session ended."""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["Caveat", "Delivery", "ExitStatus", "Outcome", "Survivor", "Verdict"]


class Outcome(enum.StrEnum):
    """How a session ended, in one word."""

    EXITED = "exited"
    """By itself: nothing was delivered to it."""
    GRACEFUL = "graceful"
    """Within the grace: the polite steps were enough."""
    KILLED = "killed"
    """SIGKILL was needed."""
    SPARED = "spared"
    """The leader ended by itself and its leftovers were left alone, as asked."""
    UNPROVEN = "unproven"
    """Nothing of it is found any more, but something may live that can't be found: see
    `Caveat.UNPROVEN`. Nobody watches it any more."""
    STUCK = "stuck"
    """It has not ended: something outlived the kill bound."""


class Caveat(enum.StrEnum):
    """What a verdict can't know, or what stood in its way."""

    ESCAPEES_UNKNOWN = "escapees unknown"
    """Processes that had called setsid(2) and lost their parent before they could be looked for are
    not known to this containment."""
    SCANNED = "scanned"
    """Emptiness was seen by looking through the process table, not proved by the kernel: most often
    since zombies that their parent has not reaped yet kept the session's number."""
    REAPED_BY_OTHERS = "reaped by others"
    """Someone else in this process reaped the leader (a ``waitpid(-1)``, an ignored SIGCHLD): its
    status is unknown, and members could be told from strangers only while a known one lived."""
    KEEPER_LOST = "keeper lost"
    """The session's keeper died before the session did, killed by somebody: the leader was killed
    with it, its status is unknown, and what else there was became the warden's, which killed it."""
    UNPROVEN = "unproven"
    """The session's keeper is lost, and nobody can say that nothing is left: its warden, which
    inherits what a dead keeper leaves, was killed as well, or has not answered. Whatever could be
    found has been killed; the verdict is not empty."""
    INTERNAL_ERROR = "internal error"
    """ptykill itself failed while watching; the log has the traceback."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExitStatus:
    """How the leader ended: ``code`` (0 to 255) if it exited, ``signal`` if one ended it.

    ``oom_killed``: the signal was SIGKILL, and the kernel's out-of-memory killer had been at work
    in the session. Only a cgroup with the memory controller can tell; elsewhere it is False.
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
    processes that were signalled and ``refused`` names those that the kernel refused. ``error``
    says why the delivery failed; None if it did not.
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
    ``?``, ``started`` seconds since the epoch, ``why`` what kept it alive as far as can be told.
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
    """What is known of one session's end.

    ``empty``: nothing of the session was left, and its leader was reaped. Ask this, and nothing
    else: a verdict is neither true nor false, and ``if verdict:`` raises TypeError.
    ``exit_status`` is the leader's, None if it can't be known. ``took`` is the time (seconds) from
    the request (or the leader's own exit) to the verdict, of which ``grace`` was spent politely
    and ``kill`` with SIGKILL. ``containment`` names the tier and ``caveats`` what it can't know.
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

    def __bool__(self) -> bool:
        """Raise TypeError: any object is true by default, also a verdict that is not empty."""
        msg = "a verdict is neither true nor false: ask verdict.empty, or whether it is None"
        raise TypeError(msg)

    def __repr__(self) -> str:
        left = ", ".join(str(each.pid) for each in self.survivors)
        state = "empty" if self.empty else f"not empty, survivors: {left or 'none known'}"
        caveats = "".join(f", {each.value}" for each in sorted(self.caveats))
        return f"<Verdict {self.outcome.value}, {state}, took {self.took:.3f} s{caveats}>"
