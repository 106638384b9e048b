"""A session that is made for a cancelled caller is ended, and no other."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio

import ptykill
from ptykill import Host, Outcome, Session, State
from ptykill.system.containment import why_not
from tests.waiting import IDLE_LOOP

PLAN = ptykill.Plan.parse("HUP@session 15s, KILL 15s")
"""A long grace, which only SIGKILL shortens: the sleepers here are deaf to SIGHUP."""
DEAF = ["sh", "-c", f"trap '' HUP; {IDLE_LOOP}"]
TIMEOUT = 100.0


@pytest.fixture(params=["session", "keeper"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Open a host with each way to spawn."""
    if reason := why_not(request.param):
        pytest.skip(reason)
    with Host(plan=PLAN, containment=request.param) as host:
        host.call(trio.sleep, 0)  # It has to be running for the callers of `host.supervisor`.
        yield host
        for session in host.sessions:
            host.call(session.kill)


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition while the event loop is blocked."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def abandon(host: Host, async_fn: Callable[[], Awaitable[Any]], when: Callable[[], object]) -> None:
    """Call a function by `Host.acall`, and cancel its caller at some moment."""

    async def main() -> None:
        task = asyncio.create_task(asyncio.wait_for(host.acall(async_fn), TIMEOUT))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        until(when)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def check_killed(host: Host, session: Session) -> None:
    """Check that a session was ended by SIGKILL, without a grace."""

    async def end() -> ptykill.Verdict:
        with trio.fail_after(TIMEOUT):
            return await session.wait()

    verdict = host.call(end)
    assert (verdict.empty, verdict.outcome) == (True, Outcome.KILLED)
    assert [each.what for each in verdict.deliveries] == ["KILL@all"]


def test_a_session_that_is_made_for_a_cancelled_caller(host: Host) -> None:
    """It is killed, and the session of another caller is not."""
    other = host.spawn(DEAF)
    spawn = partial(host.supervisor.spawn, DEAF)
    abandon(host, spawn, lambda: len(host.supervisor.sessions) == 2)
    check_killed(host, host.sessions[1])
    assert other.state is State.RUNNING


@pytest.mark.parametrize("timeout", [0, 0.0005, 0.002])
def test_a_spawn_that_takes_too_long_for_its_caller(host: Host, timeout: float) -> None:
    """Whenever `asyncio.wait_for` gives up, no session is left without a caller."""

    async def main() -> list[Session]:
        taken = []
        for _ in range(5):
            with suppress(TimeoutError):
                spawn = host.acall(host.supervisor.spawn, DEAF)
                taken.append(await asyncio.wait_for(spawn, timeout))
        return taken

    taken = asyncio.run(main())
    for session in host.sessions:
        if session not in taken:
            check_killed(host, session)
    assert [each for each in taken if each.state is not State.RUNNING] == []


def test_an_interrupt_in_the_wait(host: Host) -> None:
    """A session that is made while its caller gets KeyboardInterrupt is killed."""
    caller = threading.get_ident()

    async def spawn() -> tuple[str, Session]:
        session = await host.supervisor.spawn(DEAF)
        signal.pthread_kill(caller, signal.SIGINT)
        return "with more", session

    with pytest.raises(KeyboardInterrupt):
        host.call(spawn)
    (session,) = host.sessions
    check_killed(host, session)


def test_another_trio_run_that_gives_up(host: Host) -> None:
    """The same for a caller in another trio run: its function is cancelled after the spawn."""
    spawned = threading.Event()

    async def spawn() -> Session:
        session = await host.supervisor.spawn(DEAF)
        spawned.set()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.05)
        return session

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(host.acall, spawn)
                await trio.to_thread.run_sync(spawned.wait)
                scope.cancel()

    trio.run(main)
    (session,) = host.sessions
    check_killed(host, session)


def test_older_sessions_and_attachments_stay(host: Host) -> None:
    """A session or an attachment that was made before the call is not ended."""
    session = host.spawn(DEAF)

    async def attach() -> ptykill.Attachment:
        return session.attach()

    attachment = host.call(attach)
    returned = threading.Event()

    async def both() -> list[object]:
        returned.set()
        return [host.supervisor.get(session.id), attachment]

    abandon(host, both, returned.is_set)
    host.call(trio.sleep, 0.01)
    assert session.state is State.RUNNING
    assert not attachment._reader.detached.is_set()


def test_an_attachment_that_is_made_for_a_cancelled_caller(host: Host) -> None:
    """It is closed, and the session goes on."""
    session = host.spawn(DEAF)
    attached = threading.Event()

    async def attach() -> ptykill.Attachment:
        attached.set()
        return session.attach()

    abandon(host, attach, attached.is_set)
    until(lambda: session._output.readers == [])
    assert session.state is State.RUNNING


RECEIVES: tuple[Callable[[Session], Callable[[], Awaitable[object]]], ...] = (
    lambda session: session.receive,
    lambda session: partial(session.expect, "NEEDLE"),
    lambda session: partial(session.until_quiet, 0.0),
)


@pytest.mark.parametrize("receive", RECEIVES, ids=["receive", "expect", "until_quiet"])
def test_output_that_a_cancelled_caller_does_not_get(
    host: Host, receive: Callable[[Session], Callable[[], Awaitable[object]]]
) -> None:
    """It is there for the next one."""
    session = host.spawn(["sh", "-c", "read x; echo NEEDLE; exec sleep 1000"])
    host.call(session.send, "go\n")
    until(lambda: session.output_offset >= len("go\r\nNEEDLE\r\n"))
    returned = threading.Event()
    function = receive(session)

    async def and_note() -> object:
        result = await function()
        returned.set()
        return result

    abandon(host, and_note, returned.is_set)
    assert host.call(session.expect, "NEEDLE").before == "go\n"
    host.call(session.kill)


def test_output_that_a_cancelled_attachment_does_not_get(host: Host) -> None:
    """It is there for the next `receive`, too."""
    session = host.spawn(["sh", "-c", "echo NEEDLE; exec sleep 1000"])
    attachment = host.call(session.attach)
    returned = threading.Event()

    async def receive() -> bytes:
        data = await attachment.receive(3)
        returned.set()
        return data

    abandon(host, receive, returned.is_set)
    assert host.call(attachment.receive, 3) == b"NEE"
    host.call(session.kill)
