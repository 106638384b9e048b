"""Fake sessions, without processes, for tests of programs that embed ptykill, on any clock.

A `Member` describes a process: which signals it dies of, and how long that takes. Use a virtual
clock or short delays, since only the clock makes a member die.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping

import trio

from ptykill.errors import SessionEnded
from ptykill.rules import member as rules_member
from ptykill.rules.command import Command
from ptykill.rules.deadlines import Deadlines, Elapsed
from ptykill.rules.processor_time import ProcessorTime
from ptykill.rules.protocols import Ending, Handover, Signalled, Spawned
from ptykill.rules.steps import Reach
from ptykill.rules.usage import Usage
from ptykill.rules.verdict import Caveat, ExitStatus, Survivor

__all__ = ["FakeContainment", "FakeTerminal", "FakeTier", "Member"]


@dataclasses.dataclass
class Member:
    """A fake process: how it reacts to signals, and the signals that it got."""

    dies_of: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Seconds in which it dies of signals, by their names; SIGKILL takes none by default
    (`math.inf`: unkillable)."""
    lives: float = math.inf
    """Seconds from the spawn after which it ends by itself."""
    status: ExitStatus = dataclasses.field(default_factory=lambda: ExitStatus(code=0))
    """How it ends if it ends by itself."""
    refuses: bool = False
    """Whether the kernel refuses every signal (EPERM)."""
    escaped: bool = False
    """Whether it is outside `Reach.SESSION` and inside `Reach.ESCAPED`."""
    got: list[str] = dataclasses.field(default_factory=list)
    """The signals that it was sent, in order."""


class FakeTier:
    """A tier whose sessions consist of `Member` objects: copies of ``leader`` and ``members``."""

    name: str = "fake"
    """The name of the containment, as in verdicts."""

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
        """What `spawn` raises; None if it spawns."""
        self.spawned: list[FakeContainment] = []
        """The sessions that were spawned, the oldest first."""
        self.closed: bool = False
        """Whether it was closed."""

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

    def prepare(self) -> float | None:
        """Do nothing: there is nothing to prepare."""

    async def close(self) -> None:
        """Note that it was closed."""
        await trio.lowlevel.checkpoint()
        self.closed = True


