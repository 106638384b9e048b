"""A keeper serves one session after another, unless one has changed the state of the keeper."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

import ptykill
from ptykill import Attributes, Leftovers, Session, State, Supervisor
from ptykill.engine import schedule, session_timer
from ptykill.rules.protocols import Signalled
from ptykill.system.containment import keeper_supply, keeper_tier
from ptykill.system.containment.keeper_handle import KeeperHandle
from ptykill.system.containment.keeper_supply import KeeperSupply
from ptykill.system.containment.live_keeper import LiveKeeper
from ptykill.system.kernel.cgroup_place import own_cgroup
from ptykill.system.kernel.inheritance import inherited_state
from ptykill.system.kernel.procfs import (
    children,
    parent,
    read_file,
    read_proc,
    session_of,
    stat,
)
from ptykill.system.kernel.session_leader import StartFailed
from tests.real.conftest import PLAN
from tests.real.running_program import until

pytestmark = [
    pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True),
    pytest.mark.skipif(
        sys.platform != "linux" or inherited_state() is None,
        reason="keepers are used again where the state that they hand on can be read",
    ),
]

LIBC = ctypes.CDLL(None)
PTRACE_SEIZE = 0x4206

CALLS = """
import ctypes, os, resource, sys, time
call = ctypes.CDLL(None, use_errno=True).syscall
x86 = os.uname().machine == "x86_64"
keeper = os.getppid()
"""

CHANGES = {
    "a limit": "resource.prlimit(keeper, resource.RLIMIT_NOFILE, (100, 100))",
    "its niceness": "os.setpriority(os.PRIO_PROCESS, keeper, 5)",
    "its processors": "os.sched_setaffinity(keeper, {min(os.sched_getaffinity(0))})",
    "its policy": "os.sched_setscheduler(keeper, os.SCHED_BATCH, os.sched_param(0))",
    "its priority of input and output": "assert call(251 if x86 else 30, 1, keeper, 3 << 13) == 0",
    "its session keyring": (
        "assert call(250 if x86 else 219, 1, None) > 0; assert call(250 if x86 else 219, 18) == 0"
    ),
    "its score for the out-of-memory killer": (
        "open(f'/proc/{keeper}/oom_score_adj', 'w').write('100')"
    ),
    "its timers' slack": "open(f'/proc/{keeper}/timerslack_ns', 'w').write('123456')",
    "its core dumps": "open(f'/proc/{keeper}/coredump_filter', 'w').write('1')",
}
"""The state of its keeper that a program can change."""


@pytest.fixture
async def supervisor(tier: str) -> AsyncIterator[Supervisor]:
    """Open a supervisor."""
    async with ptykill.open_supervisor(plan=PLAN, containment=tier) as supervisor:
        yield supervisor


async def run(supervisor: Supervisor, script: str, attributes: Attributes | None = None) -> int:
    """Run a script to its end; return the pid of its keeper."""
    session = await supervisor.spawn(["sh", "-c", f"read _; {script}"], attributes=attributes)
    keeper = keeper_of(session)
    await session.send(b"\n")
    verdict = await session.wait()
    assert verdict.empty
    assert verdict.exit_status == ptykill.ExitStatus(code=0)
    return keeper


def keeper_of(session: Session) -> int:
    """Return the pid of a session's keeper. Its leader is not reaped before all is over."""
    keeper = parent(session.pid)
    assert keeper is not None
    return keeper


async def changed_by(supervisor: Supervisor, change: str) -> int:
    """Run a program that changes its keeper's state; return the keeper's pid."""
    session = await supervisor.spawn([sys.executable, "-c", f"input()\n{CALLS}{change}"])
    keeper = keeper_of(session)
    await session.send(b"\n")
    verdict = await session.wait()
    assert verdict.exit_status is not None
    if verdict.exit_status.code:
        pytest.skip("it can't be changed here")
    return keeper


async def test_sessions_share_a_keeper(supervisor: Supervisor) -> None:
    """Sessions that follow each other have the same keeper, also if they are killed."""
    keepers = set()
    for _ in range(5):
        keepers.add(await run(supervisor, "true"))
        session = await supervisor.spawn(["sleep", "60"])
        keepers.add(keeper_of(session))
        assert (await session.kill()).empty
    # Ten sessions. On a machine that is busy enough, SIGKILL can be slow.
    assert len(keepers) <= 5


