"""Fixtures: supervisors, and both implementations of each platform-dependent part."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from typing import NoReturn

import pytest

import ptykill
from ptykill import Supervisor
from ptykill.system.containment import session_tier as session_module
from ptykill.system.containment import why_not
from ptykill.system.containment.portable_table import PortableTable
from ptykill.system.kernel import posix_spawn, syscalls

PLAN = ptykill.Plan.parse("HUP@session 300ms, KILL 15s")
"""A short grace, and a bound that is long enough for a slow machine."""
BEFORE = int(os.environ.get("PTYKILL_TEST_SESSIONS_BEFORE", "2"))
"""The sessions that each supervisor has before a test, since keepers are used again."""


@pytest.fixture
async def supervisor(tier: str) -> AsyncIterator[Supervisor]:
    """Open a supervisor, and leave its block after the test."""
    async with ptykill.open_supervisor(plan=PLAN, containment=tier) as supervisor:
        await have_sessions(supervisor)
        yield supervisor


async def have_sessions(supervisor: Supervisor) -> None:
    """Run some sessions to their ends, so that the next session gets a used keeper."""
    for _ in range(BEFORE if supervisor.containment != "session" else 0):
        session = await supervisor.spawn(["true"])
        verdict = await session.wait()
        assert verdict.empty
    supervisor._records._kept.clear()  # Tests read the list of sessions.


@pytest.fixture(params=["native", "stub", "keeper", "cgroup"])
def spawning(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way to spawn a leader; those of the session tier first."""
    way: str = request.param
    if way == "stub":
        monkeypatch.setattr(posix_spawn, "available", lambda: False)
    elif way == "native":
        if not posix_spawn.available():
            pytest.skip("the C library's posix_spawn lacks closefrom or fchdir")
    elif (reason := why_not(way)) is not None:
        pytest.skip(reason)
    return way


def refused(*_: object) -> NoReturn:
    """Raise the error of a system call that this system does not have."""
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.fixture(params=["pidfd", "portable"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The newer system calls of Linux, and the portable ones."""
    way: str = request.param
    if way == "portable":
        monkeypatch.setattr(syscalls, "pidfd_open", refused)
        monkeypatch.setattr(session_module, "open_table", PortableTable)
    return way
