"""No process of a session is left when `terminate` returns, and the verdict is correct."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
from pathlib import Path

import pytest
import trio

from ptykill import (
    HANGUP_THEN_KILL,
    KILL_NOW,
    Caveat,
    ExitStatus,
    Outcome,
    Plan,
    Reach,
    SessionEnded,
    State,
    Supervisor,
    Verdict,
)
from ptykill.system.containment.process_table import PidMark
from ptykill.system.containment.session_containment import SessionContainment
from ptykill.system.containment.session_members import SessionMembers
from ptykill.system.containment.session_signals import SessionSignals
from ptykill.system.kernel.procfs import session_of
from ptykill.testing import processes
from ptykill.testing.adversaries import (
    BASH,
    ESCAPING,
    EXITING_LEADERS,
    JOBS,
    PROGRAMS,
    Program,
    find,
    python,
)
from tests.real.running_program import SLACK, TIMEOUT, RunningProgram, start, until

TIER = frozenset({Caveat.SCANNED, Caveat.ESCAPEES_UNKNOWN})
"""The caveats of the session containment; the second is in every verdict."""


async def ended(running: RunningProgram, **options: object) -> Verdict:
    """End a session, and check by an observer that no process of it is left."""
    with running.observe() as observer:
        assert len(observer) >= running.program.members
        verdict = await running.session.terminate(**options)  # type: ignore[arg-type]
        assert observer.survivors() == []
        assert running.marked() == []
    assert processes.look_up(running.session.pid) is None  # It has been reaped.
    return verdict


def name_of(pid: int) -> str:
    """Return the name of a process; nothing if there is none."""
    process = processes.look_up(pid)
    return "" if process is None else process.name


def check_truth(verdict: Verdict, program: Program) -> None:
    """Compare a verdict with the expected result of the program."""
    assert verdict.empty
    assert verdict.survivors == ()
    assert verdict.outcome is program.outcome
    assert verdict.exit_status == program.status
    if verdict.containment == "session":
        assert Caveat.ESCAPEES_UNKNOWN in verdict.caveats
        assert verdict.caveats <= TIER
    else:
        assert verdict.caveats == frozenset()
    hangup, *kills = verdict.deliveries
    assert hangup.what == "HUP@session"
    assert hangup.reached >= 1
    if kills and kills[0].what == "TERM@escaped":
        del kills[0]
    assert all(each.error is None and each.refused == () for each in verdict.deliveries)
    if program.outcome is Outcome.KILLED:
        (kill,) = kills
        assert kill.what == "KILL@all"
        assert kill.reached >= 1
        assert kill.at >= program.grace
        assert verdict.grace >= program.grace
        assert verdict.took < program.grace + SLACK
    else:
        assert kills == []
        assert verdict.kill == 0
        assert verdict.grace == verdict.took < program.grace


@pytest.mark.parametrize("program", [*PROGRAMS, *JOBS], ids=str)
async def test_terminate(supervisor: Supervisor, tmp_path: Path, program: Program) -> None:
    """No process survives, a clean-up within the grace is finished, and the verdict is correct."""
    running = await start(supervisor, program, tmp_path)
    verdict = await ended(running, grace=program.grace)
    check_truth(verdict, program)
    assert running.has("cleaned") == program.cleans_up
    assert running.session.state is State.ENDED
    assert running.session.exit_status == program.status


@pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)
@pytest.mark.parametrize("program", ESCAPING, ids=str)
async def test_nothing_escapes(supervisor: Supervisor, tmp_path: Path, program: Program) -> None:
    """A process that has left the session and lost its parent is ended with it."""
    if program.missing:
        pytest.skip(f"not installed: {', '.join(program.missing)}")
    running = await start(supervisor, program, tmp_path, plan=str(HANGUP_THEN_KILL))
    verdict = await ended(running, grace=program.grace)
    check_truth(verdict, program)
    assert running.has("cleaned") == program.cleans_up


@pytest.mark.parametrize("program", [*PROGRAMS, *JOBS], ids=str)
async def test_kill(supervisor: Supervisor, tmp_path: Path, program: Program) -> None:
    """No process survives an immediate SIGKILL."""
    running = await start(supervisor, program, tmp_path)
    verdict = await ended(running, plan=KILL_NOW)
    assert (verdict.outcome, verdict.empty) == (Outcome.KILLED, True)
    assert verdict.exit_status == ExitStatus(signal=signal.SIGKILL)
    assert [each.what for each in verdict.deliveries] == ["KILL@all"]
    assert not running.has("cleaned")


PORTABLE = (
    "polite",
    "deaf",
    "stopped leader",
    "leader that exits during the grace",
    "clean-up with helpers",
    "member with a dead main thread",
    "crowd",
    "child in a session of its own",
    "wiped environment",
    "bash with a deaf and stopped job",
)


@pytest.mark.parametrize("name", PORTABLE)
@pytest.mark.parametrize("tier", ["session"], indirect=True)
async def test_each_system(system: str, supervisor: Supervisor, tmp_path: Path, name: str) -> None:
    """No process survives without pidfds and without /proc."""
    program = find(name)
    running = await start(supervisor, program, tmp_path)
    verdict = await ended(running, grace=program.grace)
    check_truth(verdict, program)
    assert running.has("cleaned") == program.cleans_up
    if system == "portable":
        assert Caveat.SCANNED in verdict.caveats


@pytest.mark.parametrize("name", ["cleans up in half the grace", "bash with a deaf job"])
@pytest.mark.parametrize("tier", ["session"], indirect=True)
async def test_each_way_to_spawn(
    spawning: str, supervisor: Supervisor, tmp_path: Path, name: str
) -> None:
    """Sessions are ended, with each way to spawn their leaders."""
    program = find(name)
    running = await start(supervisor, program, tmp_path)
    check_truth(await ended(running, grace=program.grace), program)
    assert running.has("cleaned") == program.cleans_up


async def test_the_hangup_reaches_every_member_once(supervisor: Supervisor, tmp_path: Path) -> None:
    """The verdict counts the members that got SIGHUP, and each got it once."""
    program = python(
        "counters",
        "five processes that write a line for each SIGHUP",
        """
        def count():
            record = os.open("hangups", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            on(signal.SIGHUP, lambda: os.write(record, b"%d\\n" % os.getpid()))
        def member(name):
            count()
            touch(name)
            idle()
        for name in "abcd":
            fork(lambda: member(name))
            wait_for(name)
        count()
        touch("ready")
        idle()
        """,
    )
    running = await start(supervisor, program, tmp_path)
    with running.observe() as observer:
        pids = observer.pids
    record = running.folder / "hangups"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: running.session.terminate(grace=3600))
        await until(lambda: len(record.read_text().split()) >= len(pids), "the hangups")
        await trio.sleep(0.1)
        # Before the kill: when the leader dies of it, the kernel sends SIGHUP to the others too.
        heard = record.read_text().split()
        verdict = await ended(running, grace=0)
    assert sorted(heard) == sorted(map(str, pids))
    assert [each.reached for each in verdict.deliveries] == [5, 5]


async def test_ctrl_z(supervisor: Supervisor, tmp_path: Path) -> None:
    """A shell with every kind of job, one of them stopped by Ctrl-Z: all are ended."""
    shell = Program(
        "bash", "an interactive bash", "", (BASH, "--norc", "--noprofile", "-i"), typed=":"
    )
    running = await start(supervisor, shell, tmp_path)
    await running.session.send(b"sleep 60\n")
    await until(lambda: running.foreground() != running.session.pid, "the job to be in front")
    job = running.foreground()
    # Before its exec it still ignores what is typed, as its shell does.
    await until(lambda: name_of(job) == "sleep", "the job to run")
    await running.session.send(b"\x1a")
    await until(
        lambda: running.foreground() == running.session.pid, "the shell to be back in front"
    )
    stopped = processes.look_up(job)
    assert stopped is not None
    assert stopped.state == "T"
    lines = [each.typed for each in JOBS if "100" not in each.name]
    # Each into its own file: a line too long for the terminal would be cut (4096 bytes).
    (running.folder / "jobs").write_text("\n".join([*lines, ": > all"]) + "\n")
    await running.session.send(b". ./jobs\n")
    await until(lambda: running.has("all"), "the jobs to run")
    verdict = await ended(running, grace=0.3)
    assert verdict.empty
    assert verdict.outcome is Outcome.KILLED
    assert verdict.exit_status == ExitStatus(signal=signal.SIGHUP)
    hangup, kill = verdict.deliveries
    # With a keeper the shell gets SIGHUP first, and may send it to its jobs before ptykill does.
    assert hangup.reached >= (10 if verdict.containment == "session" else 1)
    assert kill.reached == 3  # The one under nohup, and the two that are deaf.


async def test_foreground_child_outlives_its_shell(supervisor: Supervisor, tmp_path: Path) -> None:
    """A foreground program has its grace to clean up, although its shell has died of SIGHUP."""
    child = find("cleans up in half the grace")
    program = tmp_path / "child"
    program.mkdir()
    command = " ".join(child.command(program, "child"))
    shell = Program(
        "bash", "an interactive bash", "", (BASH, "--norc", "--noprofile", "-i"), typed=":"
    )
    running = await start(supervisor, shell, tmp_path)
    (running.folder / "ready").unlink()
    await running.session.send(f"{command}\n".encode())
    await running.ready()
    assert running.foreground() != running.session.pid
    verdict = await ended(running, grace=TIMEOUT)
    assert running.has("cleaned")
    assert (verdict.outcome, verdict.empty) == (Outcome.GRACEFUL, True)
    assert verdict.exit_status == ExitStatus(signal=signal.SIGHUP)
    assert verdict.took >= 0.5


async def test_a_bystander_session_stays_untouched(supervisor: Supervisor, tmp_path: Path) -> None:
    """A session beside the one that is ended gets no signal."""
    watchful = python(
        "bystander",
        "writes down every signal that it gets",
        """
        for number in signal.SIGHUP, signal.SIGCONT, signal.SIGTERM, signal.SIGINT:
            on(number, lambda: touch("signalled"))
        fork(idle)
        touch("ready")
        idle()
        """,
    )
    beside = await start(supervisor, watchful, tmp_path)
    with beside.observe() as bystanders:
        assert len(bystanders) == 2
        for name in "crowd", "child in a session of its own":
            await ended(await start(supervisor, find(name), tmp_path), grace=0.1)
        assert len(bystanders.survivors()) == 2
    assert not beside.has("signalled")
    assert beside.session.state is State.RUNNING
    assert (await beside.session.kill()).empty


@pytest.mark.parametrize("program", EXITING_LEADERS, ids=str)
async def test_leader_that_had_ended_before(
    supervisor: Supervisor, tmp_path: Path, program: Program
) -> None:
    """Processes that a leader leaves when it exits by itself get the plan, as the verdict says."""
    running = await start(
        supervisor, program, tmp_path, plan=f"HUP@session {program.grace}s, KILL 15s"
    )
    with running.observe() as observer:
        assert len(observer) == program.members
        running.tell("go")
        verdict = await running.session.wait()
        assert observer.survivors() == []
        assert running.marked() == []
    check_truth(verdict, program)
    assert running.has("cleaned") == program.cleans_up


async def test_terminate_after_the_leader_has_ended(supervisor: Supervisor, tmp_path: Path) -> None:
    """A request for the end, when only leftovers live, shortens their grace."""
    running = await start(
        supervisor, find("leaves a deaf child"), tmp_path, plan="HUP@session 60s, KILL 15s"
    )
    with running.observe() as observer:
        running.tell("go")
        assert await running.session.wait_exited() == ExitStatus(code=5)
        verdict = await running.session.terminate(grace=0.1)
        assert observer.survivors() == []
    assert (verdict.outcome, verdict.empty) == (Outcome.KILLED, True)
    assert verdict.exit_status == ExitStatus(code=5)
    assert verdict.took < 0.1 + SLACK


HIDDEN_TRACER = python(
    "traced by a stranger",
    "is traced by a daemon that has left its session",
    """
    import ctypes
    ATTACH, CONT, SET_PTRACER = 16, 7, 0x59616D61
    libc.prctl(SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    leader = os.getpid()
    def tracer():
        with open("tracer", "w") as file:
            file.write(str(os.getpid()))
        libc.ptrace(ATTACH, leader, None, None)
        os.waitpid(leader, 0)
        libc.ptrace(CONT, leader, None, None)
        touch("ready")
        while True:
            time.sleep(1)
    def daemon():
        os.setsid()
        deaf()
        fork(tracer)
    os.waitpid(fork(daemon), 0)
    idle()
    """,
    Outcome.KILLED,
    ExitStatus(signal=signal.SIGKILL),
)


TRACED_BY_ITS_PARENT = python(
    "traced by its parent",
    "asks to be traced by its parent, as programs do that want no debugger",
    """
    libc.ptrace(0, 0, None, None)
    touch("ready")
    idle()
    """,
    Outcome.KILLED,
    ExitStatus(signal=signal.SIGKILL),
)


async def test_a_leader_traced_by_its_parent(supervisor: Supervisor, tmp_path: Path) -> None:
    """A leader that calls PTRACE_TRACEME stops at each signal. That is not taken for an exit."""
    running = await start(supervisor, TRACED_BY_ITS_PARENT, tmp_path)
    os.kill(running.session.pid, signal.SIGUSR1)
    await until(lambda: stopped(running), "it to stop")
    with trio.move_on_after(0.3):
        await running.session.wait()
    assert running.session.state is State.RUNNING
    verdict = await running.session.kill()
    assert verdict.empty
    assert verdict.exit_status == ExitStatus(signal=signal.SIGKILL)


def stopped(running: RunningProgram) -> bool:
    """Return whether the leader is stopped by its tracer."""
    leader = running.leader()
    return leader is not None and leader.state == "t"


@pytest.mark.parametrize("tier", ["session"], indirect=True)
async def test_a_leader_held_by_a_hidden_tracer(supervisor: Supervisor, tmp_path: Path) -> None:
    """A leader that can't be reaped is named in the verdict in time, and watched until it can.

    Its tracer has left the session and lost its parent: this containment can't know of it.
    """
    running = await start(supervisor, HIDDEN_TRACER, tmp_path)
    tracer = int((running.folder / "tracer").read_text())
    verdict = await running.session.terminate(plan="HUP@session 100ms, KILL 500ms")
    assert not verdict.empty
    assert verdict.outcome is Outcome.STUCK
    assert verdict.took < 0.6 + SLACK
    (survivor,) = verdict.survivors
    assert survivor.pid == running.session.pid
    assert survivor.state == "Z"
    assert survivor.why == f"dead, but held by the process that traces it, {tracer}"
    assert Caveat.ESCAPEES_UNKNOWN in verdict.caveats
    assert running.session.ended_at is None
    assert running.session.state is State.STUCK
    processes.end(tracer)
    verdict = await running.session.wait()
    assert verdict.empty
    assert verdict.exit_status == ExitStatus(signal=signal.SIGKILL)
    assert running.session.ended_at is not None


@pytest.mark.parametrize("tier", ["session"], indirect=True)
async def test_what_left_the_session_unseen(supervisor: Supervisor, tmp_path: Path) -> None:
    """A daemon that left the session long ago is not ended, and the verdict has the caveat."""
    running = await start(supervisor, find("daemon"), tmp_path)
    verdict = await running.session.terminate(grace=TIMEOUT)
    assert Caveat.ESCAPEES_UNKNOWN in verdict.caveats
    (daemon,) = processes.marked(running.mark)
    processes.end(daemon.pid)


async def test_the_terminal_is_opened_again(supervisor: Supervisor, tmp_path: Path) -> None:
    """A leader that closes its terminal has not ended, and its later output is received."""
    program = python(
        "comes back to its terminal",
        "closes its terminal and opens /dev/tty when it is told to",
        """
        for fd in 0, 1, 2:
            os.close(fd)
        touch("ready")
        wait_for("go")
        os.write(os.open("/dev/tty", os.O_RDWR), b"again")
        idle()
        """,
    )
    running = await start(supervisor, program, tmp_path)
    await until(lambda: running.session.state is State.RUNNING, "a moment to pass")
    running.tell("go")
    assert await running.session.receive() == b"again"
    assert running.session.state is State.RUNNING
    verdict = await ended(running, grace=TIMEOUT)
    assert verdict.exit_status == ExitStatus(signal=signal.SIGHUP)


async def test_one_who_types_into_a_full_terminal_is_told(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """A send that waits for a program that does not read fails when the session ends."""
    program = python(
        "does not read",
        "has its terminal in raw mode and never reads it",
        """
        modes = termios.tcgetattr(0)
        modes[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
        termios.tcsetattr(0, termios.TCSANOW, modes)
        touch("ready")
        idle()
        """,
    )
    running = await start(supervisor, program, tmp_path)
    refused = []

    async def type_much() -> None:
        with pytest.raises(SessionEnded) as caught:
            await running.session.send(b"x" * 1_000_000)
        refused.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(type_much)
        await trio.testing.wait_all_tasks_blocked(0.1)
        verdict = await ended(running, plan=Plan.parse('"^C" 200ms, HUP@session 30s, KILL 15s'))
    assert [error.code for error in refused] == ["SESSION_ENDED"]
    typed, hangup = verdict.deliveries
    assert typed.error is not None  # There was no room for it.
    assert hangup.error is None
    assert verdict.outcome is Outcome.GRACEFUL


@pytest.mark.long
async def test_chains_of_forks_slip_through_no_look(supervisor: Supervisor, tmp_path: Path) -> None:
    """Sixty chains that fork every 5 ms, four at a time: no verdict is empty while one lives."""
    chain = find("fork chain")

    async def end_some(folder: Path) -> None:
        for number in range(15):
            here = folder / str(number)
            here.mkdir(parents=True)
            running = await start(supervisor, chain, here)
            verdict = await running.session.terminate(grace=0.1)
            assert verdict.empty
            for _ in range(5):  # The test's own look may miss a chain, too.
                await trio.sleep(0.003)
                assert running.marked() == []

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(end_some, tmp_path / str(number))


@pytest.mark.parametrize("tier", ["session"], indirect=True)
async def test_looks_go_on_between_the_rounds_of_sigkill(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session whose emptiness is in doubt for a while gets its verdict when it is not any more.

    The doubt lasts for ten looks, as on a machine that is busy forking. The pauses between them are
    longer than those between two rounds of SIGKILL by then.
    """
    doubts = iter([True] * 10)
    monkeypatch.setattr(SessionMembers, "any_new_since", lambda *_: next(doubts, False))
    running = await start(supervisor, find("crowd"), tmp_path)
    verdict = await ended(running, plan=KILL_NOW)
    assert verdict.empty
    assert next(doubts, None) is None
    assert verdict.took < KILL_NOW.kill_bound


@pytest.mark.parametrize(
    "program",
    ["polite", *(f"bash with {each}" for each in ("a deaf job", "a running job", "an orphan"))],
)
@pytest.mark.parametrize("tier", ["session"], indirect=True)
async def test_a_leader_wrongly_taken_for_childless(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """It is reaped as if it were the only member, and the others are found all the same."""
    monkeypatch.setattr(SessionSignals, "_leader_is_childless", lambda _: True)
    reaped_at: list[bool] = []
    emptied = SessionContainment._is_empty

    def noted(self: SessionContainment, mark: PidMark | None) -> bool:
        empty = emptied(self, mark)
        reaped_at.append(empty)
        return empty

    monkeypatch.setattr(SessionContainment, "_is_empty", noted)
    running = await start(supervisor, find(program), tmp_path)
    verdict = await ended(running, grace=running.program.grace)
    check_truth(verdict, running.program)
    if verdict.outcome is Outcome.KILLED:  # The shell sends SIGHUP to the others itself.
        assert verdict.deliveries[0].reached == running.program.members
    if program != "bash with a running job":  # Bash ends that itself, in time or not.
        assert reaped_at[0] == (running.program.members == 1)


@pytest.mark.parametrize("tier", ["session"], indirect=True)
async def test_a_leader_whose_children_can_not_be_listed(supervisor: Supervisor) -> None:
    """It is not killed first: its death would hide children that have left the session."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    session = await supervisor.spawn(["sh", "-c", "setsid sh -c 'echo up; exec sleep 60' & wait"])
    containment = session._driver.containment
    assert b"up" in await session.receive()
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))  # As its session may.
    try:
        assert containment.kill().reached == set()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with processes.observe_session(session.pid) as observer:
        verdict = await session.kill()
        assert observer.survivors() == []
    assert verdict.empty
    [killed] = verdict.deliveries
    assert killed.reached == 2


LEAVES = """
import os, time
print("up", flush=True)
for _ in range(6000):
    if os.path.exists("go"):
        os.setsid()
        break
    time.sleep(0.01)
time.sleep(60)
"""


@pytest.mark.parametrize("tier", ["session"], indirect=True)
async def test_a_member_that_leaves_after_it_was_found(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed, although its parent was killed first and it has called setsid(2) since."""
    command = ["sh", "-c", '"$0" -c "$1" & wait', sys.executable, LEAVES]
    session = await supervisor.spawn(command, cwd=tmp_path)
    assert b"up" in await session.receive()
    [child] = processes.descendants(session.pid)
    found = SessionMembers.known

    def known(
        members: SessionMembers, *, afresh: bool = False, probe: range | None = None
    ) -> list[int]:
        pids = found(members, afresh=afresh, probe=probe)
        (tmp_path / "go").touch()
        until = time.monotonic() + TIMEOUT
        while session_of(child.pid) == session.pid and time.monotonic() < until:
            time.sleep(0.005)
        return pids

    monkeypatch.setattr(SessionMembers, "known", known)
    verdict = await session.kill()
    left = processes.look_up(child.pid)
    alive = left is not None and left.state != "Z"
    if alive:
        processes.end(child.pid)
    assert (alive, verdict.empty) == (False, True)


@pytest.mark.parametrize("tier", ["session"], indirect=True)
async def test_a_leader_that_others_have_just_reaped(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """It has no children and gets no signal: the others are signalled at once."""
    running = await start(supervisor, find("bash with an orphan"), tmp_path)
    leader, containment = running.session.pid, running.session._driver.containment
    with running.observe() as observer:
        assert containment.signal("WINCH", Reach.SESSION).reached == {leader}
        os.kill(leader, signal.SIGKILL)
        os.waitpid(leader, 0)  # noqa: ASYNC222 - before trio has seen anything
        [orphan] = containment.signal("WINCH", Reach.SESSION).reached
        assert name_of(orphan) == "sleep"
        verdict = await running.session.terminate()
        assert observer.survivors() == []
    assert verdict.empty
    assert Caveat.REAPED_BY_OTHERS in verdict.caveats


@pytest.mark.parametrize("stopped_by", ["a key", "a key in raw input", "the program"])
async def test_output_is_resumed_for_a_clean_up(supervisor: Supervisor, stopped_by: str) -> None:
    """A clean-up can write, although Ctrl-S or tcflow(3) had stopped the output."""
    stops = {
        "a key": "",
        "a key in raw input": "m = tcgetattr(0); m[3] &= ~ICANON; tcsetattr(0, TCSANOW, m)",
        "the program": "tcflow(1, TCOOFF)",
    }
    # No pause(2): a signal that comes just before it would not be handled until the next one.
    script = (
        "import os, signal, time\nfrom termios import *\n"
        "signal.signal(1, lambda *_: (os.write(1, b'x' * 9000 + b'cleaned'), os._exit(3)))\n"
        f"os.write(1, b'ready')\n{stops[stopped_by]}\nwhile True: time.sleep(0.05)\n"
    )
    session = await supervisor.spawn(["python3", "-c", script])
    shown = await session.receive()
    if "key" in stopped_by:
        await session.send(b"\x13")
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK
    terminal = os.open(f"/proc/{session.pid}/fd/1", flags)
    try:
        # A terminal whose output is stopped takes no bytes (Linux pty_write_room).
        await until(lambda: not select.select([], [terminal], [], 0)[1], "the output to be stopped")
    finally:
        os.close(terminal)
    verdict = await session.terminate(plan="HUP@session 20s, KILL")
    assert (verdict.outcome, verdict.exit_status) == (Outcome.GRACEFUL, ExitStatus(3))
    while data := await session.receive():
        shown += data
    assert shown.endswith(b"cleaned")
