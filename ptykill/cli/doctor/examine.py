"""Find out what this machine offers for the containment of sessions.

`examine` looks at the kernel, the limits and ``/proc``. `try_tier` has a tier spawn a session, from
which a daemon escapes, and end it.
"""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import trio

from ptykill.engine.opening import open_supervisor
from ptykill.errors import ContainmentUnavailable, PtykillError
from ptykill.rules.plan import Plan
from ptykill.system.containment import why_not
from ptykill.system.containment.limits_place import why_no_limits
from ptykill.system.kernel import cgroup_place
from ptykill.system.kernel.last_pid import LastPid
from ptykill.system.kernel.limited_cgroup import CONTROLLERS
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import read_file

__all__ = ["Finding", "Trial", "examine", "taken_by_auto", "try_tier"]

_TIMEOUT = 60.0
"""Time-out for a trial, in seconds."""
_PLAN = Plan.parse("HUP@session 50ms, KILL 5s")
_JOB = "sleep 30 & echo up; sleep 30"
_ESCAPE = f"(setsid sh -c 'sleep 30 & sleep 30' &); sleep 0.05; {_JOB}"
"""Starts a daemon that leaves the session and loses its parent. All of it ends by itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One fact about this machine: its subject, what was found, what is wrong ("" if nothing)."""

    what: str
    seen: str
    amiss: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """The trial of a tier: the seconds of its parts, or what the tier lacks.

    ``end`` does not count the grace. ``ended`` is True if the session was ended together with the
    escaped daemon. ``holds`` is False for the session containment, which need not end the daemon.
    """

    tier: str
    lacking: str = ""
    holds: bool = True
    ended: bool = False
    open: float = 0.0
    spawn: float = 0.0
    end: float = 0.0


def examine() -> Iterator[Finding]:
    """Look at what the tiers need."""
    yield Finding("kernel", f"{platform.system()} {platform.release()}")
    yield Finding("python", f"{platform.python_version()}, {sys.executable or 'no interpreter'}")
    yield _proc()
    yield _last_pid()
    yield _cgroups()
    yield _session_limits()
    yield from _limits()


async def try_tier(name: str) -> Trial:
    """Open a tier, have a daemon escape from a session in it, and end the session."""
    holds = name != "session"
    lacking = why_not(name)
    if lacking is not None:
        return Trial(name, lacking, holds)
    clock = time.perf_counter
    began = clock()
    try:
        with trio.fail_after(_TIMEOUT):
            async with open_supervisor(containment=name, plan=_PLAN) as supervisor:
                opened = clock()
                session = await supervisor.spawn(["/bin/sh", "-c", _ESCAPE if holds else _JOB])
                spawned = clock()
                await session.receive()
                asked = clock()
                verdict = await session.terminate()
                took = clock() - asked - (_PLAN.grace if verdict.kill else 0.0)
    except (PtykillError, OSError, trio.TooSlowError) as error:
        return Trial(name, f"{type(error).__name__}: {error}", holds)
    ended = verdict.empty and not (holds and verdict.caveats)
    return Trial(name, "", holds, ended, opened - began, spawned - opened, took)


async def taken_by_auto() -> str:
    """Return the name of the containment that ``auto`` takes; "" if none works."""
    try:
        async with open_supervisor() as supervisor:
            return supervisor.containment
    except ContainmentUnavailable:
        return ""


def _proc() -> Finding:
    lacking = proc.find()
    if lacking is not None:
        return Finding("/proc", "does not show our processes", lacking)
    if proc.hides:
        return Finding("/proc", "hides other users' processes (hidepid)", "also those in a session")
    if not proc.tells_children:
        return Finding("/proc", "lists no children", "every scan reads the whole process table")
    if not proc.at_proc:
        return Finding("/proc", "not mounted, or of another pid namespace: we mount our own")
    return Finding("/proc", "lists children, shows all processes")


def _last_pid() -> Finding:
    with closing(LastPid()) as last_pid:
        known = last_pid.known
    if known:
        return Finding("last pid", "known, by ns_last_pid")
    return Finding("last pid", "not known", "every teardown scans before its first signal")


def _cgroups() -> Finding:
    place = cgroup_place.own_cgroup()
    if place is None:
        return Finding("cgroup v2", "not mounted")
    lacking = cgroup_place.why_unusable()
    if lacking is not None:
        return Finding("cgroup v2", place, lacking)
    memory = b"memory" in read_file(f"{place}/cgroup.subtree_control").split()
    oom = "reported" if memory else "not reported: the memory controller is not enabled below it"
    return Finding("cgroup v2", f"{place}; out-of-memory kills are {oom}")


def _session_limits() -> Finding:
    lacking = why_no_limits()
    possible = [each for each in CONTROLLERS if each not in lacking]
    seen = f"of {', '.join(possible)}" if possible else "none can be had"
    reasons = {
        why: ", ".join(name for name in lacking if lacking[name] == why) for why in lacking.values()
    }
    amiss = "; ".join(f"{names}: {why}" for why, names in reasons.items())
    return Finding("limits of sessions", seen, amiss)


def _limits() -> Iterator[Finding]:
    used, most = (_number(f"/proc/sys/kernel/pty/{name}") for name in ("nr", "max"))
    if used is not None and most is not None:
        few = "fewer than 64 are left" if most - used < 64 else ""
        yield Finding("terminals", f"{used} of {most} in use", few)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = "a session takes 4: raise the soft limit" if 0 <= soft < 1024 else ""
    yield Finding("descriptors", f"{_limit(soft)}, could be {_limit(hard)}", few)
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    few = "a session takes 2 besides its programs" if 0 <= soft < 512 else ""
    yield Finding("processes of this user", f"{_limit(soft)}, could be {_limit(hard)}", few)
    numbers = _number("/proc/sys/kernel/pid_max")
    if numbers is not None:
        yield Finding("process numbers", str(numbers))


def _number(path: str) -> int | None:
    text = read_file(path)
    return int(text) if text else None


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)
