"""Listing and signalling the members of a session that goes on."""

from __future__ import annotations

import os
import pwd
import sys
import threading
import time
from collections.abc import Callable

import pytest
import trio

import ptykill
from ptykill import InvalidArgument, Member, Reach, Session, SessionEnded, State, Supervisor
from ptykill.system.kernel.proc_folder import ProcFolder
from tests.real.running_program import TIMEOUT

SHELL = ("bash", "--norc", "--noprofile", "-i")
CALM = {**os.environ, "PS1": "$ ", "HISTFILE": "", "TMOUT": "60"}


async def listed(
    session: Session, condition: Callable[[dict[str, Member]], object], what: str
) -> dict[str, Member]:
    """List the members by their commands until they are as expected."""
    with trio.move_on_after(TIMEOUT):
        while True:
            found = {each.command or "": each for each in await session.members()}
            if condition(found):
                return found
            await trio.sleep(0.01)
    raise AssertionError(f"waited in vain: {what}; there are {found}")


def has(*commands: str) -> Callable[[dict[str, Member]], bool]:
    """Return what tells whether these commands, and no others, are listed."""
    return lambda found: sorted(found) == sorted(commands)


def has_escaped(command: str) -> Callable[[dict[str, Member]], bool]:
    """Return what tells whether this command is listed, and has left the session."""
    return lambda found: command in found and found[command].escaped


def python(code: str) -> tuple[str, ...]:
    """Return a command that runs this code."""
    return sys.executable, "-S", "-c", code


async def test_jobs_of_a_shell(supervisor: Supervisor) -> None:
    """The shell, a job in the background and one in the foreground, as ps(1) would show them."""
    before = time.time()
    session = await supervisor.spawn(SHELL, env=CALM)
    await session.send(b"sleep 61 &\nsleep 62\n")
    shell = " ".join(SHELL)
    await listed(session, has(shell, "sleep 61", "sleep 62"), "both jobs")
    found = await listed(session, lambda all_: all_["sleep 62"].foreground, "the second in front")
    leader, behind, front = found[shell], found["sleep 61"], found["sleep 62"]
    assert (leader.pid, behind.parent, front.parent) == (session.pid,) * 3
    assert [each.foreground for each in (leader, behind, front)] == [False, False, True]
    assert not any(each.escaped for each in found.values())
    assert {each.state for each in found.values()} <= {"S", "R"}
    assert {each.user for each in found.values()} == {pwd.getpwuid(os.geteuid()).pw_name}
    assert [*found.values()] == sorted(
        found.values(), key=lambda each: (each.started_at or 0, each.pid)
    )
    for each in found.values():
        assert each.started_at is not None
        assert before - 1 < each.started_at < time.time() + 1
        assert each.memory is not None
        assert 4096 <= each.memory < 1 << 30
        assert each.cpu_seconds is not None
        assert 0 <= each.cpu_seconds < TIMEOUT
    # Stopped, it is still a member, and the shell comes to the front.
    stopped = session.signal("TSTP")
    assert stopped.reached == {front.pid}
    found = await listed(session, lambda all_: all_["sleep 62"].state == "T", "it to stop")
    found = await listed(session, lambda all_: all_[shell].foreground, "the shell in front")
    assert not found["sleep 62"].foreground
    await session.kill()
    assert await session.members() == ()


async def test_a_member_that_has_left_the_session(supervisor: Supervisor) -> None:
    """It is a member, and it has escaped."""
    session = await supervisor.spawn(["sh", "-c", "setsid sleep 61 & sleep 62; :"])
    found = await listed(session, has_escaped("sleep 61"), "the sleep")
    assert not found["sleep 61"].foreground
    assert session.signal("CONT", Reach.ESCAPED).reached == {found["sleep 61"].pid}


@pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)
async def test_a_daemon(supervisor: Supervisor) -> None:
    """A keeper knows it by its descent, though its parent is dead and its session another."""
    session = await supervisor.spawn(["sh", "-c", "(setsid sleep 61 & exec :) & sleep 62; :"])
    found = await listed(session, has_escaped("sleep 61"), "the daemon")
    assert not found["sleep 61"].foreground


async def test_a_zombie(supervisor: Supervisor) -> None:
    """A dead process that is not reaped is listed, by its name, and is not signalled."""
    code = "import os, time; os.fork() or os._exit(0); time.sleep(60)"
    session = await supervisor.spawn(python(code))
    zombies: list[Member] = []
    with trio.move_on_after(TIMEOUT):
        while not zombies:
            zombies = [each for each in await session.members() if each.state == "Z"]
    (zombie,) = zombies
    assert zombie.parent == session.pid
    assert (zombie.command or "").startswith("[")
    assert zombie.memory == 0
    assert session.signal("CONT", Reach.ALL).reached == {session.pid}


async def test_a_child_of_a_thread(supervisor: Supervisor) -> None:
    """The children of all threads are members, and those that have escaped too."""
    code = (
        "import subprocess, threading, time\n"
        "def start(*command):\n"
        "    subprocess.Popen(command)\n"
        "    time.sleep(60)\n"
        "for each in ('sleep', '61'), ('setsid', 'sleep', '62'):\n"
        "    threading.Thread(target=start, args=each).start()\n"
    )
    session = await supervisor.spawn(python(code))
    await listed(session, has_escaped("sleep 62"), "the second")
    found = await listed(session, lambda all_: {"sleep 61", "sleep 62"} <= {*all_}, "both")
    assert {found[each].parent for each in ("sleep 61", "sleep 62")} == {session.pid}


async def test_a_command_of_any_bytes(supervisor: Supervisor) -> None:
    """A command line is bounded, and text whatever bytes it has."""
    odd = os.fsdecode(b"\xff\x1b[2J\n")
    session = await supervisor.spawn(["sh", "-c", "sleep 60; :", odd, "x" * 100_000])
    beginning = "sh -c sleep 60; : \ufffd\x1b[2J\n xxx"
    found = await listed(session, lambda all_: any(x.startswith(beginning) for x in all_), "it")
    (command,) = (each for each in found if each.startswith(beginning))
    assert len(command) <= 4096
    command.encode()


async def test_reaches(supervisor: Supervisor) -> None:
    """Each reach reaches those that it means, and nobody else."""
    session = await supervisor.spawn(SHELL, env=CALM)
    await session.send(b"sh -c 'setsid sleep 60; :' & sleep 61 & sleep 62\n")
    shell = " ".join(SHELL)
    wanted = has(shell, "sh -c setsid sleep 60; :", "sleep 60", "sleep 61", "sleep 62")

    def in_place(found: dict[str, Member]) -> bool:
        return found["sleep 60"].escaped and found["sleep 62"].foreground

    found = await listed(session, lambda all_: wanted(all_) and in_place(all_), "all jobs")
    pids = {name: each.pid for name, each in found.items()}
    reached = {each: session.signal("SIGCONT", each.value).reached for each in Reach}
    assert reached == {
        Reach.LEADER: {session.pid},
        Reach.GROUP: {session.pid},
        Reach.FOREGROUND: {pids["sleep 62"]},
        Reach.SESSION: {*pids.values()} - {pids["sleep 60"]},
        Reach.ESCAPED: {pids["sleep 60"]},
        Reach.ALL: {*pids.values()},
    }


async def test_exactly_one_signal_is_sent(supervisor: Supervisor) -> None:
    """No SIGCONT follows: a stopped process acts on the signal when it is continued."""
    session = await supervisor.spawn(["sleep", "60"])
    session.signal("STOP")
    await listed(session, lambda all_: [each.state for each in all_.values()] == ["T"], "T")
    session.signal("TERM", Reach.ALL)
    await trio.sleep(0.05)
    assert [each.state for each in await session.members()] == ["T"]
    assert session.state is State.RUNNING
    session.signal("CONT")
    assert await session.wait_exited() == ptykill.ExitStatus(signal=15)
    assert not session.end_requested


