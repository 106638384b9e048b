"""Sessions that attack their keeper or cgroup: no wrong verdict, no signal to a stranger."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import threading
from pathlib import Path
from typing import cast

import httpx
import pytest
import trio

import ptykill
from ptykill import KILL_NOW, Caveat, ExitStatus, Outcome, Supervisor
from ptykill.system.containment import why_not
from ptykill.system.containment.channel import open_pair
from ptykill.system.containment.keeper_containment import KeeperContainment
from ptykill.system.containment.lost_keeper import LostKeeper
from ptykill.system.containment.warden_client import WardenClient
from ptykill.system.kernel import cgroup, cgroup_place
from ptykill.testing import processes
from ptykill.testing.adversaries import python
from tests.real.hosts import run_host
from tests.real.running_program import TIMEOUT, start, until

needs_cgroup = pytest.mark.skipif(why_not("cgroup") is not None, reason="no cgroup")
both = pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)


@needs_cgroup
@pytest.mark.parametrize("lost", [(), ("keeper",), ("warden", "keeper")], ids=str)
def test_strangers_in_the_cgroup(lost: tuple[str, ...]) -> None:
    """The host, another session and a stranger live on; the member that was moved out is killed."""
    answer = run_host("whose_cgroups_are_mixed_up", *lost)
    assert answer["mixed"]
    assert (answer["stranger"], answer["beside"]) == (None, True)
    if "warden" not in lost:  # Then the processes that have left cgroup and session can't be found.
        assert answer["member"]
    assert answer["outcome"] == ("unproven" if "warden" in lost else "killed")
    assert answer["empty"] == ("warden" not in lost)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
@both
def test_a_keeper_that_is_lied_to(tier: str, tmp_path: Path) -> None:
    """A mount over the list of its children does not get a stranger killed."""
    wrapper = ("unshare", "-m", "--propagation", "private")
    answer = run_host("whose_keeper_is_lied_to", tier, str(tmp_path), wrapper=wrapper)
    assert answer["said"] == "lied"
    assert answer["alive"]
    assert (answer["empty"], answer["outcome"]) == (True, "killed")


def test_a_cgroup_that_cannot_be_read(tmp_path: Path) -> None:
    """A cgroup that can't be read counts as populated; one that was removed does not."""
    for name in "cgroup.events", "cgroup.procs":
        (tmp_path / name).mkdir()  # EISDIR, for root too.
    unreadable = cgroup.Cgroup(str(tmp_path))
    assert unreadable.populated()
    assert unreadable.any_of_ours(lambda _: False)
    assert unreadable.kill_each() == set()
    gone = cgroup.Cgroup(str(tmp_path / "gone"))
    assert not gone.populated()
    assert not gone.any_of_ours(lambda _: True)


KILLS_ITS_KEEPER = python(
    "kills its keeper",
    "has a deaf daemon that kills its keeper when it is told to, and the warden if it is to",
    """
    def daemon():
        os.setsid()
        deaf()
        fork(lambda: (deaf(), touch("ready"), attack()))
        os._exit(0)
    def parent(pid):
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    keeper = os.getppid()
    warden = parent(keeper)
    def attack():
        while not os.path.exists("go") and not os.path.exists("both"):
            time.sleep(0.005)
        if os.path.exists("both"):
            os.kill(warden, signal.SIGKILL)
        os.kill(keeper, signal.SIGKILL)
        idle()
    deaf()
    os.waitpid(fork(daemon), 0)
    idle()
    """,
    Outcome.KILLED,
    ExitStatus(signal=signal.SIGKILL),
)


@both
@pytest.mark.parametrize("asked", [True, False])
async def test_a_keeper_that_its_session_kills(
    supervisor: Supervisor,
    tmp_path: Path,
    asked: bool,  # noqa: FBT001
) -> None:
    """The escaped daemon is dead when the verdict comes; its outcome is KILLED."""
    running = await start(supervisor, KILLS_ITS_KEEPER, tmp_path)
    running.tell("go")
    with trio.fail_after(TIMEOUT):
        if asked:
            await trio.sleep(0.01)
            verdict = await running.session.terminate(plan=KILL_NOW)
        else:
            verdict = await running.session.wait()
    assert running.marked() == []
    assert verdict.empty
    assert verdict.outcome is Outcome.KILLED
    assert verdict.caveats <= {Caveat.KEEPER_LOST}
    session = await supervisor.spawn(["true"])
    assert (await session.wait()).caveats == frozenset()


@both
async def test_a_keeper_and_a_warden_that_a_session_kills(
    supervisor: Supervisor, tmp_path: Path, tier: str
) -> None:
    """Each DELETE answers 500 SESSION_UNPROVEN; the members in the cgroup are dead."""
    running = await start(supervisor, KILLS_ITS_KEEPER, tmp_path)
    app = ptykill.asgi_app(supervisor, key=None)
    path = f"http://localhost/api/v1/pty/{running.session.id}"
    running.tell("both")
    with trio.fail_after(TIMEOUT):
        await running.session.wait_exited()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            answers = [await client.delete(path), await client.delete(path)]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (500, "SESSION_UNPROVEN")
        assert "keeper lost" in answer.headers["ptykill-caveats"]
    left = processes.marked(running.mark)
    assert len(left) == (tier == "keeper")  # It has left the session and the cgroup.
    for survivor in left:
        processes.end(survivor.pid)
    session = await supervisor.spawn(["true"])
    assert (await session.wait()).empty


