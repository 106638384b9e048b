"""The choice of the containment, and the reasons why others are not available."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ptykill
from ptykill import ContainmentUnavailable, InvalidArgument
from ptykill.cli.doctor.examine import examine, taken_by_auto, try_tier
from ptykill.system.containment import warden_client, why_not
from ptykill.system.kernel import cgroup, cgroup_place, procfs, syscalls
from ptykill.testing import processes
from tests.real.conftest import refused
from tests.real.hosts import run_host
from tests.real.running_program import TIMEOUT


def without_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a system without a cgroup hierarchy."""
    monkeypatch.setattr(cgroup_place, "own_cgroup", lambda: None)


def without_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a program that has no Python interpreter."""
    without_cgroups(monkeypatch)
    monkeypatch.setattr(sys, "frozen", True, raising=False)


def with_a_broken_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate an interpreter that does not start."""
    without_cgroups(monkeypatch)
    monkeypatch.setattr(sys, "executable", "/bin/false")


def without_pidfds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a system without pidfds."""
    without_cgroups(monkeypatch)
    monkeypatch.setattr(syscalls, "pidfd_open", refused)


LACKING = [
    (without_cgroups, "cgroup", "no cgroup v2 hierarchy is mounted", "keeper"),
    (without_an_interpreter, "keeper", "no Python interpreter", "session"),
    (with_a_broken_interpreter, "keeper", "the warden could not be started", "session"),
    (without_pidfds, "keeper", "pidfd_open is refused: Function not implemented", "session"),
]


@pytest.mark.parametrize(("lose", "asked", "reason", "taken"), LACKING)
async def test_what_can_not_be_had(
    monkeypatch: pytest.MonkeyPatch,
    lose: Callable[[pytest.MonkeyPatch], None],
    asked: str,
    reason: str,
    taken: str,
) -> None:
    """A named containment that is not available is an error with the reason; auto takes the next.

    The doctor reports the same, also where only a trial shows what is not available.
    """
    lose(monkeypatch)
    with pytest.raises(
        ContainmentUnavailable, match=f"no {asked} containment: .*{reason}"
    ) as error:
        async with ptykill.open_supervisor(containment=asked):
            pytest.fail("it was opened")
    assert (error.value.code, error.value.status) == ("CONTAINMENT_UNAVAILABLE", 500)
    async with ptykill.open_supervisor() as supervisor:
        assert supervisor.containment == taken
        session = await supervisor.spawn(["true"])
        assert (await session.wait()).containment == taken
    assert await taken_by_auto() == taken
    assert reason in (await try_tier(asked)).lacking


async def test_auto_takes_the_strongest() -> None:
    """Auto takes the strongest containment that is available."""
    strongest = next(name for name in ("cgroup", "keeper", "session") if why_not(name) is None)
    async with ptykill.open_supervisor() as supervisor:
        assert supervisor.containment == strongest


async def test_what_is_no_containment() -> None:
    """An unknown name is refused."""
    with pytest.raises(InvalidArgument, match="auto, cgroup, keeper, session, not 'jail'"):
        async with ptykill.open_supervisor(containment="jail"):
            pytest.fail("it was opened")


async def test_the_choice_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the containment that was taken, and why no stronger one was."""
    caplog.set_level("INFO", "ptykill")
    async with ptykill.open_supervisor():
        pass
    assert any("containment.chosen" in record.message for record in caplog.records)


@pytest.fixture
def parent() -> str:
    """Return the folder in which this process can make cgroups."""
    parent = cgroup_place.own_cgroup()
    if parent is None or cgroup_place.why_unusable() is not None:
        pytest.skip("no cgroup can be made here")
    return parent


def elsewhere(code: str, parent: str) -> str:
    """Run a line of Python in a process of its own, and return what it prints."""
    command = [
        sys.executable,
        "-c",
        f"import sys; from ptykill.system.kernel import cgroup; {code}",
    ]
    done = subprocess.run(
        [*command, parent], capture_output=True, text=True, timeout=TIMEOUT, check=True
    )
    return done.stdout.strip()


