"""The tasks that run errands: what is given too early, too late, or too much of."""

from __future__ import annotations

import contextvars

import pytest
import trio
import trio.testing

from ptykill.embedding.loops import Errand
from ptykill.embedding.runners import Runners, open_runners


class AtTheEnd(Exception):
    """The run came to its end."""


async def begun(done: list[str], name: str) -> str:
    """Wait in an errand, and note that it has not been cancelled."""
    await trio.lowlevel.checkpoint()
    done.append(name)
    return name


def given(runners: Runners, done: list[str], name: str) -> tuple[Errand[str], trio.Event]:
    """Give an errand that notes when it is done; return it, and what is set by its ring."""
    rung = trio.Event()
    errand = Errand(begun, (done, name), rung.set, AtTheEnd)
    runners.give(errand, contextvars.copy_context())
    return errand, rung


async def test_an_errand_that_is_given_up_before_it_has_begun_is_cancelled() -> None:
    """However short the time was, and only that one."""
    done: list[str] = []
    async with open_runners() as runners:
        for number in range(3):  # By the first task, and by one that has run another.
            errand, rung = given(runners, done, f"given up {number}")
            errand.cancel()
            await rung.wait()
            with pytest.raises(AtTheEnd):
                errand.result()
            errand, rung = given(runners, done, f"kept {number}")
            await rung.wait()
            assert errand.result() == f"kept {number}"
            errand.cancel()  # Too late, and nobody's loss.
    assert done == ["kept 0", "kept 1", "kept 2"]


async def test_what_is_given_at_the_end_is_refused() -> None:
    """What has not begun, what waits, and what comes later: none is left without an answer."""
    done: list[str] = []
    async with open_runners() as runners:
        waiting = trio.Event()
        under_way = Errand(trio.sleep_forever, (), waiting.set, AtTheEnd)
        runners.give(under_way, contextvars.copy_context())
        await trio.testing.wait_all_tasks_blocked()
        not_begun, rung = given(runners, done, "not begun")
        runners.close()
        assert rung.is_set()
        with pytest.raises(AtTheEnd):
            not_begun.result()
        with pytest.raises(trio.RunFinishedError):
            given(runners, done, "too late")
    assert waiting.is_set()
    with pytest.raises(AtTheEnd):
        under_way.result()
    assert not done


async def test_more_than_the_pipe_holds() -> None:
    """Nobody who gives ever waits, and all that was given is run."""
    done: list[str] = []
    async with open_runners() as runners:
        last = [given(runners, done, str(number)) for number in range(70_000)][-1]
        with trio.fail_after(60):
            await last[1].wait()
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(map(int, done)) == list(range(70_000))
