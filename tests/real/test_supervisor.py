"""Sessions end once, and in time, however the supervisor's block is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

import ptykill
from ptykill import (
    ExitStatus,
    InvalidGrace,
    Leftovers,
    Outcome,
    PlanError,
    SessionNotFound,
    State,
    Supervisor,
    SupervisorClosed,
    TooManySessions,
    Verdict,
)
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.testing import processes
from ptykill.testing.adversaries import find
from ptykill.testing.observer import Observer
from tests.real.running_program import SLACK, TIMEOUT, start, until

QUICK = "HUP@session 200ms, KILL 15s"
DEAF = "bash with a deaf job"


async def test_left_by_return(tmp_path: Path, tier: str) -> None:
    """Leaving the block ends every session in it, by its own plan."""
    async with ptykill.open_supervisor(plan=QUICK, containment=tier) as supervisor:
        deaf = await start(supervisor, find("deaf"), tmp_path)
        job = await start(supervisor, find(DEAF), tmp_path)
        polite = await start(
            supervisor,
            find("cleans up in half the grace"),
            tmp_path,
            plan="HUP@session 60s, KILL 15s",
        )
        programs = deaf, job, polite
        observers = [running.observe() for running in programs]
    for running, observer in zip(programs, observers, strict=True):
        with observer:
            assert observer.survivors() == []
        assert running.session.state is State.ENDED
        assert running.session.verdict is not None
        assert running.session.verdict.empty
    assert polite.has("cleaned")
    assert [
        running.session.verdict.outcome
        for running in programs
        if running.session.verdict is not None
    ] == [
        Outcome.KILLED,
        Outcome.KILLED,
        Outcome.GRACEFUL,
    ]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, ExceptionGroup])
async def test_left_by_exception(tmp_path: Path, tier: str, kind: type[BaseException]) -> None:
    """The block's own exception is raised, after all processes are dead."""
    error = ExceptionGroup("two", [ValueError(), OSError()]) if kind is ExceptionGroup else kind()
    observers: list[Observer] = []
    with pytest.raises(kind) as caught:  # noqa: PT012
        async with ptykill.open_supervisor(plan=QUICK, containment=tier) as supervisor:
            running = await start(supervisor, find(DEAF), tmp_path)
            observers.append(running.observe())
            raise error
    assert caught.value is error
    assert error.__cause__ is None
    with observers[0]:
        assert observers[0].survivors() == []


async def test_left_by_cancellation(tmp_path: Path, tier: str) -> None:
    """A cancelled block gives its sessions their grace, and takes no longer than their plans."""
    began = trio.current_time()
    observers: list[Observer] = []
    with trio.CancelScope() as scope:
        async with ptykill.open_supervisor(plan=QUICK, containment=tier) as supervisor:
            deaf = await start(supervisor, find("crowd"), tmp_path)
            clean = await start(
                supervisor,
                find("member that cleans up after its leader"),
                tmp_path,
                plan="HUP@session 30s, KILL 15s",
            )
            observers += [deaf.observe(), clean.observe()]
            scope.cancel()
            began = trio.current_time()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - began < 30
    assert clean.has("cleaned")
    for observer in observers:
        with observer:
            assert observer.survivors() == []


async def test_a_session_is_a_block_too(supervisor: Supervisor, tmp_path: Path) -> None:
    """Leaving a session's block ends that session only, also if it is cancelled."""
    beside = await start(supervisor, find("polite"), tmp_path)
    running = await start(
        supervisor, find("cleans up in half the grace"), tmp_path, plan="HUP@session 30s, KILL 15s"
    )
    with trio.CancelScope() as scope:
        async with running.session as session:
            assert session is running.session
            scope.cancel()
            await trio.sleep_forever()
    assert running.has("cleaned")
    assert running.session.verdict is not None
    assert running.session.verdict.outcome is Outcome.GRACEFUL
    assert beside.session.state is State.RUNNING


async def test_a_cancelled_caller(supervisor: Supervisor, tmp_path: Path) -> None:
    """The teardown goes on if the caller that requested it is cancelled."""
    running = await start(supervisor, find("deaf"), tmp_path)
    with running.observe() as observer:
        with trio.move_on_after(0.02):
            await running.session.terminate(grace=0.3)
        assert running.session.state is State.STOPPING
        verdict = await running.session.wait()
        assert observer.survivors() == []
    assert verdict.outcome is Outcome.KILLED
    assert [each.what for each in verdict.deliveries] == ["HUP@session", "KILL@all"]
    assert verdict.grace >= 0.3


