"""A /proc of another namespace, or one that hides processes, and an incomplete /dev."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ptykill.testing import processes
from tests.real.hosts import run_host
from tests.real.ordinary import NOBODY
from tests.real.test_hosts import namespace

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not namespace() or "-U" in " ".join(namespace()),
    reason="only root can make these views",
)

INSIDE = ("unshare", "-pfm", "--kill-child", "sh", "-c")
VIEWS = {
    "none of its own": ("unshare", "-pf", "--kill-child"),
    "bound to another's": (*INSIDE, 'mount --bind "$0/outer" /proc && exec "$@"'),
    "bound to a dead one's": (*INSIDE, 'mount --bind "$0/dead" /proc && exec "$@"'),
    "covered": (*INSIDE, 'mount -t tmpfs none /proc && exec "$@"'),
    "unmounted": (*INSIDE, 'umount -l /proc && exec "$@"'),
    "in a user namespace": ("unshare", "-Urpfm", "--kill-child"),
}


def shown(view: str, folder: Path) -> tuple[str, ...]:
    """Return the prefix that runs a program with that /proc."""
    words = VIEWS[view]
    return (*words, str(folder)) if "sh" in words else words


@pytest.mark.parametrize("view", VIEWS)
def test_strangers_with_the_numbers_of_another_namespace(tmp_path: Path, view: str) -> None:
    """Whatever /proc shows, no stranger gets a signal, and no member of an empty session lives."""
    words = shown(view, tmp_path)
    answer = run_host("with_families", str(tmp_path), *words, wrapper=namespace())
    assert answer["unharmed"] == [True] * 16
    assert {verdict["tier"] for verdict in answer["verdicts"]} >= {"keeper", "session"}
    for verdict in answer["verdicts"]:
        assert verdict["numbered"]
        assert (verdict["empty"], verdict["left"]) == (True, [])


REFUSED = [
    (VIEWS["none of its own"], ":", "shows another pid namespace"),
    (("env",), "mount -t tmpfs none /proc", "is not mounted"),
    # All of them: there may be another one below, of another namespace (unshare --mount-proc).
    (("env",), "while umount -l /proc 2>&-; do :; done", "is not mounted"),
    (
        ("env",),
        "unshare -pf mount -t proc proc /mnt && mount --bind /mnt /proc",
        "shows another pid namespace",
    ),
]


@pytest.mark.parametrize(("words", "view", "reason"), REFUSED)
def test_a_proc_that_is_not_ours_is_told(
    monkeypatch: pytest.MonkeyPatch,
    ordinary: tuple[str, ...],
    words: tuple[str, ...],
    view: str,
    reason: str,
) -> None:
    """Without a procfs of its own namespace a host gets no containment, and the reason."""
    monkeypatch.setenv("PTYKILL_TEST_VIEW", view)
    answer = run_host("asked_for_its_tier", wrapper=(*words, *ordinary))
    assert (answer["auto"], answer["doctor"], answer["status"]) == ("", "", 1)
    assert answer["ended"] == []
    for tier, lacking in answer["lacking"].items():
        assert f"no {tier} containment: {lacking}" in answer["reason"]
        assert reason in lacking
        assert "mount -t proc proc /proc" in lacking


def hiding(options: str) -> tuple[str, ...]:
    """Return the prefix that runs a program with /proc mounted with these options (proc(5))."""
    hide = 'mount -t proc -o "$0" proc /proc || exit 77; exec "$@"'
    return ("unshare", "-m", "sh", "-c", hide, options)


SEEN = {
    "usual": ("env",),
    "a user namespace": (shutil.which("unshare") or "", "-Urpf", "--kill-child"),
    "hidepid=1": hiding("hidepid=1"),
    "hidepid=2": hiding("hidepid=2"),
    "none of its own": VIEWS["none of its own"],
}


@pytest.mark.parametrize("view", SEEN)
@pytest.mark.parametrize("who", ["root", "ordinary"])
def test_auto_and_the_doctor_agree(ordinary: tuple[str, ...], view: str, who: str) -> None:
    """Auto takes the tier that the doctor reports and has tried."""
    words = SEEN[view]
    if who == "ordinary":
        words = (*words, *ordinary) if view != "a user namespace" else (*ordinary, *words)
    answer = run_host("asked_for_its_tier", wrapper=words)
    assert answer["auto"] == answer["doctor"]
    assert answer["auto"] == "" or answer["auto"] in answer["ended"]


@pytest.mark.parametrize("level", ["1", "2", "4"])
@pytest.mark.parametrize("way", ["keeper", "session"])
def test_members_that_are_hidden(
    mark: str, ordinary: tuple[str, ...], level: str, way: str
) -> None:
    """A hidden member is ended if the host may signal it; otherwise the verdict is not empty.

    It is listed, without what the host may not read, and signalled.
    """
    verdicts = run_host(
        "with_unreadable_members", way, wrapper=(*hiding(f"hidepid={level}"), *ordinary)
    )
    left = processes.left(mark)
    for each in processes.marked(mark):
        processes.end(each.pid)
    assert verdicts[0]["empty"], verdicts
    assert [verdict["listed"] for verdict in verdicts] == [
        [[escaped, None, None]] for escaped in (False, True)
    ]
    assert all(verdict["reached"] for verdict in verdicts)
    assert len(left) == sum(not verdict["empty"] for verdict in verdicts), (left, verdicts)


HIDES = [
    ("ordinary", "hidepid=1", False),  # It hides the files of processes, not their pids.
    ("ordinary", "hidepid=2", True),
    ("root", "hidepid=2", False),
    ("ordinary", f"hidepid=2,gid={NOBODY}", False),
    ("ordinary", "hidepid=4", True),
    ("ordinary", f"hidepid=4,gid={NOBODY}", True),
    ("ordinary", "subset=pid", False),
    ("ordinary", "hidepid=2,subset=pid", True),
]


@pytest.mark.parametrize(("who", "options", "hides"), HIDES)
def test_a_member_that_no_list_shows(
    mark: str,
    ordinary: tuple[str, ...],
    who: str,
    options: str,
    hides: bool,  # noqa: FBT001
) -> None:
    """A hidden member whose parent is dead is found by its session's number, and ended."""
    wrapper = (*hiding(options), *(ordinary if who == "ordinary" else ()))
    try:
        answer = run_host("with_a_hidden_orphan", wrapper=wrapper)
    except AssertionError as error:
        if "ended with 77" in str(error):  # subset=pid is as old as Linux 5.8.
            pytest.skip("this kernel's /proc does not have these options")
        raise
    left = processes.left(mark)
    for each in processes.marked(mark):
        processes.end(each.pid)
    assert (answer["empty"], left) == (True, [])
    assert answer["hides"] == hides


