"""Creates and DELETEs over HTTP: how many per second, and what each takes of the processors."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.cases.teardown import GRACE
from benchmarks.hosts import OTHER, START_BOUND, Limits, interleave
from benchmarks.http_clients import Act, Clients
from benchmarks.http_servers import DAEMON, NO_OP
from benchmarks.loads import IDLE, Load, Loads, idle
from benchmarks.processor import measured, process_time
from benchmarks.report import Result
from benchmarks.systems import ENVIRONMENT, PROGRAMS
from benchmarks.systems.ptykill_tier import ENDS
from benchmarks.worker import Worker
from ptykill.system.containment import STRONGEST_FIRST, why_not
from ptykill.testing import processes

__all__ = ["CLIENTS", "requests"]

CLIENTS = (1, 16)
SERVER = "server"
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Served:
    """The process that serves, its clients, and whether it spawns anything."""

    pid: int
    clients: Clients
    spawns: bool


def requests(count: int, limits: Limits) -> Result:
    """Have clients create sessions of sleep and DELETE them, each on its own connection."""
    with ExitStack() as stack:
        result = Loads(
            f"create and DELETE of a sleep over HTTP, {count} client{'s' * (count > 1)}",
            [],
            "pairs/s",
            {},
            {},
            tuple(Act),
            NO_OP,
            (SERVER,),
        )
        served: dict[str, Served] = {}
        kinds = contenders(limits.other, result.remarks)
        program = [sys.executable, "-m", "benchmarks.http_servers"]
        workers = {
            label: stack.enter_context(Worker([*program, *how])) for label, how in kinds.items()
        }
        for label, (kind, tier, _) in kinds.items():
            about = json.loads(workers[label].answer(START_BOUND))
            if "skipped" in about:
                result.remarks.append(f"{label}: skipped, {about['skipped']}")
                continue
            clients = Clients(about["port"], count, PROGRAMS["sleep"].argv, ENVIRONMENT)
            spawns = kind != NO_OP
            served[label] = Served(about["pid"], clients, spawns)
            result.names.append(label)
            result.what[label] = ENDS[tier] if spawns else NOTHING
        result.references = dict.fromkeys(served, NO_OP)

        def turn(label: str) -> Load:
            if label == IDLE:
                return idle(limits.turn)
            load, problems = asked(served[label], limits.turn)
            result.problems += [f"{label}: {each}" for each in problems]
            return load

        result.rounds = interleave([*result.names, IDLE], turn, limits, result)
    return result


def contenders(other: str, remarks: list[str]) -> dict[str, tuple[str, str, str]]:
    """Return each server's kind, its containment, and the interpreter whose ptykill it is."""
    found = {NO_OP: (NO_OP, "", sys.executable)}
    for tier in reversed(STRONGEST_FIRST):
        if (reason := why_not(tier)) is not None:
            remarks.append(f"{tier}: skipped, {reason}")
            continue
        found[f"{DAEMON}, {tier}"] = DAEMON, tier, sys.executable
        if other:
            found[f"{DAEMON}, {tier}, {OTHER}"] = DAEMON, tier, other
    return found


def asked(server: Served, seconds: float) -> tuple[Load, list[str]]:
    """Have the clients of a server work; return what was done, and what was wrong."""
    used = process_time(server.pid)
    (elapsed, times), machine = measured(lambda: server.clients.work(seconds, GRACE))
    used = process_time(server.pid) - used
    load = Load(len(times[Act.DELETE]), elapsed, machine, times, {SERVER: used})
    left = processes.names(processes.spawned(server.pid))
    return load, wrong(load, left, spawns=server.spawns)


def wrong(load: Load, left: Sequence[str], *, spawns: bool) -> list[str]:
    """Return what can't be true of sessions that were created and deleted.

    ``left`` are the server's descendants when all is answered, without its helpers.
    """
    problems = []
    if not load.done:
        problems.append("no DELETE was answered")
    created = len(load.times[Act.CREATE])
    if created != load.done:
        problems.append(f"{created} creates, and {load.done} DELETEs")
    if spawns and load.machine.forks < load.done:
        problems.append(f"{load.done} sessions, and only {load.machine.forks} processes were made")
    if left:
        problems.append(f"left when it was over: {'; '.join(left)}")
    return problems
