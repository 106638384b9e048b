"""The precise timer calls its callbacks in its own task; without timerfd there is none."""

from __future__ import annotations

import logging
import os
import resource
import select
import sys
import time
from collections.abc import Callable

import pytest
import structlog
import trio
import trio.testing

import ptykill
from ptykill import Outcome
from ptykill.engine.timer import PreciseTimer
from ptykill.system.kernel import timerfd
from ptykill.testing import FakeTier, Member

DEAF = Member()
GRACE = 0.1


async def test_it_calls_in_time_and_in_order(nursery: trio.Nursery) -> None:
    """Never early; those with the same time in the order in which they were asked for."""
    timer, called, over = PreciseTimer(), [], trio.Event()
    nursery.start_soon(timer.run)
    began = trio.current_time()
    times = [began + 0.05, began + 0.02, began + 0.05, began - 1.0]
    for number, when in enumerate(times):

        def call(number: int = number, when: float = when) -> None:
            called.append((number, trio.current_time() >= when))
            if len(called) == len(times):
                over.set()

        assert timer.call_at(when, call)
    with trio.fail_after(10):
        await over.wait()
    assert called == [(3, True), (1, True), (0, True), (2, True)]


async def test_it_refuses_on_a_clock_that_is_not_real(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Virtual time passes without it."""
    assert not PreciseTimer().call_at(trio.current_time() + 1, lambda: None)


@pytest.mark.parametrize(
    ("create", "start"),
    [
        (timerfd.create, timerfd.start),
        (timerfd._create_by_ctypes, timerfd._start_by_ctypes),
    ],
    ids=["chosen", "ctypes"],
)
def test_a_timerfd_is_readable_once_and_in_time(
    create: Callable[[], int], start: Callable[[int, int], None]
) -> None:
    """By Python's own functions where it has them, and by ctypes everywhere else."""
    fd = create()
    try:
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)
        began = time.monotonic_ns()
        start(fd, 20_000_000)
        assert select.select([fd], [], [], 30)[0] == [fd]
        assert time.monotonic_ns() - began >= 20_000_000
        assert int.from_bytes(os.read(fd, 8), sys.byteorder) == 1
        with pytest.raises(BlockingIOError):
            os.read(fd, 8)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    "create", [timerfd.create, timerfd._create_by_ctypes], ids=["chosen", "ctypes"]
)
def test_without_descriptors_there_is_no_timerfd(create: Callable[[], int]) -> None:
    """That is no error: deadlines have to do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert create() == -1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("there", [True, False])
async def test_no_wait_is_broken_off_for_a_kill(
    monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """A timer's task kills while the session's waits: the precise one's, or the other's."""
    tier = FakeTier(DEAF)
    # However late it is, the precise timer is set long before and comes first, and there is no
    # second round of SIGKILL.
    for name in "_TIMER_LEAD", "_TIMER_LATE", "_RETRY_FIRST":
        monkeypatch.setattr(f"ptykill.engine.schedule.{name}", 10.0)
    if not there:
        monkeypatch.setattr(PreciseTimer, "call_at", lambda *_: False)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        containment, waiting, seen = tier.spawned[0], False, []
        wait, kill = containment.wait_exited, containment.kill

        async def wait_exited() -> None:
            nonlocal waiting
            waiting = True
            try:
                await wait()
            finally:
                waiting = False

        def noted() -> ptykill.Signalled:
            seen.append(waiting)
            return kill()

        containment.wait_exited = wait_exited  # type: ignore[method-assign]
        containment.kill = noted  # type: ignore[method-assign]
        # Long enough for the precise timer to be set, however late that is.
        verdict = await session.terminate(grace=20 * GRACE)
        assert verdict.outcome is Outcome.KILLED
        assert verdict.grace >= 20 * GRACE
        assert seen == [True]


async def test_a_kill_that_fails_ends_no_other_session(caplog: pytest.LogCaptureFixture) -> None:
    """It is that session's verdict; others are killed when it is time."""
    tier = FakeTier(DEAF)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session, other = [await supervisor.spawn(["x"]) for _ in range(2)]

        def broken() -> ptykill.Signalled:
            raise ZeroDivisionError

        tier.spawned[0].kill = broken  # type: ignore[method-assign]
        session.request_end(plan=f"HUP {GRACE}s, KILL 300ms")
        other.request_end(grace=GRACE)
        with trio.fail_after(10):
            verdict, another = await session.settled(), await other.settled()
        assert (verdict.outcome, verdict.empty) == (Outcome.STUCK, False)
        assert ptykill.Caveat.INTERNAL_ERROR in verdict.caveats
        assert (another.outcome, another.empty) == (Outcome.KILLED, True)
    assert "session.broken" in caplog.text


async def test_the_log_of_a_kill_has_what_was_bound_at_the_spawn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A request's id, say; whichever task kills."""
    caplog.set_level(logging.INFO, "ptykill")
    async with ptykill.open_supervisor(containment=FakeTier(DEAF)) as supervisor:
        with structlog.contextvars.bound_contextvars(request="of the spawn"):
            session = await supervisor.spawn(["x"])
        await session.terminate(grace=GRACE)
    (killing,) = [line for line in caplog.messages if "session.killing" in line]
    assert "of the spawn" in killing