@pytest.mark.parametrize("asked_at_once", ["", "64"])
def test_a_look_for_hidden_members_lets_others_run(
    mark: str, ordinary: tuple[str, ...], asked_at_once: str
) -> None:
    """The search through all pids does not block the loop, and finds hidden members."""
    # A new namespace has the most numbers that there can be, however few the machine has.
    hide = 'mount -t proc -o hidepid=2 proc /proc && "$@"; exit $?'
    wrapper = ("unshare", "-pfm", "--kill-child", "sh", "-c", hide, "sh", *ordinary)
    answer = run_host("with_a_clock_beside", asked_at_once, wrapper=wrapper)
    assert [verdict["empty"] for verdict in answer["verdicts"]] == [True, True]
    assert answer["left"] == []
    assert answer["longest"] < 1.5
    assert processes.left(mark) == []


@pytest.mark.parametrize(("way", "tier"), [("keeper", "keeper"), ("session", "session")])
def test_children_in_another_namespace(mark: str, way: str, tier: str) -> None:
    """A host whose children are in another pid namespace gets no keeper, only the session tier."""
    (answer,) = run_host("whose_children_are_elsewhere", way)
    if answer == "no namespace":
        pytest.skip("no pid namespace can be made here")
    if tier == "session":
        assert answer is True
    else:
        assert "starts children in another pid namespace" in answer
    assert processes.left(mark) == []


def test_a_proc_that_is_covered_later(mark: str, tier: str) -> None:
    """Sessions are ended although another file system is mounted over /proc meanwhile."""
    answer = run_host("whose_proc_is_covered", tier, wrapper=("unshare", "-m"))
    assert answer["empty"] == [True, True]
    assert processes.left(mark) == []


BARE = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/tty c 5 0"
PTS = "mkdir /dev/pts && mount -t devpts -o newinstance,ptmxmode=666,mode=620 none /dev/pts"
MISSING = {
    "fd": f"{BARE} && {PTS} && ln -s pts/ptmx /dev/ptmx",
    "fd and proc": f"{BARE} && {PTS} && ln -s pts/ptmx /dev/ptmx && umount -l /proc",
    "fd, proc and pts": (
        f"{BARE} && {PTS.replace('/dev/pts', '/dev/elsewhere')}"
        " && ln -s elsewhere/ptmx /dev/ptmx && umount -l /proc"
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_what_dev_may_lack(tier: str, what: str) -> None:
    """A spawn needs neither /dev/fd nor /proc to open the terminal that the host holds."""
    wrapper = ("unshare", "-m", "sh", "-c", f'{MISSING[what]} && exec "$@"', "sh")
    answer = run_host("with_a_bare_dev", tier, wrapper=wrapper)
    assert answer == ["a terminal", True, ["exec", "COMMAND_NOT_FOUND"]]


PTMX = {
    BARE: "there is none, or no devpts beside it",
    f"{BARE} && : > /dev/ptmx": "it is no device for terminals",
    f"{BARE} && mknod -m 666 /dev/ptmx c 5 2": "there is none, or no devpts beside it",
}


@pytest.mark.parametrize("dev", PTMX, ids=["missing", "empty", "alone"])
def test_no_terminal_is_not_the_commands_fault(tier: str, dev: str) -> None:
    """Without a usable /dev/ptmx the error's stage is `terminal`, and it says what is missing."""
    wrapper = ("unshare", "-m", "sh", "-c", f'{dev} && exec "$@"', "sh")
    answer = run_host("with_a_bare_dev", tier, wrapper=wrapper)
    assert [each[:2] for each in answer] == [["terminal", "SPAWN_FAILED"]] * 2
    for *_, sentence in answer:
        assert f"({PTMX[dev]}: mount -t devpts" in sentence
        assert sentence.endswith("'/dev/ptmx'")
