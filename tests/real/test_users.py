"""Sessions of ordinary users, and members of other users in them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptykill import Attributes, ExitStatus, InvalidArgument, SpawnError, Supervisor
from ptykill.system.kernel import cgroup_place
from ptykill.testing import processes
from tests.real.hosts import run_host
from tests.real.ordinary import NOBODY

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def set_user_id() -> Iterator[Path]:
    """Return a program that makes whoever runs it root: setpriv(1), set-user-ID."""
    program = shutil.which("setpriv")
    if program is None:
        pytest.skip("setpriv is not installed")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        copy = Path(folder, "setpriv")
        shutil.copy(program, copy)
        copy.chmod(0o4755)
        yield copy


@pytest.fixture
def delegated() -> Iterator[tuple[str, ...]]:
    """Return the prefix that runs a command in a cgroup delegated to the ordinary user."""
    parent = cgroup_place.own_cgroup()
    if parent is None or cgroup_place.why_unusable() is not None:
        pytest.skip("no cgroup can be made here")
    folder = Path(parent, f"delegated-{os.getpid()}")
    folder.mkdir()
    for each in folder, folder / "cgroup.procs", folder / "cgroup.subtree_control":
        os.chown(each, NOBODY, NOBODY)
    try:
        yield "sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(folder)
    finally:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.05)


@pytest.mark.parametrize("way", ["session", "keeper"])
def test_a_member_that_may_not_be_signalled(
    mark: str, ordinary: tuple[str, ...], set_user_id: Path, way: str
) -> None:
    """It is named in the verdict, in time, and the verdict is not empty."""
    answer = run_host("with_a_foreign_member", way, str(set_user_id), wrapper=ordinary)
    (foreign,) = answer["foreign"]
    assert answer["listed as root's"] == answer["refused a signal"] == [foreign]
    assert len(answer["reached"]) == 2  # The shell, and its own sleep.
    assert (answer["outcome"], answer["empty"]) == ("stuck", False)
    assert answer["survivors"] == [[foreign, "root", "not permitted to signal it"]]
    assert set(answer["refused"]) == {foreign}
    assert answer["took"] < 5
    # All others are dead but the keeper, which waits for that member.
    left = [each.pid for each in processes.marked(mark) if each.name != "ptykill-keeper"]
    assert left == [foreign]
    processes.end(foreign)
    until = time.monotonic() + 10
    while processes.marked(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes.marked(mark) == []


def test_a_member_can_not_speak_for_its_keeper(mark: str, ordinary: tuple[str, ...]) -> None:
    """A member can't get the keeper's socket, although it has the same user."""
    answer = run_host("with_a_thief", "keeper", wrapper=ordinary)
    assert answer["said"] == ["refused"] * 4 + ["done"]
    assert (answer["outcome"], answer["empty"]) == ("graceful", True)
    assert answer["reached"] in {1, 2}  # The leader's exit may end the other before its turn.
    assert processes.left(mark) == []


def test_where_processes_are_hidden(mark: str, ordinary: tuple[str, ...]) -> None:
    """Under hidepid the host of a keeper still sees the keeper."""
    hide = 'mount -o remount,hidepid=2 /proc || exit 77; "$@"; exit $?'
    wrapper = ("unshare", "-pf", "--mount-proc", "--kill-child", "sh", "-c", hide, "sh")
    try:
        answer = run_host("with_a_thief", "keeper", wrapper=(*wrapper, *ordinary))
    except AssertionError as error:
        if "ended with 77" in str(error) or "unshare" in str(error):
            pytest.skip("processes can't be hidden here")
        raise
    assert (answer["outcome"], answer["empty"]) == ("graceful", True)
    assert answer["reached"] in {1, 2}  # The leader's exit may end the other before its turn.
    assert processes.left(mark) == []


def test_a_cgroup_needs_no_permission(
    mark: str, ordinary: tuple[str, ...], set_user_id: Path, delegated: tuple[str, ...]
) -> None:
    """In a cgroup of its own an ordinary user ends members of any user."""
    answer = run_host(
        "with_a_foreign_member", "cgroup", str(set_user_id), wrapper=(*delegated, *ordinary)
    )
    assert answer["containment"] == "cgroup"
    assert (answer["outcome"], answer["empty"]) == ("killed", True)
    assert answer["survivors"] == []
    assert processes.marked(mark) == []


def test_a_cgroup_of_an_ordinary_user(ordinary: tuple[str, ...]) -> None:
    """Without a delegated cgroup, an ordinary user gets an error with the reason."""
    with pytest.raises(AssertionError, match=r"ContainmentUnavailable.*no cgroup can be made"):
        run_host("with_a_foreign_member", "cgroup", "true", wrapper=ordinary)


# --- attributes -----------------------------------------------------------------------------------


async def said(supervisor: Supervisor, script: str, attributes: Attributes) -> list[str]:
    """Return the words that a shell script prints."""
    session = await supervisor.spawn(["sh", "-c", script], attributes=attributes, cwd="/")
    text = b""
    while more := await session.receive():
        text += more
    return text.decode().split()


@ROOT_ONLY
async def test_another_user(supervisor: Supervisor) -> None:
    """The leader runs as the given user, with exactly the given groups."""
    script = "id -u; id -g; id -G; id -ru"
    attributes = Attributes(uid=1234, gid=2345)
    assert await said(supervisor, script, attributes) == ["1234", "2345", "2345", "1234"]
    attributes = Attributes(uid=1234, gid=2345, groups=(3, 4))
    assert await said(supervisor, "id -G", attributes) == ["2345", "3", "4"]


@ROOT_ONLY
async def test_a_session_of_another_user_ends(supervisor: Supervisor) -> None:
    """A session of another user is ended, if the host may signal it."""
    session = await supervisor.spawn(
        ["sh", "-c", "sleep 60 & exec sleep 60"], attributes=Attributes(uid=1234, gid=2345)
    )
    verdict = await session.terminate(grace=30)
    assert verdict.empty
    assert verdict.exit_status == ExitStatus(signal=1)


@ROOT_ONLY
async def test_the_terminal_is_its_users(supervisor: Supervisor) -> None:
    """A user may open the terminal by its name, and no other user may read from it."""
    script = ': <> "$(tty)" && echo opened; stat -L -c "%u %a" "$(tty)"'
    attributes = Attributes(uid=1234, gid=2345)
    opened, owner, mode = await said(supervisor, script, attributes)
    assert (opened, owner) == ("opened", "1234")
    assert int(mode, 8) & 0o607 == 0o600


@ROOT_ONLY
async def test_a_terminal_is_no_later_users(supervisor: Supervisor) -> None:
    """The terminal of the next session belongs to the host again."""
    await said(supervisor, "true", Attributes(uid=1234, gid=2345))
    assert await said(supervisor, 'stat -L -c %u "$(tty)"', Attributes()) == ["0"]


async def test_limits_and_the_like(supervisor: Supervisor) -> None:
    """The leader has the given limits, niceness and umask."""
    attributes = Attributes(limits={"NOFILE": (50, 60), "CORE": (0, 0)}, nice=7, umask=0o027)
    script = "ulimit -Sn; ulimit -Hn; ulimit -c; nice; umask"
    assert await said(supervisor, script, attributes) == ["50", "60", "0", "7", "0027"]
    usual = await said(supervisor, "nice; umask", Attributes())
    mask = os.umask(0o22)
    os.umask(mask)
    assert usual == [str(os.nice(0)), f"{mask:04o}"]


@pytest.mark.parametrize(
    ("attributes", "stage", "code"),
    [
        (Attributes(limits={"NOFILE": (60, 50)}), "limits", "LIMIT_NOT_PERMITTED"),
        (Attributes(limits={"NOFILE": (2**40, 2**40)}), "limits", "LIMIT_NOT_PERMITTED"),
    ],
)
async def test_what_may_not_be_set(
    supervisor: Supervisor, attributes: Attributes, stage: str, code: str
) -> None:
    """An attribute that the kernel refuses is an error with the stage; no process is left."""
    with pytest.raises(SpawnError) as caught:
        await supervisor.spawn(["true"], attributes=attributes)
    assert (caught.value.stage, caught.value.code, caught.value.status) == (stage, code, 400)
    assert processes.spawned(os.getpid()) == []
    assert supervisor.sessions == ()


@pytest.mark.parametrize("way", ["session", "keeper"])
def test_an_ordinary_user_can_become_nobody_else(ordinary: tuple[str, ...], way: str) -> None:
    """An ordinary user's host can't choose another user for the leader."""
    answer = run_host("that_would_be_root", way, wrapper=ordinary)
    assert answer == ["user", "USER_NOT_PERMITTED", 400]


@ROOT_ONLY
@pytest.mark.parametrize("way", ["session", "keeper"])
def test_rights_that_were_given_up_are_not_handed_on(way: str) -> None:
    """A host that is no longer root starts no session as root, although its warden is root's."""
    # The interpreter may be where only root can reach it: then there can be no other warden.
    assert run_host("that_gives_up_its_rights", way) in ("65534 65534", "keeper")


@pytest.mark.parametrize(
    "options",
    [
        {"uid": 1},
        {"gid": 1},
        {"groups": (1,)},
        {"uid": -1, "gid": 1},
        {"uid": 2**32 - 1, "gid": 1},
        {"uid": True, "gid": 1},
        {"umask": 0o1000},
        {"nice": 20},
        {"limits": {"nofile": (1, 1)}},
        {"limits": {"NOFILE": (1,)}},
        {"limits": {"NOFILE": (1, -2)}},
        {"death_signal": "NONSENSE"},
    ],
    ids=repr,
)
def test_what_is_no_attribute(options: dict[str, object]) -> None:
    """An invalid attribute is refused before anything is started."""
    with pytest.raises(InvalidArgument):
        Attributes(**options)  # type: ignore[arg-type]