async def test_a_caller_cancelled_before_it_asked(supervisor: Supervisor, tmp_path: Path) -> None:
    """`terminate` requests the end, even if its caller is already cancelled."""
    running = await start(supervisor, find("polite"), tmp_path)
    with trio.CancelScope() as scope:
        scope.cancel()
        await running.session.terminate()
    assert (await running.session.wait()).outcome is Outcome.GRACEFUL


async def test_many_callers(supervisor: Supervisor, tmp_path: Path) -> None:
    """Twenty callers at once, and a later one, get the same verdict of one teardown."""
    running = await start(supervisor, find("stopped and deaf leader"), tmp_path)
    verdicts: list[Verdict] = []

    async def ask() -> None:
        verdicts.append(await running.session.terminate(grace=0.2))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    late = await supervisor.terminate(running.session.id, grace=5)
    assert len(verdicts) == 20
    assert all(verdict is late for verdict in verdicts)
    assert [each.what for each in late.deliveries] == ["HUP@session", "KILL@all"]


@pytest.mark.parametrize("hurry", [0.0, 0.1])
async def test_hurried(supervisor: Supervisor, tmp_path: Path, hurry: float) -> None:
    """A later caller with a shorter grace makes the kill earlier."""
    running = await start(supervisor, find("deaf"), tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: running.session.terminate(grace=3600))
        await until(lambda: running.session.state is State.STOPPING, "the teardown to begin")
        verdict = await running.session.terminate(grace=hurry)
    assert verdict.outcome is Outcome.KILLED
    assert verdict.grace < SLACK


async def test_not_slowed_down(supervisor: Supervisor, tmp_path: Path) -> None:
    """A later caller with a longer grace does not delay the kill."""
    running = await start(supervisor, find("deaf"), tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: running.session.terminate(grace=0.1))
        await until(lambda: running.session.state is State.STOPPING, "the teardown to begin")
        verdict = await running.session.terminate(grace=3600)
    assert verdict.outcome is Outcome.KILLED
    assert verdict.grace < SLACK


async def test_killed_during_the_grace(supervisor: Supervisor, tmp_path: Path) -> None:
    """`kill` ends the grace."""
    running = await start(supervisor, find("cleans up for too long"), tmp_path)
    with running.observe() as observer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: running.session.terminate(grace=3600))
            await until(lambda: running.has("began"), "the clean-up to begin")
            verdict = await running.session.kill()
        assert observer.survivors() == []
    assert verdict.outcome is Outcome.KILLED
    assert verdict.took < SLACK
    assert not running.has("cleaned")


async def test_steps_in_their_order(supervisor: Supervisor, tmp_path: Path) -> None:
    """The steps of a plan are delivered in order, until the session has ended."""
    running = await start(supervisor, find("bash with a stopped job"), tmp_path)
    plan = '"exi" 50ms, TERM@leader 50ms, USR2@foreground 30s, HUP 30s, KILL 15s'
    with running.observe() as observer:
        verdict = await running.session.terminate(plan=plan)
        assert observer.survivors() == []
    assert [each.what for each in verdict.deliveries][:3] == [
        '"exi"',
        "TERM@leader",
        "USR2@foreground",
    ]
    assert verdict.exit_status == ExitStatus(signal=12)


async def test_hangup_by_closing(supervisor: Supervisor, tmp_path: Path) -> None:
    """The step ``hangup`` closes the terminal, which ends the session."""
    running = await start(supervisor, find("polite"), tmp_path)
    with running.observe() as observer:
        verdict = await running.session.terminate(plan="hangup 30s, KILL 15s")
        assert observer.survivors() == []
    assert verdict.outcome is Outcome.GRACEFUL
    assert verdict.exit_status == ExitStatus(signal=1)
    assert await running.session.receive() == b""


async def test_asked_as_a_person_would(supervisor: Supervisor, tmp_path: Path) -> None:
    """An idle shell exits when Ctrl-D is typed."""
    running = await start(supervisor, find("bash with an orphan"), tmp_path)
    with running.observe() as observer:
        verdict = await running.session.terminate(
            plan='"^C" 100ms, "^D" 500ms, HUP@session 30s, KILL 15s'
        )
        assert observer.survivors() == []
    assert [each.what for each in verdict.deliveries] == ['"^C"', '"^D"', "HUP@session"]
    assert verdict.exit_status is not None
    assert verdict.exit_status.signal is None


