"""Carries out the rest of a plan in a keeper whose host is dead or stopped, by the state machine.

The terminal's master was closed with a dead host, so the kernel has hung the session up (pty(7)).
Nothing can be typed any more, and the leader has had a SIGHUP, unless another process still holds
the master, such as a child that the host had forked.

A host that is stopped still has the master. The keeper can't close it, so a hang-up is the signals
that the kernel would send: SIGHUP and SIGCONT to the leader and the foreground process group.
"""

from __future__ import annotations

import math
import os
import signal
import time
from contextlib import suppress
from typing import Protocol

from ptykill.rules.lifecycle import Action, Event, Machine
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.steps import HangUp, Reach, Signal, Step
from ptykill.system.keeper.wire import Handover
from ptykill.system.kernel.members import members
from ptykill.system.kernel.pidfd import deliver, open_pidfd
from ptykill.system.kernel.procfs import foreground_of, group_of, session_of, stat

__all__ = ["OrphanedTeardown"]


class _Keeper(Protocol):
    @property
    def leader(self) -> int: ...

    @property
    def status(self) -> object: ...

    def kill(self) -> None: ...


class OrphanedTeardown:
    """The rest of one session's plan, and when each step is due."""

    def __init__(
        self,
        keeper: _Keeper,
        handover: Handover,
        ago: float,
        *,
        hung_up: bool = True,
        killing: bool = False,
    ) -> None:
        self._keeper = keeper
        self._hung_up = hung_up
        self._killing = killing
        self._handover = handover
        self._handed_over_at = time.monotonic() - ago
        self._machine = Machine(Plan.of(handover.plan), Leftovers(handover.leftovers))
        self._due = math.inf
        self._kill_due = math.inf
        if not killing and handover.steps:
            self._kill_due = self._handed_over_at + handover.grace
        elif not killing and keeper.status is None:
            self._kill_due = time.monotonic() + self._machine.plan.grace

    @property
    def kill_due(self) -> float:
        """When SIGKILL is due, in monotonic seconds."""
        return self._kill_due

    def begin(self) -> float:
        """Go on where the host stopped; return when to call `do_due` (monotonic seconds)."""
        if self._killing:
            self._handle(Event.KILL_REQUESTED)
        elif self._handover.steps:
            for number in range(self._handover.steps):
                self._machine.handle(Event.STEP_DUE if number else Event.STOP_REQUESTED)
            self._due = min(self._handed_over_at + self._handover.due, self._kill_due)
        elif self._keeper.status is not None:
            self._handle(Event.LEADER_EXITED)
            self._handle(Event.MEMBERS_FOUND)
        else:
            self._handle(Event.STOP_REQUESTED)
        return self._due

    def do_due(self) -> float:
        """Do what is due; return when to call this again."""
        now = time.monotonic()
        if now >= self._kill_due:
            self._handle(Event.GRACE_EXPIRED)
        elif now >= self._due:
            self._handle(Event.STEP_DUE)
        return self._due

    def _handle(self, event: Event) -> None:
        for action in self._machine.handle(event):
            if action is Action.KILL:
                self._due = self._kill_due = math.inf
                self._keeper.kill()  # It goes on until no process is left.
            elif action is Action.DELIVER:
                step = self._machine.step
                self._due = min(time.monotonic() + step.wait, self._kill_due)
                if not self._deliver(step):
                    self._handle(Event.DELIVERY_FAILED)

    def _deliver(self, step: Step) -> bool:
        """Deliver the parts of a step; return whether any of them could be delivered."""
        delivered = [self._deliver_part(part) for part in step.parts]
        return any(delivered)

    def _deliver_part(self, step: Step) -> bool:
        if isinstance(step.what, Signal):
            self._signal(signal.Signals[f"SIG{step.what.name}"], step.reach)
            return True
        if isinstance(step.what, HangUp) and not self._hung_up:
            for reach in Reach.LEADER, Reach.FOREGROUND:
                self._signal(signal.SIGHUP, reach)
        return isinstance(step.what, HangUp)

    def _signal(self, number: int, reach: Reach) -> None:
        leader = self._keeper.leader
        terminal = int((stat(leader) or [b"0"] * 5)[4])
        front = foreground_of(leader)
        ourselves = open_pidfd(os.getpid())
        assert ourselves is not None
        for member in members(ourselves):
            # The leader has had its SIGHUP from the kernel, and must not clean up twice.
            had_it = number == signal.SIGHUP and member.pid == leader and terminal == 0
            if not had_it and in_reach(reach, member.pid, leader, front):
                with suppress(OSError):  # EPERM: another user's.
                    deliver(number, member.send)
        ourselves.close()


def in_reach(reach: Reach, pid: int, leader: int, foreground: int | None) -> bool:
    """Return whether a member is within a reach."""
    match reach:
        case Reach.LEADER:
            return pid == leader
        case Reach.GROUP:
            return group_of(pid) == leader
        case Reach.FOREGROUND:
            return group_of(pid) == foreground
        case Reach.SESSION:
            return session_of(pid) == leader
        case Reach.ESCAPED:
            return session_of(pid) not in (leader, -1)
        case Reach.ALL:
            return True
