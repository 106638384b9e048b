"""A host that counts what its sessions cost: ``counted.py TIER [--kills-only]``, in JSON.

Times are nowhere in it: what is counted is the same on a slow machine.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

import ptykill

__all__ = ["BEGIN", "END"]

KILLS, DEAF_KILLS, IDLE = 6, 2, 5
GRACE = 0.4
"""Seconds that those are given that do not heed it."""
DEAF = "trap '' HUP; echo ready; exec sleep 60"
SETTLE = 0.05
"""Seconds in which what a spawn leaves to be done is done."""
WATCH, OWN = 1.0, 1
"""Seconds for which idleness is watched, and how often the host sleeps in order to observer."""
BEGIN, END = "/ptykill-counts-from-here", "/ptykill-counts-until-here"
"""What does not exist, and is looked for: marks in a trace of system calls."""

scans: list[str] = []


def _is_proc(folder: object) -> bool:
    """Return whether a folder, by its name or by a descriptor, is /proc itself."""
    if isinstance(folder, int):
        return os.path.samestat(os.fstat(folder), Path("/proc").stat())
    return folder in {"/proc", b"/proc"}


def note(event: str, arguments: tuple[object, ...]) -> None:
    """Note a look through the process table."""
    if event in {"os.listdir", "os.scandir"} and _is_proc(arguments[0]):
        scans.append(event)


def slept() -> int:
    """Return how many voluntary context switches this process has made."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def slept_beside() -> int:
    """Return the same of all keepers and wardens below this process."""
    return sum(int(field(pid, "voluntary_ctxt_switches")) for pid in beside(os.getpid()))


def beside(pid: int) -> list[int]:
    """Return the keepers and wardens below a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = [int(each) for each in children if field(int(each), "Name").startswith("ptykill-")]
    return found + [each for child in found for each in beside(child)]


def field(pid: int, name: str) -> str:
    """Return a line of a process's status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    raise LookupError(name)


async def up(supervisor: ptykill.Supervisor, command: list[str]) -> ptykill.Session:
    """Return a session whose program has been executed, when all is quiet."""
    session = await supervisor.spawn(command)
    until = time.monotonic() + 30
    while field(session.pid, "Name") != "sleep":
        assert time.monotonic() < until
        await trio.sleep(0.002)
    await trio.sleep(SETTLE)
    return session


async def counted(session: ptykill.Session, grace: float) -> dict[str, int]:
    """End a session, and count."""
    parent = int(field(session.pid, "PPid"))
    looked, before = len(scans), slept()
    os.access(BEGIN, os.F_OK)
    verdict = await session.terminate(grace=grace)
    os.access(END, os.F_OK)
    counts = {"scans": len(scans) - looked, "sleeps": slept() - before, "parent": parent}
    assert verdict.empty, verdict
    return counts


async def main(tier: str, *, kills_only: bool) -> dict[str, Any]:
    """Count kills, and then what happens while nothing does."""
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        kills = [await counted(await up(supervisor, ["sleep", "60"]), 30.0) for _ in range(KILLS)]
        if kills_only:
            return {"host": os.getpid(), "kills": kills}
        deaf = [
            await counted(await up(supervisor, ["sh", "-c", DEAF]), GRACE)
            for _ in range(DEAF_KILLS)
        ]
        for _ in range(IDLE):
            await up(supervisor, ["sleep", "60"])
        await trio.sleep(SETTLE)
        own, others = slept(), slept_beside()
        await trio.sleep(WATCH)
        idle = {"host": slept() - own - OWN, "beside": slept_beside() - others}
    return {"host": os.getpid(), "kills": kills, "deaf": deaf, "idle": idle}


if __name__ == "__main__":
    trio.run(trio.sleep, 0)
    hook: Callable[[str, tuple[object, ...]], None] = note
    sys.addaudithook(hook)
    told = trio.run(partial(main, kills_only="--kills-only" in sys.argv), sys.argv[1])
    sys.stdout.write(json.dumps(told))
