"""Limits of whole sessions, set and enforced by the kernel; skipped where it has no controllers."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

import ptykill
from ptykill import Attributes, Session, Supervisor
from ptykill.errors import LimitAboveCap, LimitsUnavailable, SpawnError
from ptykill.rules.verdict import Caveat, Outcome
from ptykill.system.containment.limits_place import find_place
from ptykill.system.kernel import cgroup_place
from ptykill.system.kernel.procfs import parent
from tests.limits.conftest import PLAN
from tests.real.running_program import until

MIB = 1 << 20
SHOW = """
here=/sys/fs/cgroup$(sed -n s/0:://p /proc/self/cgroup)
for each in memory.max memory.swap.max memory.oom.group pids.max cpu.max; do
    echo $each=$(cat $here/$each 2>/dev/null)
done
"""
HOG = f"{sys.executable} -S -c 'x = b\"x\" * (200 << 20)'"


def inside_of_limit(place: Path, pids_max: str) -> list[int]:
    """Return the processes in the cgroups that have a limit of processes."""
    limited = [each.parent for each in place.glob("**/pids.max") if each.read_text() == pids_max]
    return [int(pid) for each in limited for pid in (each / "cgroup.procs").read_text().split()]


async def output_of(session: Session) -> str:
    """Return all that a session writes."""
    data = b""
    while more := await session.receive():
        data += more
    return data.decode()


async def test_limits_are_set_before_the_first_instruction(supervisor: Supervisor) -> None:
    """The leader finds each limit in its own cgroup; with one of memory it has no swap."""
    limits = Attributes(memory_max=64 * MIB, pids_max=12, cpu_max=1.5)
    session = await supervisor.spawn(["/bin/sh", "-c", SHOW], attributes=limits)
    said = (await output_of(session)).split("\r\n")
    assert f"memory.max={64 * MIB}" in said
    assert "memory.oom.group=1" in said
    assert "memory.swap.max=0" in said
    assert "pids.max=12" in said
    assert "cpu.max=150000 100000" in said
    assert (await session.wait()).empty


async def test_a_session_without_limits_has_none(supervisor: Supervisor) -> None:
    """Neither before nor after a session with limits has its keeper's next one any."""
    for attributes in None, Attributes(pids_max=5), None:
        session = await supervisor.spawn(["/bin/sh", "-c", SHOW], attributes=attributes)
        said = await output_of(session)
        assert ("pids.max=5" in said) is (attributes is not None)
        assert (await session.wait()).empty


async def test_out_of_memory_ends_all_of_the_session(supervisor: Supervisor) -> None:
    """The kernel kills the hog, the shell that waits for it, and a job; the verdict says so."""
    session = await supervisor.spawn(
        ["/bin/sh", "-c", f"sleep 60 & {HOG}; echo survived"],
        attributes=Attributes(memory_max=48 * MIB),
    )
    verdict = await session.wait()
    assert "survived" not in await output_of(session)
    assert verdict.empty
    assert verdict.outcome in (Outcome.EXITED, Outcome.GRACEFUL)  # The last may be still dying.
    assert verdict.exit_status is not None
    assert verdict.exit_status.signal == signal.SIGKILL
    assert verdict.exit_status.oom_killed
    usage = verdict.usage
    assert usage.oom_kills is not None
    assert usage.oom_kills >= 3
    assert usage.peak_memory is not None
    assert 40 * MIB < usage.peak_memory <= 48 * MIB
    assert session.usage() == usage


async def test_a_session_that_was_killed_has_not_run_out_of_memory(supervisor: Supervisor) -> None:
    """SIGKILL alone is not the out-of-memory killer's."""
    session = await supervisor.spawn(["sleep", "60"], attributes=Attributes(memory_max=48 * MIB))
    verdict = await session.kill()
    assert verdict.exit_status is not None
    assert not verdict.exit_status.oom_killed
    assert verdict.usage.oom_kills == 0


async def test_a_fork_bomb_does_no_harm_to_its_neighbour(supervisor: Supervisor) -> None:
    """The neighbour's kill keeps to its plan, the bomb is ended, and the verdict has its forks."""
    forks = "until [ $((n += 1)) -gt 600 ]; do sleep 20 & sleep 0.1; done"
    bomb = f"for i in 1 2 3 4 5 6 7 8 9; do ({forks}) & done; wait"
    neighbour = await supervisor.spawn(["sleep", "60"])
    bombs = await supervisor.spawn(["/bin/sh", "-c", bomb], attributes=Attributes(pids_max=25))
    await until(lambda: (bombs.usage().forks_refused or 0) > 0, "no fork was refused")
    verdict = await neighbour.terminate()
    assert verdict.empty
    assert verdict.took < PLAN.longest
    verdict = await bombs.kill()
    assert verdict.empty
    assert verdict.usage.forks_refused
    assert verdict.usage.peak_tasks is None or 20 <= verdict.usage.peak_tasks <= 25


async def test_processor_time_is_limited_and_counted(supervisor: Supervisor) -> None:
    """A session that burns a tenth of a processor has been held back, also its daemon."""
    burn = "ulimit -t 100; (while :; do :; done) & setsid sh -c 'while :; do :; done' & wait"
    session = await supervisor.spawn(
        ["/bin/sh", "-c", burn], attributes=Attributes(cpu_max=0.1, pids_max=50)
    )
    began = trio.current_time()
    await until(lambda: (session.usage().throttled_seconds or 0) > 0.5, "nothing was held back")
    verdict = await session.kill()
    took = trio.current_time() - began
    assert verdict.empty
    assert verdict.usage.cpu_seconds is not None
    assert 0.02 < verdict.usage.cpu_seconds < 0.2 * took + 0.5
    assert verdict.usage.throttled_seconds is not None


async def test_a_keepers_next_session_begins_at_zero(supervisor: Supervisor) -> None:
    """Its counters are its own, though the keeper is the same."""
    keepers = set()
    for program, refused in (
        ("for i in 1 2 3 4 5 6; do sleep 1 & done; wait", True),
        ("exec sleep 60", False),
        ("exec sleep 61", False),
        ("exec sleep 62", False),
    ):
        session = await supervisor.spawn(
            ["/bin/sh", "-c", program], attributes=Attributes(pids_max=3)
        )
        keepers.add(parent(session.pid))
        if refused:
            await session.wait()
        verdict = await session.kill()
        assert bool(verdict.usage.forks_refused) is refused
    assert len(keepers) < 4


async def test_the_keeper_is_outside(supervisor: Supervisor, place: Path) -> None:
    """It is neither counted nor killed with its session."""
    session = await supervisor.spawn(["sleep", "60"], attributes=Attributes(pids_max=1))
    assert inside_of_limit(place, "1\n") == [session.pid]
    assert (await session.kill()).empty


async def test_a_program_that_is_not_found_leaves_nothing(supervisor: Supervisor) -> None:
    """The spawn fails as it does without limits; the fixture looks for its cgroup."""
    for _ in range(2):
        with pytest.raises(SpawnError) as caught:
            await supervisor.spawn(["/nowhere"], attributes=Attributes(pids_max=5))
        assert caught.value.code == "COMMAND_NOT_FOUND"


async def test_a_session_whose_keeper_is_killed_is_ended(supervisor: Supervisor) -> None:
    """What its cgroup has counted is known without the keeper."""
    session = await supervisor.spawn(
        ["/bin/sh", "-c", "setsid sleep 60 & wait"], attributes=Attributes(pids_max=9)
    )
    keeper = parent(session.pid)
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    verdict = await session.wait()
    assert verdict.empty
    assert Caveat.KEEPER_LOST in verdict.caveats
    assert verdict.usage.forks_refused == 0


async def test_the_operators_caps_hold(place: Path) -> None:
    """They are the limits of a spawn that names none; it can have less, and not more."""
    del place
    async with ptykill.open_supervisor(plan=PLAN, memory_max=64 * MIB, pids_max=9) as supervisor:
        assert supervisor.containment == "cgroup"
        for attributes, expected in (
            (None, (64 * MIB, 9)),
            (Attributes(memory_max=32 * MIB), (32 * MIB, 9)),
            (Attributes(memory_max=64 * MIB, pids_max=3), (64 * MIB, 3)),
        ):
            session = await supervisor.spawn(["/bin/sh", "-c", SHOW], attributes=attributes)
            said = await output_of(session)
            assert f"memory.max={expected[0]}\r\n" in said
            assert f"pids.max={expected[1]}\r\n" in said
        with pytest.raises(LimitAboveCap, match=r"pids_max is 10, and the cap here is 9"):
            await supervisor.spawn(["true"], attributes=Attributes(pids_max=10))


async def test_run_has_limits(place: Path) -> None:
    """The exit status of `ptykill run` is that of a program that ran out of memory."""
    del place
    options = ["--memory-max", "32M", "--pids-max=9", "--containment", "cgroup"]
    command = [sys.executable, "-m", "ptykill", "run", "-n", *options, "--", "/bin/sh", "-c", HOG]
    done = await trio.run_process(command, check=False, capture_stdout=True, capture_stderr=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGKILL, b"")


async def test_a_host_whose_cgroup_can_have_none_is_told_why(place: Path) -> None:
    """A cgroup with processes gives no controller to those below; one may not have it itself."""
    own = Path(cgroup_place.own_cgroup() or "")
    (occupied := place / f"occupied-{os.getpid()}").mkdir()
    (inner := occupied / "inner").mkdir()
    try:
        (inner / "cgroup.procs").write_text("0")
        (place / "cgroup.subtree_control").write_text("-cpu")
        with pytest.raises(LimitsUnavailable, match=r"the cpu controller is missing.*above"):
            find_place(["cpu"])
        (place / "cgroup.subtree_control").write_text("+cpu")
        helper = await trio.lowlevel.open_process(["sleep", "60"])
        (occupied / "cgroup.procs").write_text(str(helper.pid))
        with pytest.raises(LimitsUnavailable, match=r"memory.*occupied.* has processes"):
            find_place(["memory"])
        helper.kill()
        await helper.wait()
        assert find_place(["memory"]) == str(occupied)
    finally:
        (own / "cgroup.procs").write_text("0")
        inner.rmdir()
        occupied.rmdir()
