"""A host that stops itself when its session runs: ``deadline_host.py TIER PLAN DEADLINES COMMAND``.

The last two are in JSON. It prints a line of JSON when its session runs, and stops. When it has
been continued, it prints one when the session is over, and one when another session, which a keeper
that has served before may have, has lived on without deadlines for a while. It ends with the end of
its input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial

import trio

import ptykill

LATER = 0.5
"""Seconds for which the other session is watched: longer than any deadline of the tests."""


async def main(tier: str, plan: str, deadlines: str, command: str) -> None:
    """Run one session until it is over, and another one after it."""
    say = partial(print, flush=True)
    async with ptykill.open_supervisor(containment=tier, plan=plan) as supervisor:
        session = await supervisor.spawn(
            json.loads(command), deadlines=ptykill.Deadlines(**json.loads(deadlines))
        )
        say(json.dumps({"pid": session.pid}))
        # Here, and not by the test: a busy machine would let the deadline pass before.
        os.kill(os.getpid(), signal.SIGSTOP)
        verdict = await session.wait()
        about = {"empty": verdict.empty, "reason": verdict.reason, "outcome": verdict.outcome}
        say(json.dumps(about | {"deliveries": [each.what for each in verdict.deliveries]}))
        other = await supervisor.spawn(["sleep", "60"])
        await trio.sleep(LATER)
        say(json.dumps({"state": other.state}))
        await trio.to_thread.run_sync(sys.stdin.read)


if __name__ == "__main__":
    trio.run(partial(main, *sys.argv[1:]))
