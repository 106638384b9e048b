"""Deadlines of real sessions: what is idle, and what holds while the host is stopped."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import ptykill
from ptykill import Deadlines, EndReason, Outcome, Session, State, Supervisor
from ptykill.system.containment.keeper_containment import KeeperContainment
from ptykill.system.kernel.procfs import stat
from ptykill.testing import processes
from tests.benchmarks.counted import beside, field
from tests.real import deadline_host
from tests.real.running_program import TIMEOUT, until
from tests.waiting import IDLE_LOOP

KEPT = pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)
EACH = pytest.mark.parametrize("tier", ["session", "keeper", "cgroup"], indirect=True)
PLAN = "HUP@session 300ms, KILL 15s"
QUIET = float(os.environ.get("PTYKILL_TEST_QUIET", "2"))
"""Seconds for which nothing is to wake up."""
SOON = 0.5
"""Seconds of a deadline of a host that stops itself."""
LOOKS = 4
"""A session that is not idle is watched for so many of its deadlines."""
BURNER = "ulimit -t 100; while :; do :; done"
COUNTER = "(until [ $((i += 1)) -gt 30000 ]; do :; done)"
SHORT_LIVED = f"until [ $((n += 1)) -gt 10000 ]; do {COUNTER}; done"
"""A loop of processes, each of which lives for less than the time between two looks."""
DOUBLE_FORK = f"(setsid sh -c '{BURNER}' &) ; exec sleep 60"


@EACH
async def test_a_sleep_is_idle_and_ends_with_the_reason(supervisor: Supervisor) -> None:
    """The deadline ends it by the plan, and the verdict says so."""
    session = await supervisor.spawn(["sleep", "60"], deadlines=Deadlines(idle=0.4))
    with trio.fail_after(TIMEOUT):
        verdict = await session.wait()
    assert (verdict.reason, verdict.outcome) == (EndReason.IDLE, Outcome.GRACEFUL)
    assert verdict.empty
    assert verdict.exit_status == ptykill.ExitStatus(signal=signal.SIGHUP)


@EACH
@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("a burner in the background", f"{BURNER} & exec sleep 60"),
        ("short-lived burners", f"({SHORT_LIVED}) & exec sleep 60"),
        ("a burner whose parent is idle", f"sh -c '{BURNER}'; :"),
    ],
)
async def test_who_computes_and_writes_nothing_is_not_idle(
    supervisor: Supervisor, name: str, script: str
) -> None:
    """Neither a process in the background, nor processes that no look finds alive."""
    await burns(supervisor, script)


@KEPT
async def test_a_daemon_that_computes_is_of_the_session(supervisor: Supervisor) -> None:
    """It has left the session, and its parent is dead: it is its keeper's child."""
    await burns(supervisor, DOUBLE_FORK)


async def burns(supervisor: Supervisor, script: str) -> None:
    """Check that a session is not idle; end it."""
    deadline = 0.5
    session = await supervisor.spawn(["sh", "-c", script], deadlines=Deadlines(idle=deadline))
    await trio.sleep(LOOKS * deadline)
    assert session.state is State.RUNNING
    await session.kill()
    assert session.end_reason is EndReason.REQUESTED


@EACH
async def test_a_burner_that_ends_leaves_an_idle_session(supervisor: Supervisor) -> None:
    """Its time was used before, and does not count for ever."""
    script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exec sleep 60"
    session = await supervisor.spawn(["sh", "-c", script], deadlines=Deadlines(idle=0.5))
    with trio.fail_after(TIMEOUT):
        assert (await session.wait()).reason is EndReason.IDLE


@EACH
async def test_a_program_that_echoes_is_not_idle_until_nobody_types(
    supervisor: Supervisor,
) -> None:
    """The terminal's echo is output, and what is typed is input."""
    session = await supervisor.spawn(["cat"], deadlines=Deadlines(idle=1.0))
    for _ in range(8):
        await trio.sleep(0.3)
        await session.send(b"x\n")
    with trio.fail_after(TIMEOUT):
        assert (await session.wait()).reason is EndReason.IDLE


@EACH
async def test_a_client_that_leaves_starts_the_detached_time(supervisor: Supervisor) -> None:
    """While one is attached it does not run."""
    session = await supervisor.spawn(["sleep", "60"], deadlines=Deadlines(detached=0.4))
    with session.attach():
        await trio.sleep(1)
        assert session.state is State.RUNNING
    with trio.fail_after(TIMEOUT):
        assert (await session.wait()).reason is EndReason.DETACHED


