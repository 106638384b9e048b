"""What sessions have used, in each containment; no figure is given that is not known."""

from __future__ import annotations

import sys
from functools import partial

import pytest

import ptykill
from ptykill import Attributes, Session, Usage
from ptykill.errors import LimitsUnavailable
from ptykill.system.containment.limits_place import why_no_limits
from tests.limits.conftest import PLAN
from tests.real.running_program import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processor time is read in /proc")

BURN = f"{sys.executable} -IS -c 'import time\nwhile time.process_time() < 0.3: pass'"


@pytest.mark.parametrize("escapes", [False, True])
async def test_processor_time_is_the_whole_sessions(tier: str, escapes: bool) -> None:  # noqa: FBT001 - a parameter
    """A daemon's time counts where there is a keeper; each session's is its own."""
    async with ptykill.open_supervisor(plan=PLAN, containment=tier) as supervisor:
        for program, burns in ((BURN, True), ("exit 3", False), (BURN, True)):
            command = f"(setsid {program} &) ; sleep 60" if escapes else f"{program}; exit 3"
            session = await supervisor.spawn(["/bin/sh", "-c", command])
            if escapes and burns and tier != "session":
                await until(partial(_has_burnt, session), "no time was used")
            verdict = await (session.terminate() if escapes else session.wait())
            assert verdict.usage.cpu_seconds is not None
            counted = burns and not (escapes and tier == "session")
            assert (0.25 <= verdict.usage.cpu_seconds < 2) is counted
            assert session.usage() == verdict.usage


def _has_burnt(session: Session) -> bool:
    return (session.usage().cpu_seconds or 0) > 0.25


async def test_the_largest_process_is_known_if_it_is_large(tier: str) -> None:
    """A small one can't be told from the one that has started it, and so is not invented."""
    large = f"{sys.executable} -IS -c 'x = bytearray(100 << 20)'"
    async with ptykill.open_supervisor(plan=PLAN, containment=tier) as supervisor:
        for program, known in ((large, tier != "session"), ("exit", False)):
            session = await supervisor.spawn(["/bin/sh", "-c", f"{program}; exit"])
            usage = (await session.wait()).usage
            assert (usage.largest_process is not None) is known
            if usage.largest_process is not None:
                assert 100 << 20 <= usage.largest_process < 200 << 20


async def test_what_nobody_counts_is_none(tier: str) -> None:
    """Without limits there is no count of memory, processes and kills."""
    async with ptykill.open_supervisor(plan=PLAN, containment=tier) as supervisor:
        session = await supervisor.spawn(["sleep", "60"])
        for usage in session.usage(), (await session.kill()).usage:
            assert usage.peak_memory is usage.peak_tasks is usage.oom_kills is None
            assert usage.forks_refused is usage.throttled_seconds is None


async def test_limits_that_nobody_enforces_are_refused(tier: str) -> None:
    """The error names the controllers, and nothing is started; later spawns are as ever."""
    if tier == "cgroup" and not why_no_limits():
        pytest.skip("they are enforced here")
    async with ptykill.open_supervisor(plan=PLAN, containment=tier) as supervisor:
        for attributes, name in (
            (Attributes(memory_max=1 << 26), "memory"),
            (Attributes(pids_max=10), "pids"),
            (Attributes(cpu_max=1), "cpu"),
        ):
            with pytest.raises(LimitsUnavailable, match=f"the {name} controller is missing: ") as e:
                await supervisor.spawn(["true"], attributes=attributes)
            assert e.value.controllers == (name,)
            assert e.value.code == "LIMITS_UNAVAILABLE"
        assert not supervisor.sessions
        session = await supervisor.spawn(["true"])
        assert (await session.wait()).empty
    with pytest.raises(LimitsUnavailable, match="the pids controller is missing: "):
        async with ptykill.open_supervisor(containment=tier, pids_max=10):
            pass


def test_usage_adds_up() -> None:
    """Both parts of processor time are needed for the sum."""
    assert Usage().cpu_seconds is None
    assert Usage(user_seconds=1.5).cpu_seconds is None
    assert Usage(user_seconds=1.5, system_seconds=0.25).cpu_seconds == 1.75
    assert Usage(oom_kills=0, peak_memory=7).known() == {"oom_kills": 0, "peak_memory": 7}
