"""System calls that a sandbox always refuses, and their replacements; without strace(1)."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import trio

import ptykill
from ptykill import Supervisor
from ptykill.engine.cleanup import DeferredCleanup
from ptykill.engine.timer import PreciseTimer
from ptykill.system.containment.rights import Rights
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.pidfd import Pidfd, open_pidfd
from ptykill.testing import FakeTier, Member
from tests.real.conftest import PLAN


def refused(*_: object, **__: object) -> NoReturn:
    """Raise the error of a system call that a sandbox refuses."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture
def victim() -> Iterator[Pidfd]:
    """Run a process that sleeps."""
    with subprocess.Popen(["sleep", "60"]) as process:
        handle = open_pidfd(process.pid)
        assert handle is not None
        yield handle
        handle.close()
        process.kill()


def test_a_signal_goes_by_number(monkeypatch: pytest.MonkeyPatch, victim: Pidfd) -> None:
    """kill(2) replaces pidfd_send_signal(2) if the kernel confirms the pid."""
    monkeypatch.setattr(syscalls, "pidfd_send_signal", refused)
    assert victim.send(signal.SIGKILL)
    os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("wrong", [os.getpid(), 0], ids=["ours", "none"])
def test_no_signal_goes_by_another_number(
    monkeypatch: pytest.MonkeyPatch, victim: Pidfd, wrong: int
) -> None:
    """No signal goes to a pid that the kernel does not confirm."""
    monkeypatch.setattr(syscalls, "pidfd_send_signal", refused)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a stranger was signalled"))
    victim.pid = wrong
    with pytest.raises(PermissionError):
        victim.send(signal.SIGTERM)
    monkeypatch.undo()


def test_no_signal_goes_to_one_that_was_reaped(
    monkeypatch: pytest.MonkeyPatch, victim: Pidfd
) -> None:
    """No signal goes to the pid of a reaped process."""
    os.kill(victim.pid, signal.SIGKILL)
    os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)
    os.waitpid(victim.pid, 0)
    monkeypatch.setattr(syscalls, "pidfd_send_signal", refused)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a stranger was signalled"))
    with pytest.raises(PermissionError):
        victim.send(signal.SIGTERM)


def test_rights_that_can_not_be_asked_are_unknown_and_not_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rights that can't be read do not count as changed: no warden would be usable then."""
    monkeypatch.setattr(resource, "getrlimit", refused)
    rights = Rights()
    assert rights.unchanged()
    monkeypatch.undo()
    assert not rights.unchanged()
    rights.close()


async def test_a_terminal_that_can_not_be_resized(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is ptykill's, and the size stays as it was."""
    session = await supervisor.spawn(["cat"])

    def fails(*_: object) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "ioctl", fails)
        with pytest.raises(ptykill.SessionEnded, match="Input/output error"):
            session.resize(30, 100)
    assert (session.rows, session.cols) == (24, 80)
    session.resize(30, 100)
    assert (session.rows, session.cols) == (30, 100)


@pytest.mark.parametrize("helper", [PreciseTimer, DeferredCleanup])
async def test_a_helper_that_fails_ends_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, helper: type[Any]
) -> None:
    """A task that fails is logged and started again; sessions are killed in time all the same."""
    run, runs, again = helper.run, [], trio.Event()

    async def fails_once(self: object) -> None:
        runs.append(self)
        if len(runs) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        again.set()
        await run(self)

    monkeypatch.setattr(helper, "run", fails_once)
    async with ptykill.open_supervisor(containment=FakeTier(Member())) as supervisor:
        session = await supervisor.spawn(["x"])
        with trio.fail_after(30):
            verdict = await session.terminate(grace=0.2)
            await again.wait()
        assert (verdict.outcome, verdict.empty) == (ptykill.Outcome.KILLED, True)
    assert "supervisor.task_failed" in caplog.text


async def test_the_reason_is_too_many_open_files(tier: str) -> None:
    """With few descriptors left, a failed spawn names EMFILE and no other error."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
    try:
        async with ptykill.open_supervisor(containment=tier, plan=PLAN) as supervisor:
            for left in 0, 2, 3, 9:
                await use(supervisor)
                with all_but(left):
                    await use(supervisor, may_fail=left < 6)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def use(supervisor: Supervisor, *, may_fail: bool = False) -> None:
    """Spawn and end a session; EMFILE may prevent that."""
    try:
        session = await supervisor.spawn(["true"])
    except ptykill.SpawnError as error:
        if not may_fail or error.errno != errno.EMFILE:
            raise
    else:
        assert (await session.wait()).empty


class all_but:  # noqa: N801 - it reads as a word
    """Open all free descriptors but a number of them."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._held: list[int] = []

    def __enter__(self) -> None:
        try:
            while True:
                self._held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            for _ in range(self._left):
                os.close(self._held.pop())

    def __exit__(self, *_: object) -> None:
        for fd in self._held:
            os.close(fd)
