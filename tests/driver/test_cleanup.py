"""Deferred cleanup: when descriptors of ended sessions are closed, on a virtual clock."""

from __future__ import annotations

import contextvars
import errno
import gc
import math
import weakref

import pytest
import trio
import trio.testing

import ptykill
from ptykill.engine.cleanup import DeferredCleanup
from ptykill.rules.command import Command
from ptykill.rules.protocols import Handover, Spawned
from ptykill.testing import FakeTier, Member

POLITE = Member(dies_of={"HUP": 0.0})
BRIEF = Member(lives=1.0)
LONG = 0.1
"""Seconds within which everything is given back, as the module says."""


async def test_what_was_held_is_given_back_soon_after_the_verdict(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Not before the caller that waits for the verdict has it."""
    tier = FakeTier(POLITE)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        assert (await session.terminate()).empty
        assert not tier.spawned[0].closed
        await trio.sleep(LONG)
        assert tier.spawned[0].closed
        assert not tier.spawned[0].terminal.open


async def test_many_ends_defer_it_and_not_for_long(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """A session that ends every other millisecond keeps the loop busy; cleanup runs in time."""
    cleanup, times = DeferredCleanup(), []
    nursery.start_soon(cleanup.run)

    async def wait() -> None:
        await cleanup.wait_idle()
        times.append(trio.current_time())

    began = trio.current_time()
    for _ in range(100):
        nursery.start_soon(wait)
        await trio.sleep(0.002)
    await trio.sleep(LONG)
    waited = [time - began for time in times]
    assert len(waited) == 100
    assert waited[0] == pytest.approx(LONG, abs=0.01)
    assert len(set(waited)) <= 3


async def test_output_of_a_program_that_ends_by_itself_ends_with_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A caller that reads on need not wait until the loop is idle."""
    async with ptykill.open_supervisor(containment=FakeTier(BRIEF)) as supervisor:
        session = await supervisor.spawn(["x"])
        began = trio.current_time()
        assert await session.receive() == b""
        assert trio.current_time() - began == pytest.approx(1.0)


async def test_output_ends_soon_after_an_end_that_was_asked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """When the loop is idle."""
    async with ptykill.open_supervisor(containment=FakeTier(POLITE)) as supervisor:
        session = await supervisor.spawn(["x"])
        await session.terminate()
        with trio.fail_after(LONG):
            assert await session.receive() == b""


async def test_leaving_the_supervisor_cleans_up_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It does not wait until the loop is idle."""
    tier = FakeTier(POLITE)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        for _ in range(10):
            await supervisor.spawn(["x"])
        began = trio.current_time()
    assert trio.current_time() == began
    assert all(each.closed for each in tier.spawned)


async def test_nothing_waits_when_cleanup_is_cancelled(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Tasks that wait when it is cancelled are woken, and later ones do not wait."""
    cleanup, woken = DeferredCleanup(), []

    async def wait() -> None:
        await cleanup.wait_idle()
        woken.append(trio.current_time())

    async with trio.open_nursery() as running:
        running.start_soon(cleanup.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        running.cancel_scope.cancel()
    await wait()
    await trio.testing.wait_all_tasks_blocked()
    assert woken == [began, began]


async def test_nothing_wakes_up_while_no_task_waits(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """It has no timer of its own."""
    cleanup = DeferredCleanup()
    nursery.start_soon(cleanup.run)
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf


class Request:
    """What a caller has in a context variable."""


async def test_a_record_holds_nothing_of_the_caller_s(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Context variables go with the session, not with its record."""
    variable: contextvars.ContextVar[Request | None] = contextvars.ContextVar("request")
    async with ptykill.open_supervisor(containment=FakeTier(POLITE)) as supervisor:
        token = variable.set(request := Request())
        session = await supervisor.spawn(["x"])
        variable.reset(token)
        gone = weakref.ref(request)
        del request, token
        await trio.sleep(1)
        assert gone() is not None
        await session.terminate()
        await trio.sleep(LONG)
        gc.collect()
        assert gone() is None
        assert supervisor.get(session.id) is session


@pytest.mark.parametrize("asked", [True, False])
async def test_what_is_over_is_left_to_no_collector(
    autojump_clock: trio.testing.MockClock, *, asked: bool
) -> None:
    """A session is freed with its record, since no reference cycle has it."""
    gc.collect()
    gc.disable()
    try:
        tier = FakeTier(Member(dies_of={"HUP": 0.0}, lives=1.0))
        async with ptykill.open_supervisor(containment=tier, keep_records=0) as supervisor:
            session = await supervisor.spawn(["x"])
            assert (await session.terminate() if asked else await session.wait()).empty
            gone = [weakref.ref(each) for each in (session, session._driver)]
            del session
            await trio.sleep(LONG)
            assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()


async def test_a_record_that_is_too_old_goes_unasked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In time: a host that never asks does not hold the output of what it has ended."""
    async with ptykill.open_supervisor(
        containment=FakeTier(POLITE), keep_seconds=2.5 * LONG
    ) as supervisor:
        gone = []
        for _ in range(2):
            session = await supervisor.spawn(["x"])
            await session.terminate()
            gone.append(weakref.ref(session))
            del session
            await trio.sleep(LONG)
        assert [each() is None for each in gone] == [False, False]
        await trio.sleep(LONG)
        assert [each() is None for each in gone] == [True, False]
        await trio.sleep(LONG)
        assert [each() is None for each in gone] == [True, True]


class Full(FakeTier):
    """A tier that has no more descriptors before a session has given back its own."""

    asked = 0

    async def spawn(self, command: Command, handover: Handover) -> Spawned:
        """Refuse, or make a session."""
        self.asked += 1
        if not all(each.closed for each in self.spawned):
            raise ptykill.SpawnError(errno.EMFILE, "none left", "terminal", "/dev/ptmx")
        return await super().spawn(command, handover)


async def test_a_spawn_does_not_wait_for_what_ended_sessions_hold(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Where there is nothing more to be had they give it back at once, and it is tried again."""
    tier = Full(POLITE)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        for _ in range(5):
            began = trio.current_time()
            await session.terminate()
            session = await supervisor.spawn(["x"])
            assert trio.current_time() == began
        await trio.sleep(LONG)  # Everything has been closed.
        # What a session holds that lives is not given back, and it is not asked for twice.
        asked = tier.asked
        with pytest.raises(ptykill.SpawnError):
            await supervisor.spawn(["x"])
        assert tier.asked == asked + 1
        assert session.verdict is None


async def test_a_command_that_is_missing_is_not_tried_twice(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Only what the kernel has none of is waited for."""
    tier = Full(POLITE)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        await (await supervisor.spawn(["x"])).terminate()
        tier.spawned.clear()
        tier.failure = ptykill.SpawnError(errno.ENOENT, "not there", "exec", "x")
        asked = tier.asked
        with pytest.raises(ptykill.SpawnError):
            await supervisor.spawn(["x"])
        assert tier.asked == asked + 1


class Prepared(FakeTier):
    """A tier that counts how often it has to prepare a spawn, and always fails to."""

    times = 0

    def prepare(self) -> None:
        """Count, and fail."""
        self.times += 1
        raise OSError(errno.EIO, "not ready")


async def test_the_next_spawn_is_prepared_when_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Before each, but not while the caller that has spawned is at work, or spawns others.

    A preparation that fails does no harm.
    """
    tier = Prepared(POLITE)
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        await trio.sleep(LONG)
        assert tier.times == 1
        for _ in range(5):
            await supervisor.spawn(["x"])
        await trio.testing.wait_all_tasks_blocked()
        assert tier.times == 1
        await trio.sleep(LONG)
        assert tier.times == 2
        await supervisor.spawn(["x"])
        await trio.sleep(LONG)
        assert tier.times == 3
        await trio.sleep(3600)
        assert tier.times == 3
