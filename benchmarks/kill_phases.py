"""When a kill passes from one to the next: ``python -m benchmarks.kill_phases TIER``.

Each line on stdin asks for one ``bash -i``: it is prepared, and its pid told; the next line has it
ended, and the times of the stages told. They are taken where anybody can take them: a signaller of
one's own, and trio's instruments.
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
    """A signaller that notes when it is called and has done it, and when the loop sleeps."""

    def __init__(self) -> None:
        self.noted: dict[str, int] = {}
        self._signaller = ptykill.StandardSignaller()

    def deliver(self, target: ptykill.Target, step: ptykill.Step) -> Awaitable[None] | None:
        """Deliver a step as usual."""
        self.note("asked")
        waiting = self._signaller.deliver(target, step)
        self.note("sent")
        return waiting

    def after_io_wait(self, timeout: float) -> None:
        """The loop has been told of something, if it had slept."""
        if timeout > 0:
            self.note("woken")

    def note(self, what: str) -> None:
        """Note the time; of what happens more than once, the last."""
        self.noted[what] = time.perf_counter_ns()


async def main(tier: str) -> None:
    """Serve stdin."""
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
