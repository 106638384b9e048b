"""The timer of all sessions calls each function at its time, whatever the others do."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from ptykill.engine.session_timer import SessionTimer


class Calls:
    """Notes calls: which function, and when."""

    def __init__(self) -> None:
        self.made: list[tuple[str, float]] = []

    def named(self, name: str) -> Callable[[float], None]:
        """Return a function that notes its calls by this name."""
        return lambda now: self.made.append((name, now))


@asynccontextmanager
async def running() -> AsyncIterator[SessionTimer]:
    """Run a timer."""
    timer = SessionTimer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timer.run)
        await trio.testing.wait_all_tasks_blocked()
        yield timer
        timer.close()


async def test_each_is_called_once_and_at_its_last_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A time that is set replaces the one before, earlier or later; infinity means never."""
    calls, began = Calls(), trio.current_time()
    first, second, third, never = map(calls.named, ("first", "second", "third", "never"))
    async with running() as timer:
        timer.set(second, began + 9.0)
        timer.set(first, began + 1.0)
        timer.set(second, began + 2.0)
        timer.set(third, began + 0.5)
        timer.set(third, began + 3.0)
        timer.set(never, began + 1.0)
        timer.set(never, math.inf)
        await trio.sleep(20.0)
    assert calls.made == [(n, began + t) for n, t in (("first", 1), ("second", 2), ("third", 3))]


async def test_a_call_may_set_and_cancel_others(autojump_clock: trio.testing.MockClock) -> None:
    """The end of a session may do so in the call of another one; it may set itself, too."""
    calls, began = Calls(), trio.current_time()
    cancelled, moved, again = map(calls.named, ("cancelled", "moved", "again"))

    def first(now: float) -> None:
        timer.set(cancelled, math.inf)
        timer.set(moved, now + 2.0)
        timer.set(again, now)

    async with running() as timer:
        timer.set(first, began + 1.0)
        timer.set(cancelled, began + 1.0)
        timer.set(moved, began + 1.0)
        await trio.sleep(20.0)
    assert calls.made == [("again", began + 1.0), ("moved", began + 3.0)]


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, BaseException])
async def test_an_error_of_one_keeps_no_other_from_its_time(
    autojump_clock: trio.testing.MockClock, error: type[BaseException]
) -> None:
    """Not even one that ends a program: a logger of the host's may raise it."""
    calls, began = Calls(), trio.current_time()

    def broken(_: float) -> None:
        raise error

    async with running() as timer:
        timer.set(broken, began + 1.0)
        timer.set(calls.named("same time"), began + 1.0)
        timer.set(calls.named("later"), began + 1.1)
        await trio.sleep(20.0)
    assert calls.made == [("same time", began + 1.0), ("later", began + 1.1)]


def test_a_call_that_may_wait_comes_after_two_passes() -> None:
    """Then the loop has heard of deaths; but not so late that something else is due."""
    timer, calls = SessionTimer(), Calls()
    cancelled = calls.named("cancelled")
    timer.set(cancelled, 1.0, 10.0)
    for name, until in ("may wait", 10.0), ("due soon", 2.5), ("may not", -math.inf):
        timer.set(calls.named(name), 1.0, until)
    passes = []
    for now in 0.5, 2.0, 3.0, 4.0, 5.0:
        timer._call_due(now)
        passes.append([name for name, _ in calls.made])
        calls.made.clear()
        timer.set(cancelled, math.inf)
    assert passes == [[], ["may not"], ["due soon"], ["may wait"], []]


async def test_it_goes_on_when_it_is_cancelled_and_ends_when_it_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The plans of sessions go on, too."""
    timer, calls = SessionTimer(), Calls()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timer.run)
        await trio.testing.wait_all_tasks_blocked()
        timer.set(calls.named("x"), trio.current_time() + 1.0)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(2.0)
        timer.close()
    assert len(calls.made) == 1
