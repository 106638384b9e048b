"""Processes that have left the session get SIGTERM, which daemons expect, and clean up."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

import ptykill
from ptykill import HANGUP_THEN_KILL, Outcome, Session, Supervisor
from ptykill.testing import processes
from ptykill.testing.adversaries import python
from tests.real.running_program import TIMEOUT, start, until

LONG = "HUP@session + TERM@escaped 30s, KILL 15s"
"""The default plan, with a grace that is long enough for a slow machine."""
ORPHANED = pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)
"""Only these tiers find a member that has no parent in the session any more."""

NOTES = """
NAMES = {signal.SIGHUP: "SIGHUP", signal.SIGTERM: "SIGTERM"}

def noting(name, ready=None):
    # Note which signals come, and clean up on SIGTERM as a daemon does, or on SIGHUP in a session.
    def note(number, frame):
        touch(name + NAMES[number])
        if name == "daemon" and number == signal.SIGTERM or name != "daemon":
            time.sleep(0.05)
            touch("cleaned-" + name)
            os._exit(0)
    for number in NAMES:
        signal.signal(number, note)
    if ready:
        touch(ready)
    idle()
"""
DAEMON = python(
    "daemon that cleans up on SIGTERM",
    "has a member in the session, and a daemon without a parent",
    NOTES
    + """
fork(lambda: noting("member", "there"))
wait_for("there")
daemon(lambda: noting("daemon", "apart"))
wait_for("apart")
noting("leader", "ready")
""",
)
CHILD = python(
    "setsid server with a parent",
    "has a child in a session of its own",
    NOTES
    + """
fork(lambda: (os.setsid(), noting("daemon", "apart")))
wait_for("apart")
noting("leader", "ready")
""",
)
LEAVING = python(
    "leader that leaves a daemon",
    "starts a daemon and exits when it is told to",
    NOTES
    + """
daemon(lambda: noting("daemon", "ready"))
wait_for("go")
os._exit(3)
""",
)


def notes(folder: Path) -> set[str]:
    """Return which process noted which signal."""
    return {each.name for each in folder.iterdir() if "SIG" in each.name}


@ORPHANED
async def test_a_daemon_is_asked_with_sigterm(supervisor: Supervisor, tmp_path: Path) -> None:
    """SIGHUP goes to the session and SIGTERM to the daemon, once each; both clean up."""
    running = await start(supervisor, DAEMON, tmp_path, plan=LONG)
    verdict = await running.session.terminate()
    assert running.marked() == []
    assert (verdict.outcome, verdict.empty) == (Outcome.GRACEFUL, True)
    assert notes(running.folder) == {"leaderSIGHUP", "memberSIGHUP", "daemonSIGTERM"}
    assert all(running.has(f"cleaned-{name}") for name in ("leader", "member", "daemon"))
    told = [(each.what, each.reached, each.error) for each in verdict.deliveries]
    assert told == [("HUP@session", 2, None), ("TERM@escaped", 1, None)]


async def test_a_child_in_a_session_of_its_own_is_asked_with_sigterm(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """Each containment finds it by its parent, before the parent gets SIGHUP."""
    running = await start(supervisor, CHILD, tmp_path, plan=LONG)
    verdict = await running.session.terminate()
    assert running.marked() == []
    assert verdict.outcome is Outcome.GRACEFUL
    assert notes(running.folder) == {"leaderSIGHUP", "daemonSIGTERM"}
    assert running.has("cleaned-daemon")


async def test_escapees_can_be_asked_alone(supervisor: Supervisor, tmp_path: Path) -> None:
    """A step for `escaped` does not signal the session."""
    plan = "TERM@escaped 30s, KILL 15s"
    running = await start(supervisor, CHILD, tmp_path, plan=plan)
    running.session.request_end()
    await until(lambda: running.has("cleaned-daemon"), "the daemon's clean-up")
    assert notes(running.folder) == {"daemonSIGTERM"}
    verdict = await running.session.kill()
    assert verdict.deliveries[0].what == "TERM@escaped"
    assert verdict.deliveries[0].reached == 1


@ORPHANED
async def test_a_daemon_that_a_leader_left_is_asked(supervisor: Supervisor, tmp_path: Path) -> None:
    """If the leader exits by itself, its daemon gets SIGTERM by the plan, and cleans up."""
    running = await start(supervisor, LEAVING, tmp_path, plan=LONG)
    running.tell("go")
    with trio.fail_after(TIMEOUT):
        verdict = await running.session.wait()
    assert (verdict.outcome, verdict.empty) == (Outcome.GRACEFUL, True)
    assert verdict.exit_status == ptykill.ExitStatus(code=3)
    assert notes(running.folder) == {"daemonSIGTERM"}
    assert running.has("cleaned-daemon")


AGENTS = {
    "ssh-agent": "ssh-agent -a $PWD/agent.socket",
    "gpg-agent": "mkdir -m 700 home; gpg-agent --homedir $PWD/home --daemon",
}


@ORPHANED
@pytest.mark.parametrize("agent", AGENTS)
async def test_an_agent_ends_gracefully(
    supervisor: Supervisor, tmp_path: Path, mark: str, agent: str
) -> None:
    """A real agent, started from a shell's session, is not killed, and removes its socket."""
    if shutil.which(agent) is None:
        pytest.skip(f"{agent} is not installed")
    session = await supervisor.spawn(
        ["sh", "-c", f"{AGENTS[agent]}; exec sleep 60"], cwd=tmp_path, plan=LONG
    )
    await until(lambda: awaits_sigterm(mark, session), f"{agent} to be ready")
    assert sockets(tmp_path)
    verdict = await session.terminate()
    assert (verdict.outcome, verdict.empty) == (Outcome.GRACEFUL, True)
    assert verdict.deliveries[1].reached == 1
    assert not sockets(tmp_path)


