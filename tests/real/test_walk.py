"""The walk through the living descendants of a process, which signals go by."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ptykill.system.kernel import members as walk
from ptykill.system.kernel.fd_reserve import reserve
from ptykill.system.kernel.members import members
from ptykill.system.kernel.pidfd import Pidfd, open_pidfd
from ptykill.system.kernel.procfs import children
from tests.waiting import wait_until

WIDE = "sh -c 'sleep 61 & sleep 62; :'"
DEEP = "sh -c 'sh -c \"sleep 61; :\"; :'"
SIZE = 15
"""Five of these, with two descendants each."""


@pytest.fixture
def family() -> str:
    """Return the command that starts a process with two descendants."""
    return WIDE


@pytest.fixture
def root(family: str) -> Iterator[Pidfd]:
    """Start a process with descendants, and return a handle on it."""
    command = f"for i in 1 2 3 4 5; do {family} & done; wait"
    process = subprocess.Popen(["sh", "-c", command], start_new_session=True)
    handle = open_pidfd(process.pid)
    assert handle is not None
    try:
        wait_until(lambda: len(found(handle)) == SIZE)
        yield handle
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        handle.close()


def found(root: Pidfd) -> list[int]:
    """Return the pids that a walk finds."""
    return [member.pid for member in members(root)]


def descriptors() -> set[str]:
    """Return the descriptors that are open."""
    return {each.name for each in Path("/proc/self/fd").iterdir()}


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Leave so many free descriptors."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 50, limits[1]))
    try:
        with suppress(OSError):  # EMFILE
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(held.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in held:
            os.close(fd)


def test_parents_come_before_their_children(root: Pidfd) -> None:
    """Each descendant is found once, and is not held afterwards."""
    before = descriptors()
    seen = [root.pid]
    for member in members(root):
        assert any(member.pid in children(pid) for pid in seen)
        assert not member.dead()
        seen.append(member.pid)
    assert len({*seen}) == SIZE + 1
    for _ in members(root):
        break
    assert descriptors() == before


def test_a_stranger_that_has_got_a_number(root: Pidfd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process is proved to be a child after it was opened: its pid was another's when listed."""
    stranger = subprocess.Popen(["sleep", "60"])
    listed: set[int] = set()

    def with_stranger(pid: int) -> list[int]:
        first = pid not in listed
        listed.add(pid)
        return [stranger.pid, *children(pid)] if first and pid == root.pid else children(pid)

    monkeypatch.setattr(walk, "children", with_stranger)
    try:
        pids = found(root)
        assert len(pids) == SIZE
        assert stranger.pid not in pids
    finally:
        stranger.kill()
        stranger.wait()


def test_the_children_of_a_stranger_with_the_parents_number(
    root: Pidfd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list is believed only if its process is there after it: so it had its pid all along."""
    others = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    pids = [each.pid for each in others]
    parent = subprocess.Popen(["true"])
    handle = open_pidfd(parent.pid)
    assert handle is not None
    parent.wait()  # Its number may be a stranger's now.
    monkeypatch.setattr(walk, "children", lambda pid: pids if pid == parent.pid else [])
    try:
        assert found(handle) == []
    finally:
        handle.close()
        for each in others:
            each.kill()
            each.wait()


def test_a_child_that_the_second_list_lacks(root: Pidfd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list may lack children while others end, or become another's: they are asked themselves."""
    listed: set[int] = set()

    def less_and_less(pid: int) -> list[int]:
        first = pid not in listed
        listed.add(pid)
        return children(pid) if first else []

    monkeypatch.setattr(walk, "children", less_and_less)
    assert len(found(root)) == SIZE


def test_the_dead_are_passed_over() -> None:
    """A zombie that is not reaped is no living descendant, though it is listed."""
    code = "sleep 62 & sleep 61 & sleep 0 & exec sleep 60"
    process = subprocess.Popen(["sh", "-c", code], start_new_session=True)
    handle = open_pidfd(process.pid)
    assert handle is not None
    try:
        wait_until(lambda: len(children(process.pid)) == 3 and len(found(handle)) == 2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        handle.close()


@pytest.mark.parametrize("family", [WIDE, DEEP])
@pytest.mark.parametrize("free", [4, 5, 7, 12])
def test_few_descriptors(root: Pidfd, free: int) -> None:
    """What is held to save time takes no descriptors from those that are needed.

    Three generations and a list take four. The reserve is not used.
    """
    refusals = reserve.refusals
    kept = len(reserve._held)
    with few_descriptors(free):
        pids = found(root)
    assert len(pids) == SIZE
    assert (reserve.refusals, len(reserve._held)) == (refusals, kept)
