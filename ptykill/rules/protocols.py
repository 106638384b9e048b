"""The protocols between the layers: signallers, containments, terminals and tiers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from ptykill.rules.command import Command
from ptykill.rules.deadlines import Deadlines, Elapsed
from ptykill.rules.member import Member
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.processor_time import ProcessorTime
from ptykill.rules.steps import Reach, Step
from ptykill.rules.usage import Usage
from ptykill.rules.verdict import Caveat, EndReason, ExitStatus, Survivor

__all__ = [
    "Containment",
    "Ending",
    "Handover",
    "Signalled",
    "Signaller",
    "Spawned",
    "Target",
    "Terminal",
    "Tier",
]


@dataclasses.dataclass(slots=True)
class Signalled:
    """The processes that a signal was sent to.

    It may grow for some milliseconds more: see `Containment.signal`.
    """

    reached: set[int] = dataclasses.field(default_factory=set)
    """Their pids."""
    refused: set[int] = dataclasses.field(default_factory=set)
    """The pids for which the kernel refused the signal (kill(2), EPERM)."""


class Ending(NamedTuple):
    """A keeper ends its session because a deadline has passed, and the host had not done so."""

    reason: EndReason
    """The deadline."""
    grace: float
    """Seconds until the keeper sends SIGKILL."""
    killed: bool
    """Whether it has sent SIGKILL already."""


class Target(Protocol):
    """What a signaller can know of a session, and do to it."""

    @property
    def session_id(self) -> str:
        """The session's id."""

    @property
    def pid(self) -> int:
        """The leader's pid, which is also the number of its process group and its session.

        The leader is not reaped before the teardown is over, so the kernel can't reuse the number.
        """

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal by its name (``"TERM"``), and SIGCONT after it.

        A reach without processes is no error. Raises `DeliveryRefused` if the kernel refuses the
        signal for every process.
        """

    def hang_up(self) -> None:
        """Close the terminal's master: the kernel then hangs the session up (pty(7))."""

    async def type_in(self, data: bytes) -> None:
        """Type into the terminal; wait while the program does not read."""


class Signaller(Protocol):
    """Delivers the steps of a plan: implement this to change how a session is asked to end.

    - `deliver` is called once for each delivery of a step, in the plan's order, with the target and
      the step. Deliveries that go out together are separate calls, one right after the other.
    - An ``async def deliver`` runs in a task of its own. It may take as long as the step's wait;
      then, and when the session is empty, it is cancelled.
    - A plain ``def deliver`` has no task of its own, and must not block.
    - An exception is recorded in the verdict, and the plan goes on to its next step at once.
    - A return means that the step was delivered. Only an observed exit ends the session.
    - The SIGKILL at the end of a plan does not go through a signaller.
    """

    def deliver(self, target: Target, step: Step) -> Awaitable[None] | None:
        """Deliver ``step`` to ``target``; ``async def`` or ``def``."""


