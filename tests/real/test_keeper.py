"""The keeper, the warden and their sockets may fail as well: the session is ended all the same."""

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
from ptykill.system.kernel.pidfd import Pidfd
from ptykill.system.kernel.procfs import members
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
    """Return whether a process is there, and no zombie."""
    process = processes.look_up(pid)
    return process is not None and process.alive


def until_now(condition: Callable[[], object]) -> None:
    """Wait, and keep the event loop from doing anything meanwhile."""
    limit = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


async def all_gone(running: RunningProgram) -> None:
    """Wait until nobody with the session's mark lives: who kills is not always who tells."""
    await until(lambda: running.marked() == [], "the members to be gone")


def check_lost(verdict: Verdict, tier: str) -> None:
    """A verdict on a session whose keeper was killed says so, and is proven by the warden."""
    assert verdict.empty
    if (
        tier == "keeper"
    ):  # A supervisor elsewhere recovers the cgroup of a dead keeper, if it opens.
        assert verdict.outcome is Outcome.KILLED
    assert verdict.containment == tier
    assert verdict.caveats == {Caveat.KEEPER_LOST}


def check_unproven(verdict: Verdict, tier: str) -> None:
    """A verdict that nobody can prove says so, and does not say that the session is empty."""
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
        touch("born")
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


