"""Supervisors, and the two ways in which each platform-dependent part can be done."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

import ptykill
from ptykill import Supervisor
from ptykill.containment import session as session_module
from ptykill.containment.process_table import PortableTable
from ptykill.pty import spawn_native

PLAN = ptykill.Plan.parse("HUP@session 300ms, KILL 15s")
"""A short grace, and a bound that no machine is too slow for."""


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    """Open a supervisor, which is left when the test is over."""
    async with ptykill.open_supervisor(plan=PLAN) as supervisor:
        yield supervisor


@pytest.fixture(params=["native", "stub"])
def spawning(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take each way to spawn a leader in turn."""
    way: str = request.param
    if way == "stub":
        monkeypatch.setattr(spawn_native, "available", lambda: False)
    elif not spawn_native.available():
        pytest.skip("the C library's posix_spawn lacks closefrom or fchdir")
    return way


@pytest.fixture(params=["pidfd", "portable"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take the kernel's newer ways and those of any POSIX system in turn."""
    way: str = request.param
    if way == "portable":
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.setattr(session_module, "process_table", PortableTable)
    return way