class Containment(Protocol):
    """Finds and signals the members of one session, and notices when none is left.

    - Only `wait_exited` and `wait_members` wait. They may be cancelled and called again, and do
      not poll where the system has events.
    - No call starts a thread or a process: when a kill is due, a limit may not allow another.
    - A signal goes to members only, also if the kernel has reused pids meanwhile.
    """

    @property
    def name(self) -> str:
        """The tier's name, as in ``containment="session"``."""

    @property
    def pid(self) -> int:
        """The leader's pid."""

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal, and SIGCONT after it unless it stops or kills, to the present members.

        On return the signal has been sent to the leader. It may leave the others to
        `finish_signal`, so that the leader can end while they are looked for.
        """

    def finish_signal(self) -> None:
        """Send the last signal to the members that have not got it, but to none started since.

        Called some milliseconds after `signal` or `kill` unless the leader has exited by then.
        """

    def signal_now(self, name: str, reach: Reach) -> Signalled:
        """Send exactly this signal, without a SIGCONT after it, to the present members.

        Unlike `signal`, it has been sent to all of them on return. It does not touch a signal that
        waits for `finish_signal`.
        """

    async def list_members(self) -> tuple[Member, ...]:
        """Describe the present members, zombies too, the oldest first; none at the end.

        What a process keeps from being read in time is left out of its description. Raises OSError
        if no descriptor is left.
        """

    def hand_over(self, handover: Handover) -> None:
        """Give the session's keeper, if it has one, the rest of the plan, in case the host dies."""

    def set_deadlines(self, deadlines: Deadlines, elapsed: Elapsed) -> None:
        """Give the session's keeper, if it has one, the deadlines, in case the host is stopped.

        Called when the deadlines have changed, and now and then while the session is active. The
        `Handover` of the spawn has the first ones.
        """

    def ending(self) -> Ending | None:
        """Return whether the session's keeper ends the session because of a deadline."""

    def processor_time(self) -> ProcessorTime:
        """Return the processor time that the members have used since the session's start.

        Called seldom, and only for sessions with an idle deadline.
        """

    def kill(self) -> Signalled:
        """Send SIGKILL to every present member, in the same way."""

    async def wait_exited(self) -> None:
        """Wait until the leader has exited, without reaping it."""

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status once it has exited, reaped or not; None if unknown."""

    def members_left(self) -> bool:
        """Return whether any member is left; called once the leader has exited.

        False is final: without a member no other can be started. The leader has been reaped then.
        """

    async def wait_members(self) -> None:
        """Wait for the end of some members that the last `members_left` found."""

    def reap(self) -> ExitStatus | None:
        """Reap the leader if that is not done, and return its status; None if unknown."""

    def survivors(self) -> tuple[Survivor, ...]:
        """Return the members that live now, with the reasons as far as they are known."""

    @property
    def killed(self) -> bool:
        """Whether a member was sent SIGKILL though `kill` had not been called."""

    def usage(self) -> Usage:
        """Return what the session has used until now, or until its end, as far as it is known."""

    def caveats(self) -> frozenset[Caveat]:
        """Return what this containment could not know about this session.

        With `Caveat.UNPROVEN` among them, a session of which no member is found is not empty.
        """

    def close(self) -> None:
        """Close the descriptors. Sends no signal. May be called again."""


class Terminal(Protocol):
    """The host's end of a session's terminal."""

    @property
    def open(self) -> bool:
        """False once it was hung up."""

    @property
    def direct(self) -> bool:
        """True if the caller has opened it, and reads and types by a master of its own."""

    def discard_if_full(self) -> None:
        """Discard the unread output if it keeps a program from writing. Never waits or raises."""

    def close_slave(self) -> None:
        """Close the host's slave: the output ends when no program has the terminal open."""

    async def receive_some(self) -> bytes:
        """Wait for output and return some; ``b""`` at its end."""

    def receive_now(self) -> bytes:
        """Return some of the output that is there; ``b""`` if there is none. Never waits."""

    async def send_all(self, data: bytes) -> None:
        """Type all of ``data``; wait while the program does not read. Raises `SessionEnded`."""

    def interrupt(self) -> bool:
        """Do what the interrupt key does now; False if SIGINT has to be sent. Never waits.

        Raises `SessionEnded`, and `InputFull` if a program does not read.
        """

    def may_echo(self) -> bool:
        """Return whether what is typed now may come back: by the kernel, or by a program."""

    def resize(self, rows: int, cols: int) -> None:
        """Set the window's size in characters; the foreground process group gets SIGWINCH."""

    async def keep_at_end(self) -> None:
        """Let every program that reads a line find the end of the input, until the hangup."""

    def resume_output(self) -> None:
        """Let the program write again, if Ctrl-S has stopped the output. Never waits or raises."""

    def hang_up(self) -> None:
        """Close the master: the kernel hangs the session up. May be called again."""


class Handover(NamedTuple):
    """The rest of a session's plan, which a keeper carries out if the host dies."""

    plan: Plan
    """The plan."""
    leftovers: Leftovers
    """What to do with members that outlive a leader which ended by itself."""
    steps: int = 0
    """How many steps of the plan have been delivered."""
    due: float = 0.0
    """Seconds until the next step is due."""
    grace: float = math.inf
    """Seconds until SIGKILL is due at the latest."""
    deadlines: Deadlines = Deadlines()
    """Those of a session that is spawned; later changes go through `Containment.set_deadlines`."""


class Spawned(NamedTuple):
    """A session that was just started."""

    containment: Containment
    """Its members."""
    terminal: Terminal
    """Its terminal."""


class Tier(Protocol):
    """Starts sessions in one kind of containment."""

    @property
    def name(self) -> str:
        """The tier's name, as in ``containment="session"``."""

    async def spawn(self, command: Command, handover: Handover) -> Spawned:
        """Start a session. Raises `SpawnError`, and then leaves no process or descriptor behind.

        Raises `LimitsUnavailable` for limits of the whole session that it can't enforce. A
        checkpoint if it returns.
        """

    def prepare(self) -> float | None:
        """Prepare the next spawn, and only that one, if possible.

        Called when the loop is idle: at the beginning, and after sessions have started or ended.
        Must not block. Returns the seconds after which to call it again in any case, if at all.
        """

    async def close(self) -> None:
        """Close what all sessions of the tier share. Always bounded in time."""
