"""The tasks that run calls: calls that are submitted too early, too late, or too many."""

from __future__ import annotations

import contextvars

import pytest
import trio
import trio.testing

from ptykill.embedding.call import Call
from ptykill.embedding.call_tasks import CallTasks, open_call_tasks


class AtTheEnd(Exception):
    """The run came to its end."""


async def begun(done: list[str], name: str) -> str:
    """Wait in a call, and record that it has not been cancelled."""
    await trio.lowlevel.checkpoint()
    done.append(name)
    return name


def submitted(tasks: CallTasks, done: list[str], name: str) -> tuple[Call[str], trio.Event]:
    """Submit a call that records its end; return it, and the event that it sets."""
    woken = trio.Event()
    call: Call[str] = Call(begun, (done, name), woken.set, AtTheEnd)
    tasks.submit(call, contextvars.copy_context())
    return call, woken


async def test_a_call_that_is_cancelled_before_its_start() -> None:
    """It is cancelled however short the time was, and no other call is."""
    done: list[str] = []
    async with open_call_tasks() as tasks:
        for number in range(3):  # By the first task, and by one that has run another.
            call, woken = submitted(tasks, done, f"given up {number}")
            call.cancel()
            await woken.wait()
            with pytest.raises(AtTheEnd):
                call.result()
            call, woken = submitted(tasks, done, f"kept {number}")
            await woken.wait()
            assert call.result() == f"kept {number}"
            call.cancel()  # Too late: it has no effect.
    assert done == ["kept 0", "kept 1", "kept 2"]


async def test_calls_at_the_end_are_refused() -> None:
    """Calls that have not begun, that wait, and that come later all get an answer."""
    done: list[str] = []
    async with open_call_tasks() as tasks:
        waiting = trio.Event()
        under_way: Call[None] = Call(trio.sleep_forever, (), waiting.set, AtTheEnd)
        tasks.submit(under_way, contextvars.copy_context())
        await trio.testing.wait_all_tasks_blocked()
        not_begun, woken = submitted(tasks, done, "not begun")
        tasks.close()
        assert woken.is_set()
        with pytest.raises(AtTheEnd):
            not_begun.result()
        with pytest.raises(trio.RunFinishedError):
            submitted(tasks, done, "too late")
    assert waiting.is_set()
    with pytest.raises(AtTheEnd):
        under_way.result()
    assert not done


async def test_more_than_the_pipe_holds() -> None:
    """No caller waits to submit, and every call is run."""
    done: list[str] = []
    async with open_call_tasks() as tasks:
        last = [submitted(tasks, done, str(number)) for number in range(70_000)][-1]
        with trio.fail_after(60):
            await last[1].wait()
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(map(int, done)) == list(range(70_000))