class FakeContainment:
    """A session of members that die by the clock. Follows `protocols.Containment`."""

    name: str = FakeTier.name
    """The name of the containment, as in verdicts."""
    killed: bool = False
    """Whether a member was sent SIGKILL though `kill` had not been called."""

    def __init__(self, pid: int, leader: Member, members: list[Member]) -> None:
        self.pid: int = pid
        """The leader's pid."""
        self.leader: Member = leader
        """The leader."""
        self.members: list[Member] = members
        """The other members."""
        self.terminal: FakeTerminal = FakeTerminal(self)
        """Its terminal."""
        self.reaped: bool = False
        """Whether the leader was reaped."""
        self.closed: bool = False
        """Whether it was closed."""
        self.now_used: Usage = Usage()
        """What `usage` returns."""
        self.handovers: list[Handover] = []
        """What was handed over to it, in order."""
        self.deadlines: list[tuple[Deadlines, Elapsed]] = []
        """The deadlines that it was given, and how long ago their events were, in order."""
        self.keeper_ends: Ending | None = None
        """What its keeper says, if a test sets it."""
        self.used: float = 0.0
        """The processor time (seconds) of all members; a test raises it."""
        self.looks: int = 0
        """How often its processor time was asked for."""
        self._dies = {id(each): trio.current_time() + each.lives for each in (leader, *members)}
        self._changed = trio.Event()
        self._started = time.time()
        self._found: list[Member] = []

    def signal(self, name: str, reach: Reach) -> Signalled:
        """Send a signal to the members within reach; each dies of it after its time."""
        return self.signal_now(name, reach)

    def signal_now(self, name: str, reach: Reach) -> Signalled:
        """Do as `signal`: neither sends a SIGCONT."""
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

    async def list_members(self) -> tuple[rules_member.Member, ...]:
        """Describe the members that live; only the leader is in the foreground."""
        await trio.lowlevel.checkpoint()
        return tuple(
            rules_member.Member(
                pid=self._pid_of(each),
                parent=self.pid if each is not self.leader else 1,
                state="S",
                started_at=self._started,
                command="fake",
                user="fake",
                cpu_seconds=0.0,
                memory=0,
                foreground=each is self.leader,
                escaped=each.escaped,
            )
            for each in (self.leader, *self.members)
            if self.alive(each)
        )

    def kill(self) -> Signalled:
        """Send SIGKILL to all."""
        return self.signal("KILL", Reach.ALL)

    def finish_signal(self) -> None:
        """Do nothing: `signal` is never unfinished."""

    def set_deadlines(self, deadlines: Deadlines, elapsed: Elapsed) -> None:
        """Remember the deadlines."""
        self.deadlines.append((deadlines, elapsed))

    def ending(self) -> Ending | None:
        """Return ``keeper_ends``."""
        return self.keeper_ends

    def processor_time(self) -> ProcessorTime:
        """Return ``used``, as the time of all members together."""
        self.looks += 1
        return ProcessorTime(round(self.used * 1_000_000))

    def hand_over(self, handover: Handover) -> None:
        """Remember the handover."""
        self.handovers.append(handover)

    async def wait_exited(self) -> None:
        """Wait until the leader is dead."""
        await self._until(lambda: not self.alive(self.leader))

    def exit_status(self) -> ExitStatus | None:
        """Return the leader's status once it is dead."""
        return None if self.alive(self.leader) else self.leader.status

    def members_left(self) -> bool:
        """Look whether a member lives."""
        self._found = [member for member in self.members if self.alive(member)]
        self.reaped = self.reaped or not self._found
        return bool(self._found)

    async def wait_members(self) -> None:
        """Wait until one of the members that `members_left` found is dead."""
        await self._until(lambda: not all(map(self.alive, self._found)))

    def reap(self) -> ExitStatus | None:
        """Reap the leader."""
        self.reaped = True
        return self.leader.status

    def survivors(self) -> tuple[Survivor, ...]:
        """Return the processes that live."""
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

    def usage(self) -> Usage:
        """Return ``now_used``."""
        return self.now_used

    def caveats(self) -> frozenset[Caveat]:
        """Return none: nothing is hidden here."""
        return frozenset()

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def alive(self, member: Member) -> bool:
        """Return whether a member lives."""
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
    """A fake terminal. Follows `protocols.Terminal`. A test calls `write` as the program would."""

    def __init__(self, containment: FakeContainment) -> None:
        self.typed: bytes = b""
        """The input so far."""
        self.size: tuple[int, int] | None = None
        """The rows and columns; None until they are set."""
        self.open: bool = True
        """False once it was hung up."""
        self.interrupts: bool = True
        """Whether Ctrl-C interrupts; False for a program that reads it as a key."""
        self.echoes: bool = True
        """Whether input may come back."""
        self.direct: bool = False
        """Whether the caller reads and types by a master of its own."""
        self._containment = containment
        self._output = b""
        self._changed = trio.Event()

    def write(self, data: bytes) -> None:
        """Write as the program does."""
        self._output += data
        self._wake()

    def discard_if_full(self) -> None:
        """Do nothing: it is never full."""

    def close_slave(self) -> None:
        """Do nothing: there is none."""

    async def receive_some(self) -> bytes:
        """Wait for output."""
        await trio.lowlevel.checkpoint()
        while self.open and not self._output:
            await self._changed.wait()
        return self.receive_now()

    def receive_now(self) -> bytes:
        """Return the output that has come."""
        data, self._output = self._output, b""
        return data

    async def send_all(self, data: bytes) -> None:
        """Record the input."""
        await trio.lowlevel.checkpoint()
        if not self.open:
            msg = "the terminal has been hung up"
            raise SessionEnded(msg)
        self.typed += data

    def interrupt(self) -> bool:
        """Send SIGINT to the foreground, as the interrupt key does, or type Ctrl-C."""
        if not self.open:
            msg = "the terminal has been hung up"
            raise SessionEnded(msg)
        if self.interrupts:
            self._containment.signal("INT", Reach.FOREGROUND)
        else:
            self.typed += b"\x03"
        return True

    def may_echo(self) -> bool:
        """Return ``echoes``, which a test may set."""
        return self.echoes

    def resize(self, rows: int, cols: int) -> None:
        """Record the size."""
        self.size = (rows, cols)

    async def keep_at_end(self) -> None:
        """Do nothing, until cancelled: no program reads."""
        await trio.sleep_forever()

    def resume_output(self) -> None:
        """Do nothing: the output is never stopped."""

    def hang_up(self) -> None:
        """Close, and send SIGHUP to the leader, as the kernel does."""
        if self.open:
            self.open = False
            self._containment.signal("HUP", Reach.LEADER)
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