def sockets(folder: Path) -> list[Path]:
    """Return the sockets that an agent has made in a folder."""
    return [each for each in folder.rglob("*") if each.is_socket()]


def awaits_sigterm(mark: str, session: Session) -> bool:
    """Return whether a process in another session than the leader's has a handler of SIGTERM."""
    for process in processes.marked(mark):
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            caught = next(line for line in status if line.startswith("SigCgt:")).split()[1]
            handles = int(caught, 16) >> (signal.SIGTERM - 1) & 1
            if handles and os.getsid(process.pid) not in (session.pid, os.getsid(0)):
                return True
    return False


HOST = """
import sys
import ptykill
import trio

async def main(tier, program, mark, plan):
    async with ptykill.open_supervisor(containment=tier, plan=plan) as supervisor:
        await supervisor.spawn([sys.executable, "-I", "-S", program, mark])
        await trio.sleep_forever()

trio.run(main, *sys.argv[1:])
"""


@ORPHANED
def test_a_daemon_is_asked_when_the_host_was_killed(mark: str, tier: str, tmp_path: Path) -> None:
    """The keeper carries out the same step by itself."""
    assert str(HANGUP_THEN_KILL).startswith("HUP@session + TERM@escaped")
    *_, program, _ = DAEMON.command(tmp_path, mark)
    command = [sys.executable, "-c", HOST, tier, program, mark, LONG]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=tmp_path) as host:
        try:
            give_up = time.monotonic() + TIMEOUT
            while not (tmp_path / "ready").exists():
                assert host.poll() is None
                assert time.monotonic() < give_up
                time.sleep(0.01)
        finally:
            host.send_signal(signal.SIGKILL)
    assert processes.left(mark, TIMEOUT) == []
    assert notes(tmp_path) == {"leaderSIGHUP", "memberSIGHUP", "daemonSIGTERM"}
    assert (tmp_path / "cleaned-daemon").exists()