def made_by_the_dead(parent: str) -> Path:
    """Make a cgroup whose name says that its maker has died."""
    left = Path(elsewhere("print(cgroup.new_path(sys.argv[1]))", parent))
    left.mkdir()
    return left


def test_a_cgroup_left_by_the_dead_is_recovered(parent: str) -> None:
    """A cgroup whose maker is dead is emptied and removed; others stay."""
    left = made_by_the_dead(parent)
    (left / "below").mkdir()
    keeper = cgroup.Cgroup.create(parent)
    held = Path(keeper.path)
    with subprocess.Popen(["sleep", "60"]) as process:
        (left / "below" / "cgroup.procs").write_text(str(process.pid))
        assert str(left) in cgroup.recover(parent)
        assert process.wait(10) == -9
    cgroup.recover(parent)
    assert not left.exists()
    assert held.exists()
    assert keeper.remove()
    os.close(keeper.events)


def test_one_that_has_just_gone_keeps_no_other_from_being_recovered(
    parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several hosts may recover the same cgroups at the same time."""
    gone, left = made_by_the_dead(parent), made_by_the_dead(parent)
    gone.rmdir()
    monkeypatch.setattr(os, "listdir", lambda _: [gone.name, left.name])
    assert str(left) in cgroup.recover(parent)
    assert not left.exists()


def test_nobody_can_lock_us_out(parent: str) -> None:
    """A lock that another user takes on a cgroup's folder (flock(2)) delays no recovery."""
    left = made_by_the_dead(parent)
    folders = [os.open(path, os.O_RDONLY) for path in (parent, left)]
    try:
        for folder in folders:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        recovered = elsewhere("print(*cgroup.recover(sys.argv[1]))", parent)
        assert str(left) in recovered.split()
        assert not left.exists()
        new = elsewhere("print(cgroup.Cgroup.create(sys.argv[1]).path)", parent)
        Path(new).rmdir()
    finally:
        for folder in folders:
            os.close(folder)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({}, False),
        ({"start": "1"}, True),
        ({"numbering": "1.2"}, False),
        ({"pid": "9" * 20}, False),
        ({"pid": ""}, False),
    ],
)
def test_whose_a_cgroup_is(parent: str, change: dict[str, str], left: bool) -> None:  # noqa: FBT001
    """A cgroup's maker is known by pid, start time, and pid and time namespace together."""
    words = cgroup._NAME.fullmatch(Path(cgroup.new_path(parent)).name)
    assert words is not None
    name = "ptykill-{numbering}-{pid}-{start}-0123456789abcdef".format(**words.groupdict() | change)
    assert cgroup._left(name) == left


def test_a_probe_is_not_taken_for_left(parent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cgroup that a host makes as a trial is not recovered by another host."""

    def recovering(path: str, *how: int) -> bytes:
        if path.endswith("cgroup.type"):
            cgroup.recover(parent)
        return procfs.read_file(path, *how)

    monkeypatch.setattr(cgroup_place, "read_file", recovering)
    assert cgroup_place.why_unusable() is None


def test_more_members_than_descriptors(mark: str, parent: str) -> None:
    """Each member gets SIGKILL, also if there are more members than descriptors."""
    assert run_host("that_kills_many", parent) == [-9] * 70
    assert processes.marked(mark) == []


def test_a_file_that_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel ends a page of ``mountinfo`` early where a long line would not fit."""
    place = cgroup_place.own_cgroup()
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, _: read(fd, 100))
    assert cgroup_place.own_cgroup() == place


