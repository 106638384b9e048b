"""Time the phases of a kill: ``python -m benchmarks.kill_phases TIER``.

A line on stdin prepares one ``bash -i``; the answer is its pid. The next line ends it; the answer
has the times between the phases. They are taken through public interfaces: a signaller, and a trio
instrument.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable

import trio

import ptykill
from benchmarks.system_host import lines, tell
from benchmarks.systems import ENVIRONMENT, PROGRAMS, ready
from benchmarks.systems.ptykill_tier import PtykillSession, checked

__all__ = ["Noting"]

GRACE = 2.0


class Noting(trio.abc.Instrument):
    """A signaller that records its first call and last return, and an instrument for wake-ups."""

    def __init__(self) -> None:
        self.noted: dict[str, int] = {}
        self._signaller = ptykill.StandardSignaller()

    def deliver(self, target: ptykill.Target, step: ptykill.Step) -> Awaitable[None] | None:
        """Deliver a step as the standard signaller does.

        A step may have more than one delivery: the first is asked for first, the last sent last.
        """
        self.noted.setdefault("asked", time.perf_counter_ns())
        waiting = self._signaller.deliver(target, step)
        self.note("sent")
        return waiting

    def after_io_wait(self, timeout: float) -> None:
        """Record that an event has woken the loop, if it slept."""
        if timeout > 0:
            self.note("woken")

    def note(self, what: str) -> None:
        """Record the time; a later time replaces an earlier one."""
        self.noted[what] = time.perf_counter_ns()


async def main(tier: str) -> None:
    """Answer requests from stdin."""
    noting = Noting()
    async with ptykill.open_supervisor(containment=tier, signaller=noting) as supervisor:
        trio.lowlevel.add_instrument(noting)
        tell("ready")
        asked = lines()
        async for _ in asked:
            program = PROGRAMS["bash"]
            session = await supervisor.spawn(program.argv, env=ENVIRONMENT)
            await ready(PtykillSession(session), program)
            tell(session.pid)
            await anext(asked)
            noting.noted.clear()
            noting.note("called")
            verdict = await session.terminate(grace=GRACE)
            noting.note("answered")
            checked(verdict)
            tell(noting.noted)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