async def test_those_born_while_others_are_signalled(
    supervisor: Supervisor, tmp_path: Path, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper that is born in the midst of the walk through the members is not hung up."""
    del tier
    running = await start(supervisor, HELPED, tmp_path)

    def slowly(root: Pidfd) -> Iterator[Pidfd]:
        yield from members(root)
        if not running.has("born"):
            running.tell("go")
            while not running.has("born"):
                time.sleep(0.001)
            yield from members(root)  # As if that one walk had come by the helper only now.
            running.tell("done")

    monkeypatch.setattr("ptykill.system.containment.live_keeper.members", slowly)
    verdict = await running.session.terminate(grace=TIMEOUT)
    assert verdict.exit_status == ExitStatus(code=0)
    assert verdict.outcome is Outcome.GRACEFUL
    assert running.has("cleaned")


async def test_a_keeper_that_is_killed(supervisor: Supervisor, tmp_path: Path, tier: str) -> None:
    """Its death ends the session soon, those that had escaped too, and the verdict says so."""
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
    """Whoever waits for the verdict gets it, long before the grace would be over."""
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
    """What the process table shows, or the cgroup holds, is killed; but nothing is proven."""
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
    """The kernel knows the members of a cgroup even when nobody else is left to know them."""
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
    """It is made to go on when its session is to end."""
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
    """What a stopped keeper has no room to be told, it does not need to be told."""
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
    """Its sessions do not notice, and the next one has a new warden."""
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
    """It is made to go on when it is needed, and when it is to end."""
    pid = warden()
    os.kill(pid, signal.SIGSTOP)
    for _ in range(3):
        running = await start(supervisor, find("polite"), tmp_path)
        os.kill(pid, signal.SIGSTOP)
        assert (await running.session.terminate(grace=TIMEOUT)).empty


async def test_a_stopped_warden_is_asked_to_leave(
    tmp_path: Path, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made to go on, so it leaves by itself, and at once."""
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
    """If its keeper was killed just now, nobody else will kill what had escaped."""
    async with ptykill.open_supervisor(
        containment=tier, plan="KILL 15s", leftovers="kill"
    ) as supervisor:
        running = await start(supervisor, ESCAPEES, tmp_path)
        os.kill(keeper_of(running), signal.SIGKILL)
        with trio.fail_after(TIMEOUT):
            check_lost(await running.session.wait(), tier)
    await all_gone(running)


async def test_what_waits_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    """The keeper that is kept warm may be dead when it is wanted: another one is taken."""
    for _ in range(3):
        await until(idle, "a warm keeper")
        pid = idle()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        running = await start(supervisor, find("polite"), tmp_path)
        assert (await running.session.terminate(grace=TIMEOUT)).empty


async def test_a_rehearsal_leaves_nothing(supervisor: Supervisor) -> None:
    """The keeper that is kept warm has no descriptor that it needs no more."""
    await until(idle, "a warm keeper")
    held = [each for each in held_by(idle()) if each != os.devnull]
    assert len(held) == 5 + (supervisor.containment == "cgroup"), held


def held_by(pid: int | None) -> list[str]:
    """Return what a process has open."""
    return [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]


async def test_what_waits_is_stopped(supervisor: Supervisor, tmp_path: Path) -> None:
    """The keeper that is kept warm may be stopped when it is wanted: it is made to go on."""
    for _ in range(3):
        await until(idle, "a warm keeper")
        os.kill(idle() or 0, signal.SIGSTOP)
        with trio.fail_after(TIMEOUT):
            session = await supervisor.spawn(["true"], cwd=tmp_path)
        assert (await session.wait()).empty


SEIZE, INTERRUPT = (0x4206, 0), (0x4207, 0)
SEIZE_FOR_VFORK, SEIZE_AFTER_VFORK = (0x4206, 4), (0x4206, 32)
"""Requests of ptrace(2), and their options: to stop who calls vfork(2), and its child, then; or to
stop it when its child has executed a program, and runs."""


@contextlib.contextmanager
def held_up(pid: int, *requests: tuple[int, int]) -> Iterator[None]:
    """Trace a process, and stop it so that SIGCONT does not help: now, or when it bears."""
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


async def test_what_waits_is_held_up(supervisor: Supervisor, tmp_path: Path) -> None:
    """If it can't be made to go on, another one is taken, and nobody is born of this one."""
    await until(idle, "a warm keeper")
    pid = idle() or 0
    with held_up(pid), trio.fail_after(TIMEOUT):
        session = await supervisor.spawn(["sh", "-c", "echo born >> births"], cwd=tmp_path)
    await session.wait()
    assert (tmp_path / "births").read_text() == "born\n"
    await until(lambda: not cgroups_of(pid), "its cgroup to be removed")


def cgroups_of(keeper: int) -> list[str]:
    """Return the cgroups that were made by a process of that number."""
    folder = cgroup_place.own_cgroup()
    found = [] if folder is None else Path(folder).glob(f"ptykill-*-{keeper}-*")
    return [path.name for path in found]


async def test_who_is_held_up_in_a_birth(supervisor: Supervisor, tmp_path: Path) -> None:
    """The spawn fails, in time, since the command may have run; and nobody is left of it."""
    await until(idle, "a warm keeper")
    pid = idle() or 0
    with held_up(pid, SEIZE_FOR_VFORK), trio.fail_after(TIMEOUT):
        with pytest.raises(ptykill.SpawnError) as caught:
            await supervisor.spawn(["sh", "-c", "echo born >> births"], cwd=tmp_path)
        assert caught.value.errno == errno.ETIMEDOUT
    await until(lambda: not alive(pid), "its end")
    assert supervisor.sessions == ()
    session = await supervisor.spawn(["true"], cwd=tmp_path)
    assert (await session.wait()).empty
    assert not (tmp_path / "births").exists()
    await until(lambda: not cgroups_of(pid), "its cgroup to be removed")


async def test_a_keeper_that_is_killed_in_a_birth(
    supervisor: Supervisor, tmp_path: Path, mark: str
) -> None:
    """The command is not run again, the spawn says that it failed, and nothing is left of it."""
    await until(idle, "a warm keeper")
    pid = idle() or 0
    births = tmp_path / "births"

    async def kill() -> None:
        await until(births.exists, "the birth")
        os.kill(pid, signal.SIGKILL)

    with held_up(pid, SEIZE_AFTER_VFORK), trio.fail_after(TIMEOUT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            with pytest.raises(ptykill.SpawnError) as caught:
                await supervisor.spawn(["sh", "-c", "echo born >> births; sleep 60"], cwd=tmp_path)
    assert caught.value.stage == "keeper"
    assert births.read_text() == "born\n"
    assert not [name for name in processes.names(processes.marked(mark)) if "sleep" in name]
    assert supervisor.sessions == ()
    session = await supervisor.spawn(["true"], cwd=tmp_path)
    assert (await session.wait()).empty


async def test_a_keeper_that_is_killed_before_a_birth(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """An order that it has not read is given to another one."""
    await until(idle, "a warm keeper")
    pid = idle() or 0
    with held_up(pid), trio.fail_after(TIMEOUT):
        async with trio.open_nursery() as nursery:

            async def kill() -> None:
                await trio.sleep(0.1)
                os.kill(pid, signal.SIGKILL)

            nursery.start_soon(kill)
            session = await supervisor.spawn(["sh", "-c", "echo born >> births"], cwd=tmp_path)
    assert (await session.wait()).empty
    assert (tmp_path / "births").read_text() == "born\n"


async def test_keepers_that_are_killed_in_a_row(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spawn goes on until it finds one that lives."""
    send_order = KeeperHandle.send_order
    killed: list[int] = []

    def send_to_the_dead(self: KeeperHandle, *order: Any) -> None:  # noqa: ANN401 - handed on
        if len(killed) < 5:
            until_now(lambda: set(keepers()) - {*killed})
            for kept in set(keepers()) - {*killed}:
                os.kill(kept, signal.SIGKILL)
                killed.append(kept)
            until_now(lambda: not connected(self.channel))
        send_order(self, *order)

    monkeypatch.setattr(KeeperHandle, "send_order", send_to_the_dead)
    await until(idle, "a warm keeper")
    session = await supervisor.spawn(["sh", "-c", "echo born >> births"], cwd=tmp_path)
    assert len(killed) >= 5
    assert (await session.wait()).empty
    assert (tmp_path / "births").read_text() == "born\n"


async def test_wardens_that_are_killed_in_a_row(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spawn goes on until it has one that lives."""
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
    """Return the pids of all keepers below this process, be they ready or not."""
    return [each.pid for pid in wardens() for each in processes.descendants(pid)]


async def test_what_is_held_up_is_called_off(supervisor: Supervisor, tmp_path: Path) -> None:
    """A spawn that is cancelled ends soon, and leaves nothing, whatever its keeper does."""
    await until(idle, "a warm keeper")
    pid = idle() or 0
    with held_up(pid):
        asked = trio.current_time()
        with trio.move_on_after(0.3) as patience:
            await supervisor.spawn(["sh", "-c", "echo born >> births"], cwd=tmp_path)
        assert patience.cancelled_caught
        assert trio.current_time() - asked < SLACK
    assert supervisor.sessions == ()
    session = await supervisor.spawn(["true"], cwd=tmp_path)
    assert (await session.wait()).empty
    assert not (tmp_path / "births").exists()
    await until(lambda: not cgroups_of(pid), "its cgroup to be removed")


def idle() -> int | None:
    """Return the pid of the keeper that is kept warm; None if there is none."""
    for keeper in processes.descendants(warden()):
        if keeper.name == "ptykill-keeper" and not processes.descendants(keeper.pid):
            return keeper.pid
    return None


async def test_our_own_processes_ignore_what_is_for_the_host(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """Signals that a terminal or a service manager sends to all of a host do not end a keeper."""
    running = await start(supervisor, find("polite"), tmp_path)
    for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1:
        for pid in warden(), keeper_of(running):
            os.kill(pid, number)
    await trio.sleep(0.05)
    verdict = await running.session.terminate(grace=TIMEOUT)
    assert (verdict.outcome, verdict.caveats) == (Outcome.GRACEFUL, frozenset())


async def test_the_spared_keep_their_keeper(supervisor: Supervisor, tmp_path: Path) -> None:
    """What a leader leaves behind may be left alone; its keeper stays for as long as it lives."""
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
    """Return whether a process is there and not dead."""
    process = processes.look_up(pid)
    return process is not None and process.alive


@pytest.mark.parametrize("kept", [True, False])
async def test_the_death_signal(
    supervisor: Supervisor,
    tmp_path: Path,
    kept: bool,  # noqa: FBT001
) -> None:
    """The leader gets the signal of its choice when its keeper dies."""
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
    """It is made to go on, kills the orphans, and proves that none is left."""
    running = await start(supervisor, ESCAPEES, tmp_path)
    await until(idle, "a warm keeper")  # To ask for one, the host would make the warden go on.
    os.kill(warden(), signal.SIGSTOP)
    os.kill(keeper_of(running), signal.SIGKILL)
    verdict = await running.session.terminate(grace=0.2)
    assert running.marked() == []
    check_lost(verdict, tier)


async def test_a_number_that_was_given_out_again(
    supervisor: Supervisor, tmp_path: Path, tier: str
) -> None:
    """A keeper is taken for dead by its socket, though something of what it said is unread."""
    running = await start(supervisor, ESCAPEES, tmp_path)
    containment = cast(KeeperContainment, running.session._driver.containment)
    keeper = keeper_of(running)
    leader = running.session.pid
    # The loop is blocked from here on: nothing is read of what the keeper says.
    os.kill(leader, signal.SIGKILL)
    until_now(lambda: not lives(leader))
    time.sleep(0.1)  # noqa: ASYNC251 - as above
    os.kill(keeper, signal.SIGKILL)
    until_now(lambda: processes.look_up(keeper) is None)
    live = containment._session
    assert isinstance(live, LiveKeeper)
    assert list(live._members()) == []
    assert containment.survivors() == ()
    await trio.lowlevel.checkpoint()
    with trio.fail_after(TIMEOUT):
        check_lost(await running.session.wait(), tier)
    await all_gone(running)


async def test_nothing_is_signalled_once_it_is_over(
    supervisor: Supervisor, tmp_path: Path, tier: str
) -> None:
    """A target that a signaller has kept reaches nobody, whoever has its descriptor now."""
    del tier
    running = await start(supervisor, find("polite"), tmp_path)
    containment = running.session._driver.containment
    await running.session.terminate()
    await supervisor.close()
    for reach in ptykill.Reach:
        assert containment.signal("TERM", reach) == ptykill.Signalled()
    assert containment.kill() == ptykill.Signalled()
