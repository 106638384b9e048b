"""The keeper, the warden or their sockets fail: the session is ended all the same."""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio

import ptykill
from ptykill import Caveat, ExitStatus, Outcome, Supervisor, Verdict
from ptykill.system.containment.channel import connected
from ptykill.system.containment.keeper_containment import KeeperContainment
from ptykill.system.containment.keeper_handle import KeeperHandle
from ptykill.system.containment.live_keeper import LiveKeeper
from ptykill.system.keeper.start import start_beside
from ptykill.system.kernel import cgroup_place
from ptykill.system.kernel.members import members
from ptykill.system.kernel.pidfd import Pidfd
from ptykill.testing import processes
from ptykill.testing.adversaries import find, python
from tests.real.running_program import SLACK, TIMEOUT, RunningProgram, start, until

pytestmark = pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)

ESCAPEES = python(
    "escapees",
    "is deaf, and so are its child, a daemon, and a daemon's child in a session of its own",
    """
    def daemon():
        os.setsid()
        fork(lambda: (deaf(), fork(lambda: (os.setsid(), touch("ready"), idle())), idle()))
    deaf()
    fork(idle)
    os.waitpid(fork(daemon), 0)
    idle()
    """,
    Outcome.KILLED,
    ExitStatus(signal=signal.SIGKILL),
    members=2,
)


def keeper_of(running: RunningProgram) -> int:
    """Return the pid of a session's keeper: its leader's parent."""
    leader = running.leader()
    assert leader is not None
    keeper = processes.look_up(leader.parent)
    assert keeper is not None
    assert keeper.name == "ptykill-keeper"
    return keeper.pid


def warden() -> int:
    """Return the pid of the only warden that this process has."""
    (found,) = wardens()
    return found


def wardens() -> list[int]:
    """Return the pids of the wardens that this process has."""
    return [
        each.pid
        for each in processes.descendants(os.getpid())
        if (each.name, each.parent, each.alive) == ("ptykill-warden", os.getpid(), True)
    ]


def lives(pid: int) -> bool:
    """Return whether a process lives, and is not a zombie."""
    process = processes.look_up(pid)
    return process is not None and process.alive


def until_now(condition: Callable[[], object]) -> None:
    """Wait until a condition is true, and block the event loop meanwhile."""
    limit = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


async def all_gone(running: RunningProgram) -> None:
    """Wait until no process with the mark lives: the verdict may come from another process."""
    await until(lambda: running.marked() == [], "the members to be gone")


def check_lost(verdict: Verdict, tier: str) -> None:
    """Check that a verdict has the caveat of a lost keeper, and the warden's proof."""
    assert verdict.empty
    if (
        tier == "keeper"
    ):  # A supervisor elsewhere recovers the cgroup of a dead keeper, if it opens.
        assert verdict.outcome is Outcome.KILLED
    assert verdict.containment == tier
    assert verdict.caveats == {Caveat.KEEPER_LOST}


def check_unproven(verdict: Verdict, tier: str) -> None:
    """Check that a verdict without proof has the caveat, and is not empty."""
    assert not verdict.empty
    assert verdict.outcome is Outcome.UNPROVEN
    assert verdict.survivors == ()
    assert verdict.containment == tier
    assert verdict.caveats >= {Caveat.KEEPER_LOST, Caveat.UNPROVEN, Caveat.ESCAPEES_UNKNOWN}


HELPED = python(
    "helped",
    "has a child, and forks a helper when it is hung up and told to",
    """
    def clean():
        wait_for("go")
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        helper = fork(lambda: wait_for("done"))
        touch("started")
        if os.waitpid(helper, 0)[1] == 0:
            cleaned()
        os._exit(9)
    fork(idle)
    on(signal.SIGHUP, clean)
    touch("ready")
    idle()
    """,
    status=ExitStatus(code=0),
    cleans_up=True,
    members=2,
)