async def test_a_second_sigkill(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper is used again although the host has sent SIGKILL twice before it was heard."""
    rounds, twice = 0, 0
    keepers: set[int] = set()
    kill = LiveKeeper.kill

    def counted(self: LiveKeeper) -> Signalled:
        nonlocal rounds
        rounds += 1
        return kill(self)

    monkeypatch.setattr(LiveKeeper, "kill", counted)
    monkeypatch.setattr(schedule, "_RETRY_FIRST", 0.0)
    monkeypatch.setattr(session_timer, "_PASSES", 0)
    for _ in range(10):
        session = await supervisor.spawn(["sleep", "60"])
        keepers.add(keeper_of(session))
        rounds = 0
        assert (await session.kill()).empty
        twice += rounds > 1
    assert twice > 5
    assert len(keepers) <= 5


@pytest.mark.parametrize("change", CHANGES)
async def test_changed_keepers_are_not_used_again(supervisor: Supervisor, change: str) -> None:
    """A session does not inherit what the one before has changed in its keeper."""
    before = await seen_by_a_leader(supervisor)
    keeper = await changed_by(supervisor, CHANGES[change])
    for _ in range(3):
        assert await seen_by_a_leader(supervisor) == before
        assert await run(supervisor, "true") != keeper
    await until(lambda: parent(keeper) is None, "the keeper to be gone")


async def seen_by_a_leader(supervisor: Supervisor) -> bytes:
    """Return the state that a leader reports to have inherited."""
    program = (
        "from ptykill.system.kernel.inheritance import inherited_state as state\n"
        "found = state()\n"
        "print(hash(repr([each for each in found if b'::' not in repr(each).encode()])))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    session = await supervisor.spawn([sys.executable, "-c", program], env=env)
    said = b""
    while data := await session.receive():
        said += data
    assert (await session.wait()).empty
    return said


async def test_stopped_keepers(supervisor: Supervisor) -> None:
    """A keeper that needed SIGCONT to end its session is not used again."""
    session = await supervisor.spawn(["sleep", "60"])
    keeper = keeper_of(session)
    os.kill(keeper, signal.SIGSTOP)
    assert (await session.kill()).empty
    for _ in range(3):
        assert await run(supervisor, "true") != keeper


async def test_slow_kills(supervisor: Supervisor) -> None:
    """A keeper whose session took long to die is not used again: here a tracer holds a zombie."""
    session = await supervisor.spawn(["sleep", "60"])
    keeper, leader = keeper_of(session), session.pid
    if LIBC.ptrace(PTRACE_SEIZE, leader, None, None):
        pytest.skip("it can't be traced here")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.kill)
        await until(lambda: stat(leader)[:1] == [b"Z"], "it to be dead")
        await trio.sleep(0.2)
        assert session.state is State.KILLING
        os.waitpid(leader, os.WNOHANG)  # noqa: ASYNC222 - dead; now its parent can reap it
    assert (await session.wait()).empty
    for _ in range(3):
        assert await run(supervisor, "true") != keeper


async def test_spared_processes_keep_their_keeper(supervisor: Supervisor) -> None:
    """A keeper with spared processes gets no other session."""
    session = await supervisor.spawn(
        ["sh", "-c", "setsid sleep 60 & echo $!; read _"], leftovers=Leftovers.SPARE
    )
    keeper = keeper_of(session)
    left = int(await session.receive())
    try:
        await until(lambda: session_of(left) == left, "it to have left the session")
        await session.send(b"\n")
        assert not (await session.wait()).empty
        for _ in range(3):
            assert await run(supervisor, "true") != keeper
        assert parent(left) == keeper
    finally:
        os.kill(left, signal.SIGKILL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's programs")
async def test_other_users(supervisor: Supervisor) -> None:
    """A keeper of another user's session is not used again."""
    nobody = Attributes(uid=65534, gid=65534)
    keeper = await run(supervisor, "true", attributes=nobody)
    for _ in range(3):
        assert await run(supervisor, "true") != keeper


async def test_masks_and_directories(supervisor: Supervisor, tmp_path: Path) -> None:
    """Each session starts with the host's umask and directory at that moment."""
    mask = os.umask(0o027)
    try:
        await run(supervisor, "umask 777; cd /tmp; [ $(umask) = 0777 ]")
        for wanted in 0o077, 0o022:
            os.umask(wanted)
            await run(supervisor, f"[ $(umask) = {wanted:04o} ]")
        os.umask(mask)
        session = await supervisor.spawn(["sh", "-c", f"[ $PWD = {tmp_path} ]"], cwd=tmp_path)
        verdict = await session.wait()
        assert verdict.exit_status == ptykill.ExitStatus(code=0)
    finally:
        os.umask(mask)


async def test_masks_that_are_not_told(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the host's umask can't be read, a session has its keeper's, not the last session's."""
    own = os.umask(0o077)
    try:
        keeper = await run(supervisor, "[ $(umask) = 0077 ]")
        take = KeeperSupply.take

        def take_without_mask(supply: KeeperSupply) -> KeeperHandle:
            handle = take(supply)
            handle.umask = None
            return handle

        monkeypatch.setattr(KeeperSupply, "take", take_without_mask)
        assert await run(supervisor, f"[ $(umask) = {own:04o} ]") == keeper
    finally:
        os.umask(own)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        (None, ""),
        ("cgroup.max.descendants", "0"),
        ("cgroup.pressure", "0"),
        ("a/cgroup.type", ""),
        ("cgroup.procs", None),
    ],
)
async def test_the_cgroup_is_as_new(
    supervisor: Supervisor, tier: str, setting: str | None, value: str | None
) -> None:
    """An unchanged cgroup is used again; a changed one is replaced."""
    if tier != "cgroup" or os.geteuid() != 0:
        pytest.skip("a session can't write to its cgroup")
    keepers: dict[int, str] = {}
    for _ in range(6):
        session = await supervisor.spawn(["sleep", "60"])
        keeper, place = keeper_of(session), cgroup_of(session.pid)
        if keeper in keepers:
            assert (place == keepers[keeper]) is (setting is None)
            assert read_file(f"{place}/cgroup.max.descendants") == b"max\n"
            assert read_file(f"{place}/cgroup.pressure") == b"1\n"
            assert (await session.kill()).empty
            return
        keepers[keeper] = place
        if setting is not None:
            change(f"{place}/{setting}", value)
        await session.kill()
    pytest.fail("no keeper was used again")


def change(path: str, value: str | None) -> None:
    """Write to a file of a cgroup, made if need be; None gives all users write access to it."""
    Path(path).parent.mkdir(exist_ok=True)
    if value is None:
        Path(path).chmod(0o666)
    elif value:
        Path(path).write_text(value)


def cgroup_of(pid: int) -> str:
    """Return the folder of a process's cgroup."""
    parent_folder = own_cgroup()
    assert parent_folder is not None
    line = next(each for each in read_proc(f"{pid}/cgroup").split(b"\n") if each[:3] == b"0::")
    return f"{parent_folder}/{line.decode().rpartition('/')[2]}"


async def left_cgroup(supervisor: Supervisor, *command: str) -> tuple[Session, int]:
    """Start a session, and wait until its keeper has left its cgroup; return the keeper's pid."""
    if supervisor.containment != "cgroup":
        pytest.skip("a keeper has no cgroup")
    session = await supervisor.spawn(command or ["sleep", "60"])
    keeper, place = keeper_of(session), cgroup_of(session.pid)
    procs = f"{place}/cgroup.procs"
    await until(lambda: b"%d" % keeper not in read_file(procs).split(), "the keeper to leave")
    return session, keeper


def supply_of(supervisor: Supervisor) -> KeeperSupply:
    """Return a supervisor's keepers."""
    tier: Any = supervisor._spawner._tier
    supply: KeeperSupply = tier._keepers
    return supply


async def test_a_keeper_that_has_left_its_cgroup(supervisor: Supervisor) -> None:
    """The next session has another keeper: to enter the cgroup again takes some 10 ms."""
    session, keeper = await left_cgroup(supervisor)
    supply = supply_of(supervisor)
    await until(lambda: supply._idle, "another keeper")
    assert (await session.terminate()).empty
    assert await run(supervisor, "true") != keeper
    await until(lambda: all(each.is_ready() for each in supply._idle), "it to be ready")
    assert keeper in {each.pid for each in supply._idle}
    supply._idle.sort(key=lambda each: each.pid == keeper)
    assert await run(supervisor, "true") == keeper


async def test_the_only_keeper_is_not_ready(supervisor: Supervisor) -> None:
    """It is taken if a session is spawned now; another one is made ready for later."""
    for then in "spawn", "prepare":
        session, keeper = await left_cgroup(supervisor)
        supply = supply_of(supervisor)
        await until(lambda: supply._idle, "another keeper")  # noqa: B023 - at once
        supply.drop_idle()
        assert (await session.terminate()).empty
        assert [each.pid for each in supply._idle] == [keeper]
        if then == "spawn":
            assert await run(supervisor, "true") == keeper
        else:
            supply.prepare()
            assert len(supply._idle) == 2
            assert await run(supervisor, "true") != keeper


async def test_a_keeper_that_is_asked_is_ready_soon(supervisor: Supervisor) -> None:
    """It waits no 0.2 s, as one does that nobody has asked."""
    taken = []
    for _ in range(5):
        session, keeper = await left_cgroup(supervisor)
        assert (await session.terminate()).empty
        began = trio.current_time()
        (handle,) = (each for each in supply_of(supervisor)._idle if each.pid == keeper)
        # On a busy machine it may have got ready meanwhile.
        handle.get_ready()
        await until(handle.is_ready, "it to be ready")
        taken.append(trio.current_time() - began)
    assert min(taken) < 0.15  # Most machines need 20 ms.


async def test_a_keeper_that_is_killed_before_it_is_ready(supervisor: Supervisor) -> None:
    """Spawns work."""
    session, keeper = await left_cgroup(supervisor)
    assert (await session.terminate()).empty
    os.kill(keeper, signal.SIGKILL)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run, supervisor, "true")


async def test_a_keeper_that_is_asked_and_was_changed(supervisor: Supervisor) -> None:
    """It exits, although it gets no order."""
    change = CHANGES["its timers' slack"]
    command = sys.executable, "-c", f"input()\n{CALLS}{change}"
    session, keeper = await left_cgroup(supervisor, *command)
    await session.send(b"\n")
    verdict = await session.wait()
    assert verdict.exit_status is not None
    if verdict.exit_status.code:
        pytest.skip("it can't be changed here")
    (handle,) = (each for each in supply_of(supervisor)._idle if each.pid == keeper)
    handle.get_ready()
    await until(lambda: parent(keeper) is None, "it to exit")
    await run(supervisor, "true")


@pytest.mark.parametrize("stopped", [False, True], ids=["busy", "stopped"])
async def test_more_keepers_than_the_warden_has_room_for(
    supervisor: Supervisor, *, stopped: bool
) -> None:
    """However many sessions are spawned at once, all are, also if the warden is stopped."""
    warden = supply_of(supervisor)._warden
    warden._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # A few messages.
    if stopped:
        os.kill(warden.pid, signal.SIGSTOP)
    keepers = set()

    async def spawn() -> None:
        keepers.add(keeper_of(await supervisor.spawn(["sleep", "60"])))

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(spawn)
    assert len(keepers) == 30


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_idle_keepers_that_are_hit(supervisor: Supervisor, number: signal.Signals) -> None:
    """An idle keeper that is killed is replaced; one that is stopped gets SIGCONT."""
    for _ in range(3):
        keeper = await run(supervisor, "true")
        os.kill(keeper, number)
        await run(supervisor, "true")


async def test_more_dead_idle_keepers_than_tries(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spawn works although all idle keepers are dead, and there are more than its tries."""
    monkeypatch.setattr(keeper_supply, "_IDLE_TIME", 60.0)
    sessions = [await supervisor.spawn(["sleep", "60"]) for _ in range(25)]
    keepers = [keeper_of(session) for session in sessions]
    async with trio.open_nursery() as nursery:
        for session in sessions:  # By SIGHUP: on a busy machine many need a second SIGKILL.
            nursery.start_soon(session.terminate)
    alive = [keeper for keeper in keepers if parent(keeper) is not None]
    assert len(alive) > keeper_tier._TRIES
    for keeper in alive:
        os.kill(keeper, signal.SIGKILL)
    assert await run(supervisor, "true") not in alive


async def test_idle_keepers_are_few(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some time after a burst of sessions, one idle keeper is left."""
    monkeypatch.setattr(keeper_supply, "_IDLE_TIME", 0.5)
    monkeypatch.setattr(keeper_supply, "_MOST_IDLE", 6)
    sessions = [await supervisor.spawn(["sleep", "60"]) for _ in range(9)]
    warden = parent(keeper_of(sessions[0]))
    assert warden is not None
    async with trio.open_nursery() as nursery:
        for session in sessions:
            nursery.start_soon(session.kill)
    await until(lambda: len(children(warden)) <= 6, "no more than the most")
    await until(lambda: len(children(warden)) == 1, "one keeper to be left")
    await run(supervisor, "true")


async def test_at_the_limit_of_processes(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle keepers exit if the limit of processes leaves no room for a session."""
    send_order = KeeperHandle.send_order
    sessions = [await supervisor.spawn(["sleep", "60"]) for _ in range(4)]
    keepers = [keeper_of(session) for session in sessions]
    for session in sessions:
        await session.kill()

    def send_if_few(self: KeeperHandle, *order: Any) -> None:  # noqa: ANN401 - handed on
        if self.pid in keepers:
            raise StartFailed(errno.EAGAIN, "exec")
        send_order(self, *order)

    monkeypatch.setattr(KeeperHandle, "send_order", send_if_few)
    assert await run(supervisor, "true") not in keepers
    for keeper in keepers:
        await until(lambda: parent(keeper) is None, "it to have made room")  # noqa: B023 - at once


async def test_at_the_limit_of_descriptors(tier: str) -> None:
    """Idle keepers exit if a session needs their descriptors."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (120, limits[1]))
    held: list[int] = []
    try:
        async with ptykill.open_supervisor(plan=PLAN, containment=tier) as supervisor:
            sessions = [await supervisor.spawn(["sleep", "60"]) for _ in range(8)]
            for session in sessions:
                await session.kill()
            await trio.sleep(0.3)  # The descriptors of ended sessions are closed by then.
            with suppress(OSError):  # EMFILE
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            session = await supervisor.spawn(["sleep", "60"])
            assert (await session.kill()).empty
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
