"""The alarm: what is due is done in its task, at once; and by a deadline where there is none."""

from __future__ import annotations

import logging

import pytest
import structlog
import trio
import trio.testing

import ptykill
from ptykill import Outcome
from ptykill.engine.timer import PreciseTimer
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


async def test_it_does_not_ring_on_a_clock_that_is_not_real(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Virtual time passes without it."""
    assert not PreciseTimer().call_at(trio.current_time() + 1, lambda: None)


@pytest.mark.parametrize("there", [True, False])
async def test_no_wait_is_broken_off_for_a_kill(
    monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """The session's task goes on waiting while the alarm's kills; it does it itself without one."""
    tier = FakeTier(DEAF)
    # However late it is, the timer is set long before and comes first, and there is no second
    # round of SIGKILL, which breaks the wait off too.
    for name in "_EARLY", "_LATE", "_RETRY_FIRST":
        monkeypatch.setattr(f"ptykill.engine.driver.{name}", 10.0)
    if not there:
        monkeypatch.setattr(PreciseTimer, "call_at", lambda *_: False)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        containment, waits = tier.spawned[0], []
        wait, kill = containment.wait_exited, containment.kill

        async def wait_exited() -> None:
            waits.append("wait")
            await wait()

        def noted() -> ptykill.Signalled:
            waits.append("kill")
            return kill()

        containment.wait_exited = wait_exited  # type: ignore[method-assign]
        containment.kill = noted  # type: ignore[method-assign]
        verdict = await session.terminate(grace=GRACE)
        assert verdict.outcome is Outcome.KILLED
        assert verdict.grace >= GRACE
        assert waits[waits.index("kill") + 1 :] == ([] if there else ["wait"])


async def test_a_kill_that_fails_takes_nobody_down(caplog: pytest.LogCaptureFixture) -> None:
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


async def test_the_log_of_a_kill_has_what_was_bound_at_the_birth(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A request's id, say; whichever task kills."""
    caplog.set_level(logging.INFO, "ptykill")
    async with ptykill.open_supervisor(containment=FakeTier(DEAF)) as supervisor:
        with structlog.contextvars.bound_contextvars(request="of the birth"):
            session = await supervisor.spawn(["x"])
        await session.terminate(grace=GRACE)
    (killing,) = [line for line in caplog.messages if "session.killing" in line]
    assert "of the birth" in killing