@pytest.mark.parametrize("policy", [Leftovers.HANGUP, Leftovers.KILL, Leftovers.SPARE])
async def test_leftovers(supervisor: Supervisor, tmp_path: Path, policy: Leftovers) -> None:
    """Leftovers get SIGHUP, are killed, or are spared, by the policy."""
    running = await start(
        supervisor,
        find("leaves a polite child"),
        tmp_path,
        leftovers=policy,
        plan="HUP@session 30s, KILL 15s",
    )
    with running.observe() as observer:
        running.tell("go")
        verdict = await running.session.wait()
        left = observer.survivors()
    assert verdict.exit_status == ExitStatus(code=5)
    assert running.session.state is State.ENDED
    assert running.has("cleaned") == (policy is Leftovers.HANGUP)
    if policy is Leftovers.SPARE:
        assert (verdict.outcome, verdict.empty) == (Outcome.SPARED, False)
        (survivor,) = verdict.survivors
        assert left == [f"{survivor.pid} {survivor.name}"]
        assert survivor.name.startswith("python")
        assert str(running.folder) in survivor.command
        assert survivor.started is not None
        assert verdict.deliveries == ()
        processes.end(survivor.pid)
    else:
        graceful = policy is Leftovers.HANGUP
        assert verdict.outcome is (Outcome.GRACEFUL if graceful else Outcome.KILLED)
        assert left == []
        assert [each.what for each in verdict.deliveries] == [
            "HUP@session" if graceful else "KILL@all"
        ]


async def test_one_that_ends_by_itself(supervisor: Supervisor) -> None:
    """If a leader exits and leaves no process, its session ends without a delivery."""
    session = await supervisor.spawn(["sh", "-c", "exit 3"])
    verdict = await session.wait()
    assert (verdict.outcome, verdict.empty) == (Outcome.EXITED, True)
    assert verdict.exit_status == ExitStatus(code=3)
    assert verdict.deliveries == ()
    assert await session.terminate() is verdict


async def test_status_of_a_signal(supervisor: Supervisor) -> None:
    """The exit status has the signal of a program that a signal ended."""
    session = await supervisor.spawn(["sh", "-c", "ulimit -c 0; kill -SEGV $$"])
    status = await session.wait_exited()
    assert status == ExitStatus(signal=11)
    assert (await session.wait()).outcome is Outcome.EXITED


async def test_session_limit(tmp_path: Path, tier: str) -> None:
    """No more sessions live at once than `max_sessions`; an ended session does not count."""
    async with ptykill.open_supervisor(plan=QUICK, containment=tier, max_sessions=2) as supervisor:
        first = await start(supervisor, find("polite"), tmp_path)
        await start(supervisor, find("polite"), tmp_path)
        with pytest.raises(TooManySessions) as caught:
            await supervisor.spawn(["true"])
        assert (caught.value.code, caught.value.status) == ("TOO_MANY_SESSIONS", 429)
        await first.session.terminate(grace=TIMEOUT)
        await start(supervisor, find("polite"), tmp_path)
        with pytest.raises(TooManySessions):
            await supervisor.spawn(["true"])


async def test_session_limit_under_concurrent_spawns(tier: str) -> None:
    """Spawns that run at the same time can't exceed the limit together."""
    refused = []
    async with ptykill.open_supervisor(plan=QUICK, containment=tier, max_sessions=3) as supervisor:

        async def spawn() -> None:
            try:
                await supervisor.spawn(["sleep", "60"])
            except TooManySessions as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(spawn)
        assert len(refused) == 7
        assert len(supervisor.sessions) == 3


async def test_records(tmp_path: Path, tier: str) -> None:
    """The newest ended sessions are kept as records; live sessions always are."""
    async with ptykill.open_supervisor(plan=QUICK, containment=tier, keep_records=2) as supervisor:
        live = await start(supervisor, find("polite"), tmp_path)
        ended = [await supervisor.spawn(["true"]) for _ in range(4)]
        for session in ended:
            await session.wait()
        known = {session.id for session in supervisor.sessions}
        assert len(known) == 3
        assert live.session.id in known
        newest = max(ended, key=lambda session: session.ended_at or 0)
        assert supervisor.get(newest.id) is newest
        (gone, *_) = [session for session in ended if session.id not in known]
        with pytest.raises(SessionNotFound):
            supervisor.get(gone.id)
        with pytest.raises(SessionNotFound):
            await supervisor.terminate("no-such-session")