@pytest.mark.parametrize(
    ("own", "mounts", "place"),
    [
        ("0::/a/b", "1 2 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "/sys/fs/cgroup/a/b"),
        ("0::/", "1 2 0:3 / /sys/fs/cgroup rw - cgroup2 x rw", "/sys/fs/cgroup"),
        (
            "4:cpu:/x\n0::/a",
            "1 2 0:3 / /un rw - cgroup cgroup rw\n1 2 0:3 / /two rw - cgroup2 x x",
            "/two/a",
        ),
        ("0::/a/b", "1 2 0:3 /a /m\\040t rw shared:1 - cgroup2 x rw", "/m t/b"),
        ("0::/ab", "1 2 0:3 /a /mnt rw - cgroup2 x rw", None),
        ("0::/../x", "1 2 0:3 / /mnt rw - cgroup2 x rw", None),
        ("4:cpu:/x", "1 2 0:3 / /mnt rw - cgroup2 x rw", None),
        ("0::/a", "1 2 0:3 / /mnt rw - cgroup cgroup rw,cpu", None),
    ],
)
def test_where_our_own_cgroup_is(
    monkeypatch: pytest.MonkeyPatch, own: str, mounts: str, place: str | None
) -> None:
    """The host's own cgroup is found, wherever the hierarchy or a part of it is mounted."""
    files = {"self/cgroup": own, "self/mountinfo": mounts}
    monkeypatch.setattr(cgroup_place, "read_proc", lambda path, _: files[path].encode())
    assert cgroup_place.own_cgroup() == place


def test_out_of_memory_kills_are_read_from_the_controller(tmp_path: Path) -> None:
    """``memory.events`` shows a kill by the out-of-memory killer; without it none is reported."""
    group = cgroup.Cgroup(str(tmp_path))
    assert not group.oom()
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 0\noom_group_kill 0\n")
    assert not group.oom()
    events.write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n")
    assert group.oom()


# --- the doctor -----------------------------------------------------------------------------------


async def test_the_doctor_tries(tier: str) -> None:
    """The doctor tries each available tier with a session that has an escaped process."""
    trial = await try_tier(tier)
    assert (trial.lacking, trial.ended, trial.holds) == ("", True, tier != "session")
    assert min(trial.open, trial.spawn, trial.end) >= 0


async def test_the_doctor_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tier that is not available is reported with the reason."""
    with_a_broken_interpreter(monkeypatch)
    assert "no cgroup v2" in (await try_tier("cgroup")).lacking
    assert "warden could not be started" in (await try_tier("keeper")).lacking
    assert warden_client.unavailable() is None


def test_the_doctor_looks() -> None:
    """It has a finding for each kernel feature that containment needs."""
    found = {finding.what: finding.seen for finding in examine()}
    assert {"kernel", "python", "/proc", "last pid", "cgroup v2", "descriptors"} <= found.keys()
    assert all(found.values())


def doctor(*arguments: str, wrapper: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [*wrapper, sys.executable, "-m", "ptykill", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_doctor_for_programs(tier: str) -> None:
    """It prints JSON; the exit status says whether the required containment is available."""
    done = doctor("--json", "--require", tier)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert {trial["tier"] for trial in answer["containments"]} == {"cgroup", "keeper", "session"}
    assert answer["auto"] in {trial["tier"] for trial in answer["containments"] if trial["ended"]}


def test_the_doctor_for_people() -> None:
    """It prints a table, and the tier that auto takes."""
    done = doctor("--require", "session")
    assert done.returncode == 0
    assert "auto takes" in done.stdout
    assert "an escaped daemon" in done.stdout


def test_the_doctor_of_an_ordinary_user(ordinary: tuple[str, ...]) -> None:
    """If a required cgroup is not available, the exit status is 1, and the reason is shown."""
    done = doctor("--require", "cgroup", "--json", wrapper=ordinary)
    assert done.returncode == 1
    (lacking,) = [
        trial["lacking"]
        for trial in json.loads(done.stdout)["containments"]
        if trial["tier"] == "cgroup"
    ]
    assert "no cgroup" in lacking


async def test_a_tier_that_can_not_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warden, which has started meanwhile, is ended: no process is left."""
    if reason := why_not("keeper"):
        pytest.skip(reason)
    monkeypatch.setitem(sys.modules, "ptykill.system.containment.keeper_tier", None)
    with pytest.raises(ImportError):
        async with ptykill.open_supervisor(containment="keeper"):
            pass