@both
@pytest.mark.parametrize("dying", [0, 0.1])
async def test_a_warden_that_dies_with_the_question(
    supervisor: Supervisor,
    tmp_path: Path,
    tier: str,
    dying: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A warden that is killed before it answers about orphans proves nothing.

    A warden answers within a millisecond, so it gets the question too late here. ``dying`` is the
    time (seconds) from the close of its sockets to its death: until then the orphans are its own.
    """

    def ask(warden: WardenClient, keeper: int) -> socket.socket:
        threading.Timer(dying, warden.signal, [signal.SIGKILL]).start()
        ours, theirs = open_pair()
        ours.settimeout(0)
        theirs.close()  # As the kernel does with what was sent to a dead process.
        return ours

    monkeypatch.setattr(WardenClient, "ask_when_clear", ask)
    running = await start(supervisor, KILLS_ITS_KEEPER, tmp_path)
    containment = cast(KeeperContainment, running.session._driver.containment)
    running.tell("go")
    await until(lambda: isinstance(containment._session, LostKeeper), "the keeper to be dead")
    with trio.fail_after(TIMEOUT):
        verdict = await running.session.kill()
    assert (verdict.empty, verdict.outcome) == (False, Outcome.UNPROVEN)
    assert verdict.caveats >= {Caveat.KEEPER_LOST, Caveat.UNPROVEN}
    left = processes.marked(running.mark)
    assert len(left) <= (tier == "keeper")  # With a cgroup all are found.
    for survivor in left:
        processes.end(survivor.pid)


FREEZES = python(
    "freezes itself",
    "freezes its cgroup, with its keeper in it or below it, or where nobody looks for it",
    """
    where = os.environ["PTYKILL_TEST_PLACE"]
    with open("/proc/self/cgroup") as told:
        (own,) = [line.strip().rsplit("/", 1)[1] for line in told if line.startswith("0::")]
    def keeper_is_inside():
        with open(f"/proc/{os.getppid()}/cgroup") as told:
            return any(line.strip().endswith(f"/{own}") for line in told)
    while kind != "own" and keeper_is_inside():
        time.sleep(0.002)  # It leaves by itself soon, and would leave the other one as well.
    own = f"{where}/{own}"
    folder = {"own": own, "below": f"{own}/below", "beside": f"{where}/beside-{os.getpid()}"}[kind]
    if kind != "own":
        os.mkdir(folder)
    if kind == "beside":
        with open("beside", "w") as file:
            file.write(folder)
    def write(name, what):
        with open(f"{folder}/{name}", "w") as file:
            file.write(str(what))
    write("cgroup.max.descendants", 0)
    write("cgroup.procs", os.getppid())
    deaf()
    touch("ready")
    write("cgroup.freeze", 1)
    idle()
    """,
    Outcome.KILLED,
    ExitStatus(signal=signal.SIGKILL),
)


@needs_cgroup
@pytest.mark.parametrize("tier", ["cgroup"], indirect=True)
@pytest.mark.parametrize("kind", ["own", "below", "beside"])
async def test_a_frozen_keeper(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It is thawed when its session is to end, and leaves no cgroup behind."""
    place = cgroup_place.own_cgroup()
    assert place is not None
    monkeypatch.setenv("PTYKILL_TEST_PLACE", place)
    program = dataclasses.replace(FREEZES, source=f"kind = {kind!r}\n{FREEZES.source}")
    running = await start(supervisor, program, tmp_path)
    keeper = cast(KeeperContainment, running.session._driver.containment)._keeper
    assert keeper.cgroup is not None
    events = Path(f"/proc/{keeper.pid}/cgroup")
    await until(lambda: frozen(place, events), "the keeper to be frozen")
    try:
        verdict = await running.session.terminate(plan="HUP@session 100ms, KILL 15s")
        assert verdict.empty
        assert verdict.outcome is Outcome.KILLED
        assert verdict.caveats == frozenset()
        await until(lambda: not Path(keeper.cgroup or "").exists(), "its cgroup to be removed")
    finally:
        if kind == "beside":
            await until(lambda: not Path(f"/proc/{keeper.pid}").exists(), "the keeper to leave")
            remove((running.folder / "beside").read_text())


def remove(folder: str) -> None:
    """Remove a cgroup."""
    Path(folder).rmdir()


def frozen(place: str, told: Path) -> bool:
    """Return whether a process's cgroup is frozen."""
    own = told.read_text().split("0::")[1].strip()
    host = Path("/proc/self/cgroup").read_text().split("0::")[1].strip()
    events = Path(place) / os.path.relpath(own, host) / "cgroup.events"
    return events.exists() and "frozen 1" in events.read_text()