async def test_members_started_while_others_are_signalled(
    supervisor: Supervisor, tmp_path: Path, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is started during the walk through the members gets no SIGHUP."""
    del tier
    running = await start(supervisor, HELPED, tmp_path)

    def slowly(root: Pidfd) -> Iterator[Pidfd]:
        yield from members(root)
        if not running.has("started"):
            running.tell("go")
            while not running.has("started"):
                time.sleep(0.001)
            yield from members(root)  # As if this walk had reached the helper only now.
            running.tell("done")

    monkeypatch.setattr("ptykill.system.containment.live_keeper.members", slowly)
    verdict = await running.session.terminate(grace=TIMEOUT)
    assert verdict.exit_status == ExitStatus(code=0)
    assert verdict.outcome is Outcome.GRACEFUL
    assert running.has("cleaned")


async def test_a_keeper_that_is_killed(supervisor: Supervisor, tmp_path: Path, tier: str) -> None:
    """Its death soon ends the session, escapees too, and the verdict has the caveat."""
    running = await start(supervisor, ESCAPEES, tmp_path)
    os.kill(keeper_of(running), signal.SIGKILL)
    with trio.fail_after(TIMEOUT):
        verdict = await running.session.wait()
    assert running.marked() == []
    check_lost(verdict, tier)
    assert verdict.exit_status is None
    assert await running.session.receive() == b""


async def test_a_keeper_that_is_killed_during_the_grace(
    supervisor: Supervisor, tmp_path: Path, tier: str
) -> None:
    """A caller that waits gets the verdict long before the end of the grace."""
    running = await start(supervisor, ESCAPEES, tmp_path)
    async with trio.open_nursery() as nursery:
        verdicts: list[Verdict] = []

        async def ask() -> None:
            verdicts.append(await running.session.terminate(grace=TIMEOUT))

        nursery.start_soon(ask)
        await trio.sleep(0.05)
        os.kill(keeper_of(running), signal.SIGKILL)
    (verdict,) = verdicts
    assert running.marked() == []
    check_lost(verdict, tier)
    assert verdict.took < TIMEOUT


async def test_a_keeper_and_its_warden_killed(
    supervisor: Supervisor, tmp_path: Path, tier: str
) -> None:
    """The members in the process table, or in the cgroup, are killed; but nothing is proved."""
    program = find("deaf member of a polite leader")
    running = await start(supervisor, program, tmp_path)
    keeper = keeper_of(running)
    for pid in warden(), keeper:
        os.kill(pid, signal.SIGKILL)
    with trio.fail_after(TIMEOUT):
        verdict = await running.session.wait()
    check_unproven(verdict, tier)
    assert running.marked() == []
    assert await running.session.terminate() == verdict
    session = await supervisor.spawn(["true"], cwd=tmp_path)
    assert (await session.wait()).empty


async def test_escapees_of_a_lost_keeper_are_in_the_cgroup(
    supervisor: Supervisor, tmp_path: Path, tier: str
) -> None:
    """The kernel lists the members of a cgroup, also without a keeper."""
    if tier != "cgroup":
        pytest.skip("only a cgroup knows")
    running = await start(supervisor, ESCAPEES, tmp_path)
    keeper = keeper_of(running)
    for pid in warden(), keeper:
        os.kill(pid, signal.SIGKILL)
    with trio.fail_after(TIMEOUT):
        verdict = await running.session.wait()
    assert running.marked() == []
    check_unproven(verdict, tier)


@pytest.mark.parametrize("program", ["polite", "deaf", "cleans up in half the grace"])
async def test_a_keeper_that_is_stopped(
    supervisor: Supervisor, tmp_path: Path, program: str
) -> None:
    """It gets SIGCONT when its session is to end."""
    expected = find(program)
    running = await start(supervisor, expected, tmp_path)
    os.kill(keeper_of(running), signal.SIGSTOP)
    verdict = await running.session.terminate(grace=expected.grace)
    assert (verdict.empty, verdict.outcome) == (True, expected.outcome)
    assert verdict.exit_status == expected.status
    assert verdict.caveats == frozenset()
    assert verdict.took < (
        expected.grace if expected.outcome is Outcome.GRACEFUL else expected.grace + SLACK
    )
    assert running.marked() == []


async def test_a_full_socket(supervisor: Supervisor, tmp_path: Path) -> None:
    """The host ends the session although the socket to its stopped keeper is full."""
    running = await start(supervisor, ESCAPEES, tmp_path)
    keeper = keeper_of(running)
    os.kill(keeper, signal.SIGSTOP)
    channel = running.session._driver.containment._keeper.channel  # type: ignore[attr-defined]
    with contextlib.suppress(BlockingIOError):
        while True:
            channel.send(marshal.dumps(("nonsense",)))
    verdict = await running.session.terminate(grace=0.1)
    assert (verdict.empty, verdict.outcome) == (True, Outcome.KILLED)
    assert running.marked() == []


async def test_a_warden_that_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    """Its sessions are not affected, and the next one has a new warden."""
    first = await start(supervisor, find("polite"), tmp_path)
    old = warden()
    os.kill(old, signal.SIGKILL)
    await until(lambda: not processes.descendants(old), "the warden to be dead")
    second = await start(supervisor, find("polite"), tmp_path)
    assert warden() != old
    for running in first, second:
        verdict = await running.session.terminate(grace=TIMEOUT)
        assert (verdict.outcome, verdict.empty) == (Outcome.GRACEFUL, True)
        assert verdict.caveats == frozenset()


async def test_a_warden_that_is_stopped(supervisor: Supervisor, tmp_path: Path) -> None:
    """A stopped warden gets SIGCONT when it is needed, and when it has to exit."""
    pid = warden()
    os.kill(pid, signal.SIGSTOP)
    for _ in range(3):
        running = await start(supervisor, find("polite"), tmp_path)
        os.kill(pid, signal.SIGSTOP)
        assert (await running.session.terminate(grace=TIMEOUT)).empty


async def test_a_stopped_warden_exits_with_its_supervisor(
    tmp_path: Path, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets SIGCONT, and exits by itself, and at once."""
    monkeypatch.setattr("ptykill.system.containment.warden_client._END_TIMEOUT", TIMEOUT)
    sent: list[tuple[int, int]] = []
    send = Pidfd.send

    def noted(process: Pidfd, number: int) -> bool:
        sent.append((process.pid, number))
        return send(process, number)

    monkeypatch.setattr(Pidfd, "send", noted)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        running = await start(supervisor, find("polite"), tmp_path)
        await running.session.terminate(grace=TIMEOUT)
        pid = warden()
        os.kill(pid, signal.SIGSTOP)
    assert (pid, signal.SIGKILL) not in sent


async def test_a_warden_leaves_no_orphans(tmp_path: Path, tier: str) -> None:
    """If its keeper was killed just now, only the warden can kill the escapees."""
    async with ptykill.open_supervisor(
        containment=tier, plan="KILL 15s", leftovers="kill"
    ) as supervisor:
        running = await start(supervisor, ESCAPEES, tmp_path)
        os.kill(keeper_of(running), signal.SIGKILL)
        with trio.fail_after(TIMEOUT):
            check_lost(await running.session.wait(), tier)
    await all_gone(running)


async def test_an_idle_keeper_that_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    """The idle keeper may be dead when it is needed: the spawn takes another."""
    for _ in range(3):
        await until(idle, "a warm keeper")
        pid = idle()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        running = await start(supervisor, find("polite"), tmp_path)
        assert (await running.session.terminate(grace=TIMEOUT)).empty


async def test_a_warm_up_leaves_nothing(supervisor: Supervisor) -> None:
    """An idle keeper has closed the descriptors of its warm-up."""
    await until(idle, "a warm keeper")
    held = [each for each in held_by(idle()) if each != os.devnull]
    assert len(held) == 5 + (supervisor.containment == "cgroup"), held


def held_by(pid: int | None) -> list[str]:
    """Return the targets of a process's descriptors."""
    return [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]


async def test_an_idle_keeper_that_is_stopped(supervisor: Supervisor, tmp_path: Path) -> None:
    """The idle keeper may be stopped when it is needed: it gets SIGCONT."""
    for _ in range(3):
        await until(idle, "a warm keeper")
        os.kill(idle() or 0, signal.SIGSTOP)
        with trio.fail_after(TIMEOUT):
            session = await supervisor.spawn(["true"], cwd=tmp_path)
        assert (await session.wait()).empty


SEIZE, INTERRUPT = (0x4206, 0), (0x4207, 0)
SEIZE_FOR_VFORK, SEIZE_AFTER_VFORK = (0x4206, 4), (0x4206, 32)
"""Requests of ptrace(2), and their options: to stop a caller of vfork(2) and its child; or
to stop it when its child has executed a program, and runs."""


@contextlib.contextmanager
def held_up(pid: int, *requests: tuple[int, int]) -> Iterator[None]:
    """Trace a process, and stop it so that SIGCONT has no effect: now, or in a vfork(2)."""
    code = f"""
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
for request, options in {requests or (SEIZE, INTERRUPT)}:
    if libc.ptrace(request, pid, None, options):
        sys.exit(f"ptrace: {{ctypes.get_errno()}}")
print("held", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tracer:
        assert tracer.stdout is not None
        try:
            if not tracer.stdout.readline():
                pytest.skip("this user may not trace a keeper")
            yield
        finally:
            tracer.kill()


async def test_an_idle_keeper_that_a_tracer_stops(supervisor: Supervisor, tmp_path: Path) -> None:
    """If SIGCONT does not help, the spawn takes another, and this one starts no process."""
    await until(idle, "a warm keeper")
    pid = idle() or 0
    with held_up(pid), trio.fail_after(TIMEOUT):
        session = await supervisor.spawn(["sh", "-c", "echo run >> runs"], cwd=tmp_path)
    await session.wait()
    assert (tmp_path / "runs").read_text() == "run\n"
    await until(lambda: not cgroups_of(pid), "its cgroup to be removed")


def cgroups_of(keeper: int) -> list[str]:
    """Return the cgroups that a process with this pid has made."""
    folder = cgroup_place.own_cgroup()
    found = [] if folder is None else Path(folder).glob(f"ptykill-*-{keeper}-*")
    return [path.name for path in found]


async def test_a_keeper_that_a_tracer_stops_in_a_spawn(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """The spawn fails in time, since the command may have run, and leaves no process."""
    await until(idle, "a warm keeper")
    pid = idle() or 0
    with held_up(pid, SEIZE_FOR_VFORK), trio.fail_after(TIMEOUT):
        with pytest.raises(ptykill.SpawnError) as caught:
            await supervisor.spawn(["sh", "-c", "echo run >> runs"], cwd=tmp_path)
        assert caught.value.errno == errno.ETIMEDOUT
    await until(lambda: not alive(pid), "its end")
    assert supervisor.sessions == ()
    session = await supervisor.spawn(["true"], cwd=tmp_path)
    assert (await session.wait()).empty
    assert not (tmp_path / "runs").exists()
    await until(lambda: not cgroups_of(pid), "its cgroup to be removed")


async def test_a_keeper_that_is_killed_in_a_spawn(
    supervisor: Supervisor, tmp_path: Path, mark: str
) -> None:
    """The spawn fails, does not run the command again, and leaves no process."""
    await until(idle, "a warm keeper")
    pid = idle() or 0
    runs = tmp_path / "runs"

    async def kill() -> None:
        await until(runs.exists, "the start of the command")
        os.kill(pid, signal.SIGKILL)

    with held_up(pid, SEIZE_AFTER_VFORK), trio.fail_after(TIMEOUT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            with pytest.raises(ptykill.SpawnError) as caught:
                await supervisor.spawn(["sh", "-c", "echo run >> runs; sleep 60"], cwd=tmp_path)
    assert caught.value.stage == "keeper"
    assert runs.read_text() == "run\n"
    assert not [name for name in processes.names(processes.marked(mark)) if "sleep" in name]
    assert supervisor.sessions == ()
    session = await supervisor.spawn(["true"], cwd=tmp_path)
    assert (await session.wait()).empty


async def test_a_keeper_that_is_killed_before_a_spawn(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """Another keeper gets the order that this one has not read."""
    await until(idle, "a warm keeper")
    pid = idle() or 0
    with held_up(pid), trio.fail_after(TIMEOUT):
        async with trio.open_nursery() as nursery:

            async def kill() -> None:
                await trio.sleep(0.1)
                os.kill(pid, signal.SIGKILL)

            nursery.start_soon(kill)
            session = await supervisor.spawn(["sh", "-c", "echo run >> runs"], cwd=tmp_path)
    assert (await session.wait()).empty
    assert (tmp_path / "runs").read_text() == "run\n"


async def test_keepers_that_are_killed_in_a_row(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spawn tries until it finds a keeper that lives."""
    send_order = KeeperHandle.send_order
    killed: list[int] = []

    def send_to_the_dead(self: KeeperHandle, *order: Any) -> None:  # noqa: ANN401 - handed on
        if len(killed) < 5:
            until_now(lambda: set(keepers()) - {*killed})
            for kept in set(keepers()) - {*killed}:
                with contextlib.suppress(ProcessLookupError):  # It was giving way to another.
                    os.kill(kept, signal.SIGKILL)
                killed.append(kept)
            until_now(lambda: not connected(self.channel))
        send_order(self, *order)

    monkeypatch.setattr(KeeperHandle, "send_order", send_to_the_dead)
    await until(idle, "a warm keeper")
    session = await supervisor.spawn(["sh", "-c", "echo run >> runs"], cwd=tmp_path)
    assert len(killed) >= 5
    assert (await session.wait()).empty
    assert (tmp_path / "runs").read_text() == "run\n"


async def test_wardens_that_are_killed_in_a_row(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spawn tries until it has a warden that lives."""
    started: list[int] = []

    def start_and_kill(what: str, *fds: int) -> int:
        started.append(start_beside(what, *fds))
        if len(started) < 4:
            os.kill(started[-1], signal.SIGKILL)
        return started[-1]

    monkeypatch.setattr("ptykill.system.containment.warden_client.start_beside", start_and_kill)
    os.kill(warden(), signal.SIGKILL)
    await until(lambda: not keepers(), "the warden to be dead")
    session = await supervisor.spawn(["true"], cwd=tmp_path)
    assert len(started) == 4
    assert (await session.wait()).empty


def keepers() -> list[int]:
    """Return the pids of all keepers below this process, idle or not."""
    return [each.pid for pid in wardens() for each in processes.descendants(pid)]


async def test_a_cancelled_spawn_with_a_stopped_keeper(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """A cancelled spawn ends soon, and leaves no process, whatever its keeper does."""
    await until(idle, "a warm keeper")
    pid = idle() or 0
    with held_up(pid):
        asked = trio.current_time()
        with trio.move_on_after(0.3) as limit:
            await supervisor.spawn(["sh", "-c", "echo run >> runs"], cwd=tmp_path)
        assert limit.cancelled_caught
        assert trio.current_time() - asked < SLACK
    assert supervisor.sessions == ()
    session = await supervisor.spawn(["true"], cwd=tmp_path)
    assert (await session.wait()).empty
    assert not (tmp_path / "runs").exists()
    await until(lambda: not cgroups_of(pid), "its cgroup to be removed")


def idle() -> int | None:
    """Return the pid of the idle keeper; None if there is none."""
    for keeper in processes.descendants(warden()):
        if keeper.name == "ptykill-keeper" and not processes.descendants(keeper.pid):
            return keeper.pid
    return None


async def test_helper_processes_ignore_signals_for_the_host(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """A terminal's, or a service manager's, signals to all of a host do not end a keeper."""
    running = await start(supervisor, find("polite"), tmp_path)
    for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1:
        for pid in warden(), keeper_of(running):
            os.kill(pid, number)
    await trio.sleep(0.05)
    verdict = await running.session.terminate(grace=TIMEOUT)
    assert (verdict.outcome, verdict.caveats) == (Outcome.GRACEFUL, frozenset())


async def test_the_spared_keep_their_keeper(supervisor: Supervisor, tmp_path: Path) -> None:
    """With the policy spare, leftovers run on, and their keeper lives as long as they do."""
    running = await start(
        supervisor, find("leaves a deaf child"), tmp_path, leftovers=ptykill.Leftovers.SPARE
    )
    keeper = keeper_of(running)
    running.tell("go")
    verdict = await running.session.wait()
    assert (verdict.outcome, verdict.empty) == (Outcome.SPARED, False)
    (survivor,) = verdict.survivors
    found = processes.look_up(survivor.pid)
    assert found is not None
    assert found.parent == keeper
    await trio.sleep(0.1)
    assert processes.look_up(keeper) is not None
    processes.end(survivor.pid)
    await until(lambda: not alive(keeper), "the keeper to leave")


def alive(pid: int) -> bool:
    """Return whether a process exists and is not dead."""
    process = processes.look_up(pid)
    return process is not None and process.alive


@pytest.mark.parametrize("kept", [True, False])
async def test_the_death_signal(
    supervisor: Supervisor,
    tmp_path: Path,
    kept: bool,  # noqa: FBT001
) -> None:
    """The leader gets its ``death_signal`` when its keeper dies."""
    program = python(
        "told of its parent's death",
        "writes down that it got SIGUSR1, and ends",
        'on(signal.SIGUSR1, lambda: (touch("told"), os._exit(0))); touch("ready"); idle()',
    )
    attributes = ptykill.Attributes(death_signal="USR1")
    running = await start(supervisor, program, tmp_path, attributes=attributes)
    if kept:
        os.kill(running.session.pid, signal.SIGUSR1)
    else:
        os.kill(keeper_of(running), signal.SIGKILL)
    await running.session.wait()
    await until(lambda: running.has("told") or running.marked() == [], "the signal")
    assert running.has("told")


async def test_a_stopped_warden_of_a_lost_keeper(
    supervisor: Supervisor, tmp_path: Path, tier: str
) -> None:
    """It gets SIGCONT, kills the orphans, and proves that none is left."""
    running = await start(supervisor, ESCAPEES, tmp_path)
    await until(idle, "a warm keeper")  # A spawn would send SIGCONT to the warden.
    os.kill(warden(), signal.SIGSTOP)
    os.kill(keeper_of(running), signal.SIGKILL)
    verdict = await running.session.terminate(grace=0.2)
    assert running.marked() == []
    check_lost(verdict, tier)


async def test_a_keepers_pid_that_is_reused(
    supervisor: Supervisor, tmp_path: Path, tier: str
) -> None:
    """A keeper's closed socket means that it is dead, also with unread messages."""
    running = await start(supervisor, ESCAPEES, tmp_path)
    containment = cast(KeeperContainment, running.session._driver.containment)
    keeper = keeper_of(running)
    leader = running.session.pid
    # The loop is blocked from here on: it reads no message of the keeper.
    os.kill(leader, signal.SIGKILL)
    until_now(lambda: not lives(leader))
    time.sleep(0.1)  # noqa: ASYNC251 - as above
    os.kill(keeper, signal.SIGKILL)
    until_now(lambda: processes.look_up(keeper) is None)
    live = containment._session
    assert isinstance(live, LiveKeeper)
    assert list(live.members()) == []
    assert containment.survivors() == ()
    await trio.lowlevel.checkpoint()
    with trio.fail_after(TIMEOUT):
        check_lost(await running.session.wait(), tier)
    await all_gone(running)


async def test_nothing_is_signalled_once_it_is_over(
    supervisor: Supervisor, tmp_path: Path, tier: str
) -> None:
    """A target that a signaller has kept sends no signal, also if its descriptor is reused."""
    del tier
    running = await start(supervisor, find("polite"), tmp_path)
    containment = running.session._driver.containment
    await running.session.terminate()
    await supervisor.close()
    for reach in ptykill.Reach:
        assert containment.signal("TERM", reach) == ptykill.Signalled()
    assert containment.kill() == ptykill.Signalled()
