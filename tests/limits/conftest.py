"""Supervisors whose sessions can have limits, where this machine lets them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import ptykill
from ptykill import Supervisor
from ptykill.errors import LimitsUnavailable
from ptykill.system.containment.limits_place import find_place
from tests.limits.own_kernel import IN_KERNEL
from tests.real.running_program import until

PLAN = ptykill.Plan.parse("HUP@session 300ms, KILL 15s")


@pytest.fixture
def place() -> Path:
    """Return the cgroup below which sessions with limits have theirs."""
    try:
        return Path(find_place(["memory", "pids", "cpu"]))
    except LimitsUnavailable as error:
        if IN_KERNEL in os.environ:
            raise
        pytest.skip(str(error))


@pytest.fixture
async def supervisor(place: Path) -> AsyncIterator[Supervisor]:
    """Open a supervisor, and see that it leaves no cgroup behind."""
    before = _cgroups(place)
    async with ptykill.open_supervisor(plan=PLAN, containment="cgroup") as supervisor:
        yield supervisor
    # A keeper that is getting ready for another session removes them a little later.
    await until(lambda: _cgroups(place) == before, "a cgroup was left behind")


def _cgroups(place: Path) -> set[Path]:
    return {*place.glob("**/ptykill-*")}
