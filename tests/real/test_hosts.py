"""Sessions are ended whatever the host does, or lacks."""

from __future__ import annotations

import errno
import functools
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ptykill.testing import processes
from tests.real.hosts import run_host

UNHARMED = dict.fromkeys(("plain", "group", "session", "daemon"), True)
LEAST_NUMBERS = "400"


def test_without_descriptors(spawning: str) -> None:
    """Without descriptors a spawn fails cleanly, and sessions are ended all the same."""
    answer = run_host("without_descriptors", spawning)
    assert answer["refused"]
    for _, number, _, code in answer["refused"]:
        assert (number, code) == (errno.EMFILE, "SPAWN_FAILED")
    assert [verdict["outcome"] for verdict in answer["verdicts"]] == [
        "graceful",
        "killed",
        "killed",
    ]
    assert all(verdict["empty"] for verdict in answer["verdicts"])
    assert answer["leaked"] == 0


def test_at_the_limit(spawning: str) -> None:
    """A spawn gets the descriptors that ended sessions still hold for a moment."""
    assert run_host("at_the_limit", spawning) == 20


def test_with_few_descriptors(mark: str) -> None:
    """Children without a pidfd are ended a few at a time, while their parent lives."""
    verdict = run_host("with_few_descriptors")
    assert (verdict["outcome"], verdict["empty"]) == ("killed", True)
    assert processes.left(mark, 0.0) == []


@pytest.mark.parametrize("spawning", ["native", "keeper"], indirect=True)
def test_without_processes(spawning: str, unprivileged: tuple[str, ...]) -> None:
    """If no process or thread can be started, a spawn fails cleanly, and sessions are ended."""
    answer = run_host("without_processes", spawning, wrapper=unprivileged)
    assert answer["limited"]
    assert answer["refused"] == [errno.EAGAIN, "SPAWN_FAILED", 500]
    outcomes = [verdict["outcome"] for verdict in answer["verdicts"]]
    assert outcomes[:3] == ["graceful", "killed", "killed"]
    assert all(verdict["empty"] for verdict in answer["verdicts"])


def test_interrupted(tier: str) -> None:
    """Ctrl-C on the host, at any moment, ends its sessions and is raised as it is."""
    answer = run_host("interrupted", tier)
    assert answer["raised"] == ["KeyboardInterrupt"] * 20
    assert answer["left"] == []
    assert answer["descriptors"] < 10


LOST = [(None, 1), (3, None), (None, 9), (4, None), (4, None), (None, 9)]
"""How the leaders of `hosts.whose_children_are_lost` end."""


@pytest.mark.parametrize("how", ["ignored", "reaped"])
def test_lost_children(mark: str, how: str) -> None:
    """If a host discards its children's statuses, the verdict has the caveat, and is not wrong."""
    verdicts = run_host("whose_children_are_lost", "session", how)
    for verdict, status in zip(verdicts, LOST, strict=True):
        if how == "ignored" or verdict["status"] is None:
            assert verdict["status"] is None
            assert "REAPED_BY_OTHERS" in verdict["caveats"]
        else:
            assert tuple(verdict["status"]) == status
    # Sessions whose leader was not reaped before the request are certain to be empty.
    assert all(verdict["empty"] for verdict in verdicts[:3])
    left = {each.session for each in processes.marked(mark)}
    assert not left & {verdict["pid"] for verdict in verdicts if verdict["empty"]}
    for each in processes.marked(mark):
        processes.end(each.pid)


@pytest.mark.parametrize("how", ["ignored", "reaped"])
def test_no_children_to_lose(mark: str, how: str) -> None:
    """With keepers the leaders are not the host's children, so it can't lose a status."""
    verdicts = run_host("whose_children_are_lost", "keeper", how)
    assert [tuple(verdict["status"]) for verdict in verdicts] == LOST
    assert all(verdict["empty"] and verdict["caveats"] == [] for verdict in verdicts)
    assert processes.spawned(os.getpid()) == []


@pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)
def test_a_fork_holds_nothing_open(mark: str, tier: str) -> None:
    """A forked child closes its copies of terminals and sockets."""
    answer = run_host("that_forks_and_goes_on", tier)
    assert (answer["outcome"], answer["status"]) == ("graceful", [None, 1])
    assert answer["left"] == []
    assert processes.left(mark) == []


def test_what_is_given_up_is_not_handed_on(tier: str, tmp_path: Path) -> None:
    """A session has the limits and privileges of its host at the moment of the spawn."""
    answer = run_host("that_becomes_less", tier, str(tmp_path))
    for theirs, ours in answer["said"]:
        assert theirs == ours
    if os.geteuid() == 0:
        assert answer["jailed"], "a host in a jail has what it had outside"


def test_a_keeper_without_a_pidfd_of_its_leader(mark: str) -> None:
    """If it can't open the leader's pidfd, it kills the leader, and the spawn fails."""
    assert run_host("with_a_poor_keeper", "descriptors") == ["failed", "gone"]
    assert processes.left(mark) == []


def test_a_keeper_that_can_not_warm_up(mark: str) -> None:
    """It still waits, without processor time, and starts a leader when it gets an order."""
    assert run_host("with_a_poor_keeper", "a warm-up") == ["started", "empty", "gone"]
    assert processes.left(mark) == []


def test_a_keeper_of_a_python_that_was_built_to_run_everywhere(mark: str) -> None:
    """It lacks the newer functions of the C library, and starts a leader all the same."""
    assert run_host("with_a_poor_keeper", "what is new") == ["started", "empty", "gone"]
    assert processes.left(mark) == []


def test_a_python_that_was_built_to_run_everywhere(tier: str, mark: str) -> None:
    """Its host has the same containment as any other, and ends all members."""
    assert run_host("of_a_python_of_old", tier) == {
        "containment": tier,
        "empty": True,
        "outcome": "killed",
        "code": 7,
    }
    assert processes.left(mark) == []


@pytest.mark.parametrize("tier", ["cgroup"], indirect=True)
def test_a_keeper_that_can_not_leave_its_cgroup(tier: str) -> None:
    """It stays there, and the session is not affected."""
    assert run_host("with_a_poor_keeper", "a way out") == ["started", "empty", "gone"]


@pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)
def test_a_host_that_nobody_reaps_for(tier: str) -> None:
    """A host that inherits orphans, as process 1 does, gets none of ptykill's."""
    assert run_host("that_is_a_subreaper", tier) == []


@functools.cache
def namespace() -> tuple[str, ...]:
    """Return the command prefix that runs a program as process 1 of a pid namespace, or none."""
    for options in ("-pf",), ("-Urpf",):
        wrapper = ("unshare", *options, "--mount-proc", "--kill-child")
        probe = [*wrapper, sys.executable, "-c", ""]
        try:
            if subprocess.run(probe, capture_output=True, check=False, timeout=60).returncode == 0:
                return wrapper
        except FileNotFoundError:
            break
    return ()


def numbers() -> str:
    """Return the pid_max to set; before Linux 6.14 it was the whole machine's."""
    major, minor = (int(part) for part in platform.release().split("-")[0].split(".")[:2])
    return LEAST_NUMBERS if (major, minor) >= (6, 14) and os.geteuid() == 0 else "0"


@pytest.mark.parametrize("how", ["unaware", "ignored", "reaped"])
@pytest.mark.long
def test_strangers_with_the_numbers_of_the_dead(tmp_path: Path, how: str, tier: str) -> None:
    """However fast the kernel reuses pids, no signal ever reaches a stranger."""
    wrapper = namespace()
    if not wrapper:
        pytest.skip("no pid namespace can be made here")
    answer: dict[str, Any] = run_host(
        "arena", tier, str(tmp_path), how, "3", numbers(), wrapper=wrapper
    )
    assert answer["churners"] == [0, 0, 0]
    assert answer["host"] == 0, answer["complaints"]
    assert "Traceback" not in answer["complaints"], answer["complaints"]
    assert answer["strangers"] > 100
    assert answer["signalled"] == []
    assert answer["cut_short"] == []
    sessions = answer["sessions"]
    assert len(sessions) >= 5
    if how == "unaware" or tier != "session":
        assert all(each["empty"] for each in sessions)
        assert all(each["status"] for each in sessions)
        assert not any("REAPED_BY_OTHERS" in each["caveats"] for each in sessions)
    else:
        assert all(each["status"] or "REAPED_BY_OTHERS" in each["caveats"] for each in sessions)


