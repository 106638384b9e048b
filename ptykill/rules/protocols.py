"""What the floors ask of each other. No implementation is known here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from ptykill.rules.command import Command
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.steps import Reach, Step
from ptykill.rules.verdict import Caveat, ExitStatus, Survivor

__all__ = [
    "Containment",
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
    """Whom a signal reached: the pids that took it, and those the kernel refused (EPERM).

    It may grow for some milliseconds more: see `Containment.signal`.
    """

    reached: set[int] = dataclasses.field(default_factory=set)
    refused: set[int] = dataclasses.field(default_factory=set)


class Target(Protocol):
    """A session as a signaller sees it: what may be done to it, who it is, and nothing else."""

    @property
    def session_id(self) -> str:
        """The session's id."""

    @property
    def pid(self) -> int:
        """The leader's pid, which is also the number of its process group and its session.

        The leader is not reaped before the teardown is over, so the number stays its own.
        """

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal by its name (``"TERM"``), and SIGCONT after it.

        Nobody there is no error; `DeliveryRefused` is raised if the kernel refused it for all.
        """

    def hang_up(self) -> None:
        """Close the master of the terminal: the kernel hangs the session up."""

    async def type_in(self, data: bytes) -> None:
        """Type into the terminal; waits while the program does not read."""


class Signaller(Protocol):
    """The plug: how one step of a plan is delivered.

    - It is called once for each delivery of a step, in the plan's order, and told the target and
      the step. Deliveries that go out together are separate calls, one right after the other.
    - An ``async def deliver`` runs in a task of its own. It may take as long as the step's wait;
      then, and when the session is empty, it is cancelled.
    - A plain ``def deliver`` is called in place, and must not block.
    - What it raises is recorded in the verdict, and the plan goes on to its next step at once.
    - Returning means delivered, not obeyed: only an observed end ends the session.
    - SIGKILL at the end of a plan is not its business: that is always the kernel's own.
    """

    def deliver(self, target: Target, step: Step) -> Awaitable[None] | None:
        """Deliver ``step`` to ``target``; ``async def`` or ``def``."""


class Containment(Protocol):
    """How the members of one session are known, signalled and seen to be gone.

    - Only `wait_exited` and `wait_members` wait. They may be cancelled and called again, and do
      not poll where the system has events.
    - No call starts a thread or a process: there may be none to be had when a kill is due.
    - A signal goes to members only, whatever pids the kernel has given out again meanwhile.
    """

    @property
    def name(self) -> str:
        """The tier's name, as in ``containment="session"``."""

    @property
    def pid(self) -> int:
        """The leader's pid."""

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal, and SIGCONT after it unless it stops or kills, to those there now.

        The leader has it on return. The others may be left for `finish_signal`, so that the
        leader's end need not wait until they have been looked for.
        """

    def finish_signal(self) -> None:
        """Send the last signal to the members that have not got it, but to none started since.

        Called some milliseconds after `signal` or `kill` unless the leader has exited by then.
        """

    def hand_over(self, handover: Handover) -> None:
        """Tell the session's keeper, if it has one, what to do if the host dies."""

    def kill(self) -> Signalled:
        """Send SIGKILL to every member there is, in the same way."""

    async def wait_exited(self) -> None:
        """Wait until the leader has exited. It is not reaped by this."""

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status once it has exited, reaped or not; None if unknown."""

    def members_left(self) -> bool:
        """Look whether anything of the session is left, asked once the leader has exited.

        False is final: without a member no other can be started. The leader has been reaped then.
        """

    async def wait_members(self) -> None:
        """Wait for the end of some members that the last look found."""

    def reap(self) -> ExitStatus | None:
        """Reap the leader if that is not done, and return its status; None if unknown."""

    def survivors(self) -> tuple[Survivor, ...]:
        """Who lives now, and why as far as can be told."""

    @property
    def killed(self) -> bool:
        """Whether a member was sent SIGKILL though `kill` had not been called."""

    def caveats(self) -> frozenset[Caveat]:
        """What this containment could not know about this session.

        With `Caveat.UNPROVEN` among them, a session of which no member is found is not empty.
        """

    def close(self) -> None:
        """Give back the descriptors. Signals nobody. May be called again."""


class Terminal(Protocol):
    """The host's end of a session's terminal."""

    @property
    def open(self) -> bool:
        """False once it was hung up."""

    async def receive_some(self) -> bytes:
        """Wait for output and return some; ``b""`` when there can be no more."""

    def receive_now(self) -> bytes:
        """Return some of the output that is there; ``b""`` if there is none. Never waits."""

    async def send_all(self, data: bytes) -> None:
        """Type all of it; waits while the program does not read. Raises `SessionEnded`."""

    def resize(self, rows: int, cols: int) -> None:
        """Set the window's size in characters; the foreground process group gets SIGWINCH."""

    async def keep_at_end(self) -> None:
        """Have everybody who reads a line there find the end of the input, until it is hung up."""

    def resume_output(self) -> None:
        """Let the program write again, if Ctrl-S has stopped the output. Never waits or raises."""

    def hang_up(self) -> None:
        """Close it. May be called again."""


class Handover(NamedTuple):
    """The rest of a session's plan, which a keeper carries out if the host dies.

    ``steps`` of the plan have been delivered, the next is due in ``due`` seconds, and SIGKILL at
    the latest in ``grace`` seconds.
    """

    plan: Plan
    leftovers: Leftovers
    steps: int = 0
    due: float = 0.0
    grace: float = math.inf


class Spawned(NamedTuple):
    """A session that was just started."""

    containment: Containment
    terminal: Terminal


class Tier(Protocol):
    """A way to contain sessions: starts a session in it."""

    @property
    def name(self) -> str:
        """Its name, as in ``containment="session"``."""

    async def spawn(self, command: Command, handover: Handover) -> Spawned:
        """Start a session. Raises `SpawnError`, and then nothing is left of the attempt.

        A checkpoint if it returns.
        """

    def prepare(self) -> float | None:
        """Have ready what the next spawn needs, if that is possible, and not more than that.

        Called when the loop is idle: at the beginning, and after sessions have started or ended.
        Must not block. Returns the seconds after which to call it again in any case, if at all.
        """

    async def close(self) -> None:
        """Give back what all its sessions shared. Bounded, whatever goes on."""