async def test_records_in_time(tier: str) -> None:
    """A record is dropped after its time."""
    async with ptykill.open_supervisor(
        plan=QUICK, containment=tier, keep_seconds=0.05
    ) as supervisor:
        session = await supervisor.spawn(["true"])
        await session.wait()
        await until(lambda: supervisor.sessions == (), "the record to be dropped")
        with pytest.raises(SessionNotFound) as caught:
            await supervisor.terminate(session.id)
        assert (caught.value.code, caught.value.status) == ("SESSION_NOT_FOUND", 404)


async def test_ids(supervisor: Supervisor) -> None:
    """Ids can't be guessed, and can be used in a URL."""
    ids = [(await supervisor.spawn(["true"])).id for _ in range(5)]
    assert len(set(ids)) == 5
    for each in ids:
        assert len(each) >= 22
        assert each.replace("-", "").replace("_", "").isalnum()
        assert each.isascii()


async def test_bad_graces(supervisor: Supervisor, tmp_path: Path) -> None:
    """An invalid grace or plan is refused, and no signal is sent."""
    running = await start(supervisor, find("polite"), tmp_path)
    for grace in -1, float("nan"), float("inf"), 1e9, "1", True, None.__class__:
        with pytest.raises(InvalidGrace):
            await running.session.terminate(grace=grace)  # type: ignore[arg-type]
    for plan in "", "HUP", "HUP@everybody 1s, KILL", "HUP -1s, KILL", "KILL, HUP 1s":
        with pytest.raises(PlanError):
            await running.session.terminate(plan=plan)
    await trio.sleep(0.05)
    assert running.session.state is State.RUNNING
    assert not running.session.exited


async def test_spawning_into_a_closed_supervisor(tmp_path: Path, tier: str) -> None:
    """A supervisor whose block is or was left refuses spawns."""
    async with ptykill.open_supervisor(plan=QUICK, containment=tier) as supervisor:
        await start(supervisor, find("deaf"), tmp_path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.close)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(SupervisorClosed):
                await supervisor.spawn(["true"])
    with pytest.raises(SupervisorClosed):
        await supervisor.spawn(["true"])


async def test_cancelled_spawns(spawning: str) -> None:
    """A spawn that is cancelled at any moment leaves no process."""
    tier = spawning if spawning in ("keeper", "cgroup") else "session"
    before = {each.pid for each in processes.spawned(os.getpid())}
    async with ptykill.open_supervisor(
        plan=QUICK, max_sessions=1000, containment=tier
    ) as supervisor:
        for number in range(30):
            with trio.move_on_after(0.001 * number):
                await supervisor.spawn(["sleep", "60"])
        spawned = {each.pid for each in processes.spawned(os.getpid())} - before
        assert spawned == {session.pid for session in supervisor.sessions}


async def test_all_at_once(tmp_path: Path, tier: str) -> None:
    """Twenty sessions with their jobs end together."""
    async with ptykill.open_supervisor(plan=QUICK, containment=tier) as supervisor:
        programs = [await start(supervisor, find(DEAF), tmp_path) for _ in range(20)]
        observers = [running.observe() for running in programs]
        began = trio.current_time()
    assert trio.current_time() - began < 0.2 + SLACK
    for running, observer in zip(programs, observers, strict=True):
        with observer:
            assert len(observer) == 2
            assert observer.survivors() == []
        verdict = running.session.verdict
        assert verdict is not None
        assert verdict.empty
        assert verdict.exit_status == ExitStatus(signal=1)


async def test_closing_a_supervisor_leaves_others_their_reserve(tier: str) -> None:
    """The descriptors kept back for kills are held until the last supervisor is closed."""
    assert not reserve._held
    async with ptykill.open_supervisor(plan=QUICK, containment=tier) as supervisor:
        session = await supervisor.spawn(["sleep", "60"])
        held = len(reserve._held)
        assert held
        async with ptykill.open_supervisor(plan=QUICK, containment=tier) as other:
            await other.spawn(["sleep", "60"])
        assert len(reserve._held) == held
        assert (await session.kill()).empty
    assert not reserve._held
