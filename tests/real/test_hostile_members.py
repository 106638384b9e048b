"""Members that make it hard to list and to signal them."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from pathlib import Path

import pytest
import trio

from ptykill import Member, Reach, Supervisor
from ptykill.system.kernel import members as walk
from ptykill.system.kernel.pidfd import Pidfd
from ptykill.system.kernel.proc_folder import ProcFolder
from tests.real.ordinary import NOBODY
from tests.real.test_members import has, listed, python
from tests.real.test_users import ROOT_ONLY
from tests.waiting import wait_until

STORM = """
import os, signal, sys, time
how, marker = sys.argv[1:]
def note(*_):
    os.write(2, b"signalled ")
signal.signal(signal.SIGWINCH, note if how == "stranger" else signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
until = time.monotonic() + 60
for number in range(100_000):
    if time.monotonic() > until:
        break
    child = os.fork()
    if not child:
        if how == "escape":
            os.setsid()
        if how != "stranger" and os.fork():
            os._exit(0)  # An orphan is left, for a moment.
        time.sleep(0.002)
        os._exit(0)
    if number % 20 == 19:
        while True:
            try:
                os.waitpid(-1, os.WNOHANG) == (0, 0) and time.sleep(0.001)
            except ChildProcessError:
                break
"""
"""Starts processes all the time, some 40 at once at most, and so many in all."""


@pytest.mark.parametrize("how", ["fork", "escape"])
async def test_a_storm_of_forks(
    supervisor: Supervisor, tier: str, how: str, tmp_path: Path
) -> None:
    """Members alone are listed and signalled, other tasks run, and the session can be ended.

    A stranger forks as well, so that its pids lie between those of the members, and are reused.
    """
    if (tier, how) == ("session", "escape"):
        pytest.skip("this tier can't know all of these")
    with (tmp_path / "said").open("w+b") as said:
        command = python(STORM)
        stranger = subprocess.Popen([*command, "stranger", "a"], stderr=said)  # noqa: ASYNC220
        try:
            session = await supervisor.spawn([*command, how, "b"])
            await listed(session, lambda all_: len(all_) > 1, "the storm")
            ticks, strangers = 0, set[str]()

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await trio.sleep(0.001)
                    ticks += 1

            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(tick)
                    for _ in range(8):
                        found = await session.members()
                        assert session.pid in {each.pid for each in found}
                        strangers |= {
                            each.command or ""
                            for each in found
                            if (each.command or "").endswith("stranger a")
                        }
                        reached = session.signal("WINCH", Reach.ALL).reached
                        assert session.pid in reached
                        assert stranger.pid not in reached
                    nursery.cancel_scope.cancel()
            assert ticks
            assert strangers == set()
            verdict = await session.kill()
            assert verdict.empty
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()
        said.seek(0)
        assert said.read() == b""


NAMED = """
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(15, os.fsencode(sys.argv[1]), 0, 0, 0)
os.fork() or os._exit(0)
time.sleep(60)
"""


@pytest.mark.parametrize("name", [b") R 1 (", b") Z 1 1 1", b"a) b (c", b")\n(\xff", b" "])
async def test_names_like_a_line_of_stat(supervisor: Supervisor, name: bytes) -> None:
    """A member can't change what is read of it by its name (proc(5): the name is in stat)."""
    session = await supervisor.spawn([*python(NAMED), os.fsdecode(name)])
    zombie = f"[{name.decode('utf-8', 'replace')}]"

    def in_place(found: dict[str, Member]) -> bool:
        return zombie in found and found[zombie].state == "Z"

    found = await listed(session, in_place, "the zombie, by its name")
    leader = next(each for each in found.values() if each.pid == session.pid)
    assert found[zombie].parent == session.pid
    assert leader.state in {"S", "R", "D"}
    assert leader.parent != 1
    assert not any(each.escaped for each in found.values())
    assert session.signal("CONT", Reach.ESCAPED).reached == set()
    assert session.signal("CONT", Reach.ALL).reached == {session.pid}


@pytest.mark.parametrize("when", ["stat", "cmdline"])
async def test_a_member_that_exits_while_it_is_read(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """It is left out, or listed as it was when its stat was read; the others are listed."""
    session = await supervisor.spawn(["sh", "-c", "sleep 61 & sleep 62 & wait; :"])
    shell = "sh -c sleep 61 & sleep 62 & wait; :"
    victim = (await listed(session, has(shell, "sleep 61", "sleep 62"), "both"))["sleep 61"].pid
    method = "read" if when == "stat" else "command"
    real = getattr(ProcFolder, method)

    def die_first(self: ProcFolder) -> object:
        if self.pid == victim:
            end(victim)
        return real(self)

    monkeypatch.setattr(ProcFolder, method, die_first)
    found = {each.pid: each.command for each in await session.members()}
    assert found.pop(victim, None) == (None if when == "stat" else "[sleep]")
    assert sorted(map(str, found.values())) == [shell, "sleep 62"]


@pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)
async def test_a_member_that_exits_before_it_is_signalled(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not got the signal, and the others have."""
    session = await supervisor.spawn(["sh", "-c", "sleep 61 & sleep 62 & sleep 63; :"])
    shell = "sh -c sleep 61 & sleep 62 & sleep 63; :"
    all_of_them = has(shell, "sleep 61", "sleep 62", "sleep 63")
    found = {name: each.pid for name, each in (await listed(session, all_of_them, "all")).items()}
    real, victim = walk._dead, found.pop("sleep 62")

    def die_after(processes: list[Pidfd]) -> set[int]:
        dead = real(processes)
        if victim in {each.pid for each in processes}:
            end(victim)
        return dead

    monkeypatch.setattr(walk, "_dead", die_after)
    assert session.signal("CONT", Reach.ALL).reached == {*found.values()}


@ROOT_ONLY
async def test_a_member_of_another_user(supervisor: Supervisor) -> None:
    """Root lists it under its user's name, and may signal it."""
    change = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups"
    session = await supervisor.spawn(["sh", "-c", f"{change} sleep 61 & sleep 62; :"])
    try:
        name = pwd.getpwuid(NOBODY).pw_name
    except KeyError:
        name = str(NOBODY)

    def in_place(found: dict[str, Member]) -> bool:
        return "sleep 61" in found and found["sleep 61"].user == name

    found = await listed(session, in_place, "the member, under its user's name")
    assert found["sleep 61"].pid in session.signal("CONT", Reach.ALL).reached


def end(pid: int) -> None:
    """Kill a process, and wait until it has been reaped."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