async def test_sigkill_is_a_signal_like_others(supervisor: Supervisor) -> None:
    """It ends whom it reaches, and the session only if nobody is left."""
    session = await supervisor.spawn(SHELL, env=CALM)
    await session.send(b"sleep 61\n")
    shell = " ".join(SHELL)
    await listed(session, has(shell, "sleep 61"), "the job")
    session.signal("KILL", "foreground")
    await listed(session, has(shell), "the job's end")
    assert session.state is State.RUNNING
    assert session.signal("KILL", Reach.ALL).reached == {session.pid}
    verdict = await session.wait()
    assert verdict.outcome is ptykill.Outcome.EXITED
    assert verdict.exit_status == ptykill.ExitStatus(signal=9)


async def test_while_the_session_is_being_ended(supervisor: Supervisor) -> None:
    """Members are listed and signalled, and the plan goes on."""
    session = await supervisor.spawn(["sh", "-c", "trap '' HUP; sleep 61 & sleep 62; :"])
    await listed(session, lambda all_: {"sleep 61", "sleep 62"} <= {*all_}, "the sleeps")
    session.request_end(plan="USR2@escaped 10s, KILL 15s")
    assert session.state is State.STOPPING
    found = {each.command: each.pid for each in await session.members()}
    assert {found["sleep 61"], found["sleep 62"]} < session.signal("TERM", Reach.ALL).reached
    verdict = await session.settled()
    assert verdict.outcome is ptykill.Outcome.GRACEFUL
    with pytest.raises(SessionEnded):
        session.signal("TERM")


@pytest.mark.parametrize("name", ["NOPE", "", 15, None, "SIGSIGTERM", "RTMIN+1"])
async def test_wrong_names_signal_nobody(supervisor: Supervisor, name: str) -> None:
    """They are refused as in a plan."""
    session = await supervisor.spawn(["sleep", "60"])
    with pytest.raises(InvalidArgument):
        session.signal(name)
    with pytest.raises(InvalidArgument):
        session.signal("KILL", "everybody")
    assert not session.exited


async def test_lists_at_the_same_time_are_complete(supervisor: Supervisor) -> None:
    """Each has the command lines, though one of them reads at a time."""
    session = await supervisor.spawn(["sleep", "61"])
    await listed(session, has("sleep 61"), "the leader")
    found: list[str | None] = []

    async def look() -> None:
        found.extend(each.command for each in await session.members())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(look)
    assert found == ["sleep 61"] * 5


async def test_a_command_line_that_can_not_be_read_now(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is listed by its name, in time; other sessions and a kill do not wait.

    The real thing, a process whose memory is locked for ever, would hold up every test that looks
    at all processes of the machine.
    """
    session = await supervisor.spawn(["sleep", "61"])
    real, over = ProcFolder.command, threading.Event()
    held_up: list[int] = []

    def command(self: ProcFolder) -> bytes:
        if self.pid == session.pid:
            held_up.append(threading.get_ident())
            over.wait(TIMEOUT)
        return real(self)

    monkeypatch.setattr(ProcFolder, "command", command)
    for _ in range(3):
        began = time.monotonic()
        (leader,) = await session.members()
        assert leader.command == "[sleep]"
        assert leader.user == pwd.getpwuid(os.geteuid()).pw_name or leader.user == str(os.geteuid())
        assert time.monotonic() - began < 30
    assert len(held_up) == 1, "a list of a session starts no second thread"
    another = await supervisor.spawn(["sleep", "62"])
    await listed(another, has("sleep 62"), "another session's command line")
    over.set()
    await listed(session, has("sleep 61"), "the command line, when it can be read")