class StoppedHost:
    """A host, which stops itself as soon as its session runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.leader: int = self.line()["pid"]
        while stat(process.pid)[:1] != [b"T"]:
            time.sleep(0.001)

    def line(self) -> dict[str, Any]:
        """Return the next line that it has printed."""
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline())
        return line

    def resume(self) -> None:
        """Continue it."""
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it while it is stopped."""
        self._process.kill()

    def session_lives(self) -> bool:
        """Return whether the leader lives."""
        return stat(self.leader)[:1] not in ([], [b"Z"])


@contextmanager
def stopped_host(
    tier: str, deadlines: dict[str, float], *command: str, plan: str = PLAN
) -> Iterator[StoppedHost]:
    """Run a host, and stop it."""
    program = [sys.executable, deadline_host.__file__, tier, plan, json.dumps(deadlines)]
    with subprocess.Popen(
        [*program, json.dumps(command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield StoppedHost(process)
        finally:
            process.kill()


async def ended(host: StoppedHost) -> float:
    """Wait until the session of a stopped host is over; return the seconds."""
    began = time.monotonic()
    await until(lambda: not host.session_lives(), "the session's end")
    return time.monotonic() - began


@KEPT
@pytest.mark.parametrize("name", ["lifetime", "idle", "detached"])
async def test_the_keeper_ends_the_session_of_a_stopped_host(tier: str, name: str) -> None:
    """And the host has the right reason when it is continued; the next session has no deadline."""
    with stopped_host(tier, {name: SOON}, "sleep", "60") as host:
        await ended(host)
        host.resume()
        told = host.line()
        assert told == {"empty": True, "reason": name, "outcome": "graceful", "deliveries": []}
        assert host.line() == {"state": "running"}


@KEPT
async def test_the_keeper_carries_out_the_whole_plan(tier: str, mark: str) -> None:
    """A session that is deaf is killed, its jobs and daemons too."""
    script = f"trap '' HUP TERM; (setsid sleep 60 &) ; {IDLE_LOOP}"
    with stopped_host(tier, {"lifetime": SOON}, "sh", "-c", script) as host:
        await ended(host)
        await until(lambda: not sleeping(mark), "nothing of it is left")
        host.resume()
        told = host.line()
        assert (told["empty"], told["reason"], told["outcome"]) == (True, "lifetime", "killed")


def sleeping(mark: str) -> list[str]:
    """Describe the living processes of a session that sleep(1)."""
    return [each for each in processes.names(processes.marked(mark)) if "sleep" in each]


@KEPT
async def test_a_host_that_is_continued_takes_over(tier: str, tmp_path: Path) -> None:
    """In the middle of the keeper's plan: the program hears one SIGHUP, and has its grace."""
    heard = tmp_path / "heard"
    script = f"trap 'echo >> {heard}' HUP; {IDLE_LOOP}"
    plan = "HUP@session 3s, KILL 15s"
    with stopped_host(tier, {"lifetime": SOON}, "sh", "-c", script, plan=plan) as host:
        await until(heard.exists, "its SIGHUP")
        host.resume()
        told = host.line()
        assert (told["empty"], told["reason"], told["outcome"]) == (True, "lifetime", "killed")
        assert told["deliveries"] in ([], ["KILL@all"])
        assert heard.read_text() == "\n"


@KEPT
async def test_a_stopped_host_that_dies_leaves_nothing(tier: str, tmp_path: Path) -> None:
    """The keeper goes on with the plan that it has begun."""
    heard = tmp_path / "heard"
    script = f"trap 'echo >> {heard}' HUP; {IDLE_LOOP}"
    plan = "HUP@session 1s, KILL 15s"
    with stopped_host(tier, {"lifetime": SOON}, "sh", "-c", script, plan=plan) as host:
        await until(heard.exists, "its SIGHUP")
        host.kill()
        assert await ended(host) < TIMEOUT


@KEPT
async def test_a_burner_of_a_stopped_host_is_not_idle(tier: str) -> None:
    """The keeper looks at processor time by itself."""
    with stopped_host(tier, {"idle": 0.5}, "sh", "-c", f"{BURNER} & exec sleep 60") as host:
        await trio.sleep(4)
        assert host.session_lives()


async def test_no_process_holds_the_deadlines_of_a_stopped_host_without_keeper() -> None:
    """In the session tier the deadline is acted on when the host is continued."""
    with stopped_host("session", {"lifetime": 0.4}, "sleep", "60") as host:
        await trio.sleep(2.5)
        assert host.session_lives()
        host.resume()
        assert host.line()["reason"] == "lifetime"


@KEPT
async def test_the_keeper_does_not_act_while_the_host_runs(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """A plan that is longer than the keeper's delay is the host's alone: one SIGHUP."""
    heard = tmp_path / "heard"
    script = f"trap 'echo >> {heard}' HUP; {IDLE_LOOP}"
    session = await supervisor.spawn(
        ["sh", "-c", script], deadlines=Deadlines(lifetime=0.5), plan="HUP@session 2500ms, KILL 15s"
    )
    with trio.fail_after(TIMEOUT):
        verdict = await session.wait()
    assert [each.what for each in verdict.deliveries] == ["HUP@session", "KILL@all"]
    assert heard.read_text() == "\n"


@KEPT
@pytest.mark.parametrize("script", ["exec sleep 600", "sleep 600 & exec sleep 601"])
async def test_an_exit_is_seen_that_is_told_while_a_deadline_is_checked(
    supervisor: Supervisor, script: str
) -> None:
    """The check reads what the keeper has sent, and the session's task waits for the same."""
    session = await supervisor.spawn(["sh", "-c", script], deadlines=Deadlines(lifetime=3600))
    await until(lambda: field(session.pid, "Name") == "sleep", "sleep")
    containment = session._driver.containment
    assert isinstance(containment, KeeperContainment)
    os.kill(session.pid, signal.SIGKILL)
    # No other task runs from here to the check, so the loop does not see the message before it.
    assert select.select([containment._keeper.channel], [], [], TIMEOUT)[0]
    session._deadlines._do_due(trio.current_time())
    with trio.fail_after(TIMEOUT):
        verdict = await session.wait()
    assert (verdict.reason, verdict.empty) == (EndReason.EXITED, True)


@EACH
async def test_who_has_computed_before_there_was_an_idle_deadline_is_not_idle(
    supervisor: Supervisor,
) -> None:
    """Nobody has looked before, so it counts from now on; and a session that has slept is idle."""
    burner = await supervisor.spawn(["sh", "-c", BURNER])
    sleeper = await supervisor.spawn(["sleep", "60"])
    await trio.sleep(1)
    for each in burner, sleeper:
        each.set_deadlines(Deadlines(idle=0.5))
    with trio.fail_after(TIMEOUT):
        assert (await sleeper.wait()).reason is EndReason.IDLE
    assert burner.state is State.RUNNING


@KEPT
async def test_a_keeper_that_is_used_again_has_no_deadline_of_before(
    supervisor: Supervisor,
) -> None:
    """Nor does a change come through that was meant for the session before."""
    first = await supervisor.spawn(["sh", "-c", "read _"], deadlines=Deadlines(lifetime=1.0))
    keeper = int(stat(first.pid)[1])
    await first.send(b"\n")
    await first.wait()
    second = await supervisor.spawn(["sleep", "60"])
    assert int(stat(second.pid)[1]) == keeper
    await trio.sleep(2.5)
    assert second.state is State.RUNNING


@pytest.mark.parametrize("tier", ["keeper"], indirect=True)
async def test_sessions_with_deadlines_wake_nothing(tier: str) -> None:
    """Neither the host, nor the warden, nor a keeper, while none is due: 64 of them."""
    deadlines = Deadlines(lifetime=3600, idle=1800, detached=900)
    async with ptykill.open_supervisor(
        containment=tier, plan=ptykill.KILL_NOW, deadlines=deadlines
    ) as supervisor:
        sessions: list[Session] = []
        for _ in range(64):
            session = await supervisor.spawn(["sleep", "60"])
            await until(lambda: field(session.pid, "Name") == "sleep", "sleep")  # noqa: B023
            sessions.append(session)
        await trio.sleep(0.5)
        helpers = beside(os.getpid())
        assert len(helpers) > len(sessions)

        def woken() -> list[int]:
            return [int(field(pid, "voluntary_ctxt_switches")) for pid in helpers]

        before, own = woken(), own_switches()
        await trio.sleep(QUIET)
        assert woken() == before
        assert own_switches() - own <= 1  # This test's own sleep.
        assert all(each.state is State.RUNNING for each in sessions)


def own_switches() -> int:
    """Return how often this thread has gone to sleep by itself."""
    return int(field(os.getpid(), "voluntary_ctxt_switches"))
