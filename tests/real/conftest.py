"""Supervisors, and the two ways in which each platform-dependent part can be done."""

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
"""A short grace, and a bound that no machine is too slow for."""
BEFORE = int(os.environ.get("PTYKILL_TEST_SESSIONS_BEFORE", "2"))
"""So many sessions each supervisor has had before a test begins: keepers are used again."""


@pytest.fixture
async def supervisor(tier: str) -> AsyncIterator[Supervisor]:
    """Open a supervisor, which is left when the test is over."""
    async with ptykill.open_supervisor(plan=PLAN, containment=tier) as supervisor:
        await have_sessions(supervisor)
        yield supervisor


async def have_sessions(supervisor: Supervisor) -> None:
    """Run some sessions to their ends, so that the next one's keeper has served before."""
    for _ in range(BEFORE if supervisor.containment != "session" else 0):
        session = await supervisor.spawn(["true"])
        verdict = await session.wait()
        assert verdict.empty
    supervisor._records._kept.clear()  # Tests ask which sessions there are.


@pytest.fixture(params=["native", "stub", "keeper", "cgroup"])
def spawning(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take each way to spawn a leader in turn; those of the session tier first."""
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
    """Be a system call that this system has not."""
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.fixture(params=["pidfd", "portable"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take the kernel's newer ways and those of any POSIX system in turn."""
    way: str = request.param
    if way == "portable":
        monkeypatch.setattr(syscalls, "pidfd_open", refused)
        monkeypatch.setattr(session_module, "open_table", PortableTable)
    return way
