"""Fakes: sessions without processes, for tests of what embeds ptykill, on any clock.

A `Member` is a process by its habits: what it dies of and how long that takes. It has to be used
with a virtual clock or short delays, since nothing but the clock makes it die.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

import trio

from ptykill.errors import SessionEnded
from ptykill.rules.command import Command
from ptykill.rules.protocols import Handover, Signalled, Spawned
from ptykill.rules.steps import Reach
from ptykill.rules.verdict import Caveat, ExitStatus, Survivor

__all__ = ["FakeContainment", "FakeTerminal", "FakeTier", "Member"]


@dataclasses.dataclass
class Member:
    """A process that isn't: its habits, and what was done to it.

    ``dies_of`` maps names of signals to the seconds it takes to die of them; SIGKILL takes none
    unless it says otherwise (`math.inf`: unkillable). ``lives`` is when it ends by itself, in
    seconds from its birth. ``refuses`` makes the kernel refuse every signal (EPERM). ``escaped``
    puts it beyond `Reach.SESSION` and within `Reach.ESCAPED`. ``got`` is what it was sent, in
    order.
    """

    dies_of: Mapping[str, float] = dataclasses.field(default_factory=dict)
    lives: float = math.inf
    status: ExitStatus = dataclasses.field(default_factory=lambda: ExitStatus(code=0))
    refuses: bool = False
    escaped: bool = False
    got: list[str] = dataclasses.field(default_factory=list)


class FakeTier:
    """A tier whose sessions are made of `Member` objects.

    ``leader`` and ``members`` are what each session is made of (copied for each), ``failure`` what
    `spawn` raises instead. ``spawned`` lists the containments made, the oldest first.
    """

    name: str = "fake"

    def __init__(
        self,
        leader: Member | None = None,
        members: Iterable[Member] = (),
        *,
        failure: Exception | None = None,
    ) -> None:
        self._leader = leader or Member(dies_of={"HUP": 0.0})
        self._members = tuple(members)
        self.failure: Exception | None = failure
        self.spawned: list[FakeContainment] = []
        self.closed: bool = False

    async def spawn(self, command: Command, handover: Handover) -> Spawned:
        """Make a session."""
        del command, handover
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        leader, *members = (
            dataclasses.replace(each, got=[]) for each in (self._leader, *self._members)
        )
        containment = FakeContainment(1_000 + len(self.spawned), leader, members)
        self.spawned.append(containment)
        return Spawned(containment, containment.terminal)

    def prepare(self) -> None:
        """Have nothing to prepare."""

    async def close(self) -> None:
        """Note that it was closed."""
        await trio.lowlevel.checkpoint()
        self.closed = True


class FakeContainment:
    """A session of members that die by the clock. Follows `contract.Containment`."""

    name: str = FakeTier.name
    killed: bool = False

    def __init__(self, pid: int, leader: Member, members: list[Member]) -> None:
        self.pid: int = pid
        self.leader: Member = leader
        self.members: list[Member] = members
        self.terminal: FakeTerminal = FakeTerminal(self)
        self.reaped: bool = False
        self.closed: bool = False
        self.handovers: list[Handover] = []
        """What was handed over to it, in order."""
        self._dies = {id(each): trio.current_time() + each.lives for each in (leader, *members)}
        self._changed = trio.Event()
        self._found: list[Member] = []

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal to those within reach, who die of it when it is time."""
        within = [] if reach is Reach.ESCAPED else [self.leader]
        if reach in (Reach.SESSION, Reach.ESCAPED, Reach.ALL):
            outside = reach is Reach.ESCAPED
            within += [m for m in self.members if reach is Reach.ALL or m.escaped is outside]
        signalled = Signalled()
        for member in within:
            if self.alive(member):
                pid = self._pid_of(member)
                if member.refuses:
                    signalled.refused.add(pid)
                    continue
                signalled.reached.add(pid)
                member.got.append(name)
                takes = member.dies_of.get(name, 0.0 if name == "KILL" else math.inf)
                self._die(member, takes, name)
        return signalled

    def kill(self) -> Signalled:
        """Send SIGKILL to all."""
        return self.signal("KILL", Reach.ALL)

    def finish_signal(self) -> None:
        """Nobody is ever left."""

    def hand_over(self, handover: Handover) -> None:
        """Remember the handover."""
        self.handovers.append(handover)

    async def wait_exited(self) -> None:
        """Wait until the leader is dead."""
        await self._until(lambda: not self.alive(self.leader))

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status."""
        return self.leader.status

    def members_left(self) -> bool:
        """Look whether a member lives."""
        self._found = [member for member in self.members if self.alive(member)]
        self.reaped = self.reaped or not self._found
        return bool(self._found)

    async def wait_members(self) -> None:
        """Wait for the death of one that was found."""
        await self._until(lambda: not all(map(self.alive, self._found)))

    def reap(self) -> ExitStatus | None:
        """Reap the leader."""
        self.reaped = True
        return self.leader.status

    def survivors(self) -> tuple[Survivor, ...]:
        """Return those that live."""
        return tuple(
            Survivor(
                self._pid_of(member),
                name="fake",
                state="S",
                why="not permitted to signal it" if member.refuses else "unknown",
            )
            for member in (self.leader, *self.members)
            if self.alive(member)
        )

    def caveats(self) -> frozenset[Caveat]:
        """Nothing is hidden here."""
        return frozenset()

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def alive(self, member: Member) -> bool:
        """Return whether a member's time has not come."""
        return self._dies[id(member)] > trio.current_time()

    def exit(self, code: int = 0) -> None:
        """Let the leader end by itself, now."""
        self.leader.status = ExitStatus(code=code)
        self._die(self.leader, 0.0, None)

    def _die(self, member: Member, takes: float, name: str | None) -> None:
        when = trio.current_time() + takes
        if when < self._dies[id(member)]:
            self._dies[id(member)] = when
            if name is not None:
                number = {"HUP": 1, "INT": 2, "KILL": 9, "TERM": 15}.get(name)
                member.status = ExitStatus(signal=number)
            self._changed.set()
            self._changed = trio.Event()

    def _pid_of(self, member: Member) -> int:
        if member is self.leader:
            return self.pid
        return self.pid * 100 + next(i for i, each in enumerate(self.members) if each is member)

    async def _until(self, condition: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not condition():
            soon = [when for when in self._dies.values() if when > trio.current_time()]
            with trio.move_on_at(min(soon, default=math.inf)):
                await self._changed.wait()


class FakeTerminal:
    """A terminal that remembers. Follows `contract.Terminal`.

    ``typed`` is what was sent, ``size`` rows and columns, and `write` is the program's side.
    """

    def __init__(self, containment: FakeContainment) -> None:
        self.typed: bytes = b""
        self.size: tuple[int, int] | None = None
        self.open: bool = True
        self._containment = containment
        self._output = b""
        self._changed = trio.Event()

    def write(self, data: bytes) -> None:
        """Let the program write."""
        self._output += data
        self._wake()

    async def receive_some(self) -> bytes:
        """Wait for output."""
        await trio.lowlevel.checkpoint()
        while self.open and not self._output:
            await self._changed.wait()
        return self.receive_now()

    def receive_now(self) -> bytes:
        """Return the output that is there."""
        data, self._output = self._output, b""
        return data

    async def send_all(self, data: bytes) -> None:
        """Remember what is typed."""
        await trio.lowlevel.checkpoint()
        if not self.open:
            msg = "the terminal has been hung up"
            raise SessionEnded(msg)
        self.typed += data

    def resize(self, rows: int, cols: int) -> None:
        """Remember the size."""
        self.size = (rows, cols)

    async def keep_at_end(self) -> None:
        """Do nothing, until cancelled: nobody reads."""
        await trio.sleep_forever()

    def resume_output(self) -> None:
        """Do nothing: the output is never stopped."""

    def hang_up(self) -> None:
        """Close, and send the leader SIGHUP as the kernel would."""
        if self.open:
            self.open = False
            self._containment.signal("HUP", Reach.LEADER)
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
