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
    assert _cgroups(place) == before


def _cgroups(place: Path) -> set[Path]:
    return {*place.glob("**/ptykill-*")}