def run_in_namespace(name: str, *arguments: str) -> Any:  # noqa: ANN401 - as `run_host`
    """Run a host in a pid namespace in which the test chooses the next pid."""
    if not namespace():
        pytest.skip("no pid namespace can be made here")
    # Process 1 is a shell, which reaps the orphans.
    shell = ("sh", "-c", '[ -w /proc/sys/kernel/ns_last_pid ] || exit 77; "$@"; exit $?', "sh")
    try:
        return run_host(name, *arguments, wrapper=(*namespace(), *shell))
    except AssertionError as error:
        if "ended with 77" in str(error):
            pytest.skip("this kernel does not let us choose the next number")
        raise


@pytest.mark.parametrize("how", ["ignored", "reaped", "reaped, on an older kernel"])
def test_strangers_with_the_numbers_of_leaders(tmp_path: Path, how: str) -> None:
    """A stranger with the pid of a leader that other code has reaped gets no signal."""
    verdicts = run_in_namespace("stolen_leaders", "session", str(tmp_path), how)
    assert {kind: verdict["unharmed"] for kind, verdict in verdicts.items()} == UNHARMED
    for verdict in verdicts.values():
        assert verdict["status"] is None
        assert "REAPED_BY_OTHERS" in verdict["caveats"]


def test_strangers_that_come_late(tmp_path: Path) -> None:
    """Nor does one that got the pid after ptykill had checked the processes started since."""
    assert run_in_namespace("lately_stolen_leaders", str(tmp_path)) == UNHARMED


def test_strangers_with_the_numbers_of_kept_leaders(tmp_path: Path) -> None:
    """A stranger with the pid of a leader that was dead before the first look gets no signal."""
    verdicts = run_in_namespace("stolen_leaders", "keeper", str(tmp_path), "")
    assert {kind: verdict["unharmed"] for kind, verdict in verdicts.items()} == UNHARMED
    for verdict in verdicts.values():
        assert verdict["empty"]
        assert (verdict["status"], verdict["caveats"]) == ([None, 9], [])


@pytest.mark.parametrize("who", ["member", "escapee"])
def test_strangers_with_the_numbers_of_members(tmp_path: Path, who: str, tier: str) -> None:
    """A stranger with the pid of a member gets no signal, and the session is ended."""
    if tier == "cgroup":
        pytest.skip("as the keeper's")
    verdicts = run_in_namespace("stolen_members", tier, str(tmp_path), who)
    assert {kind: verdict["unharmed"] for kind, verdict in verdicts.items()} == UNHARMED
    for verdict in verdicts.values():
        assert (verdict["outcome"], verdict["empty"]) == ("killed", True)
        assert verdict["status"] == [None, 9]


@pytest.mark.parametrize("act", ["list", "signal"])
def test_strangers_in_the_place_of_members(tmp_path: Path, act: str, tier: str) -> None:
    """A stranger that gets a member's pid between the look and the opening is not taken for it."""
    if tier == "cgroup":
        pytest.skip("as the keeper's")
    found = run_in_namespace("replaced_members", tier, str(tmp_path), act)
    assert set(found) == set(UNHARMED)
    for kind, seen in found.items():
        assert seen["opened"], kind
        assert not seen["seen"], kind
        assert seen["unharmed"], kind


@pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)
def test_a_limit_of_no_descriptors(mark: str, tier: str) -> None:
    """poll(2) fails then with any descriptor, and sessions are ended all the same."""
    assert run_host("allowed_no_descriptor", tier) == [True, "killed", False]
    assert processes.left(mark) == []
