"""Attachments: each gets all output in order, and a slow one delays the others for a second."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import ptykill
from ptykill import Session, Supervisor
from ptykill.testing import FakeTerminal, FakeTier, Member

LIMIT = 1000
PATIENCE = 1.0
"""Seconds that an attachment may hold the terminal back."""


class Stage:
    """A session on a virtual clock, and the program's side of its terminal."""

    def __init__(self, supervisor: Supervisor, session: Session, tier: FakeTier) -> None:
        self.supervisor = supervisor
        self.session = session
        self.tier = tier
        self.terminal: FakeTerminal = tier.spawned[0].terminal

    async def write(self, data: bytes) -> None:
        """Write as the program does, and let the session read it unless an attachment is full."""
        self.terminal.write(data)
        await wait_all_tasks_blocked()

    def held_back(self) -> bool:
        """Return whether the terminal has output that the session has not read; takes it."""
        return bool(self.terminal.receive_now())


@pytest.fixture
async def stage(autojump_clock: MockClock) -> AsyncIterator[Stage]:
    """Open a supervisor with one session, which keeps 5000 bytes while nobody is attached."""
    tier = FakeTier(leader=Member(dies_of={"HUP": 1.0}))
    async with ptykill.open_supervisor(containment=tier, backlog=5000) as supervisor:
        session = await supervisor.spawn(["bash"])
        yield Stage(supervisor, session, tier)


async def test_each_attachment_gets_all_output(stage: Stage) -> None:
    """Each attachment gets the kept output first, and then everything, in order."""
    await stage.write(b"before ")
    with stage.session.attach() as first, stage.session.attach() as second:
        await stage.write(b"and ")
        await stage.write(b"after")
        assert await first.receive() == b"before and after"
        assert await second.receive() == b"before and after"
        with pytest.raises(ptykill.InvalidArgument):
            await second.receive(0)


async def test_a_later_attachment_gets_the_kept_output_first(stage: Stage) -> None:
    """It gets output that others have received too; `Session.receive` gets only the rest."""
    with stage.session.attach() as first:
        await stage.write(b"0123456789")
        assert await first.receive(4) == b"0123"
    await stage.write(b"abc")
    with stage.session.attach() as second, stage.session.attach() as third:
        assert await second.receive() == b"0123456789abc"
        third.close()
        assert await third.receive() == b""
        await stage.write(b"d")
        assert await second.receive() == b"d"
    await stage.write(b"e")
    assert await stage.session.receive() == b"e"
    await stage.write(b"x" * 5000 + b"newest")
    assert stage.session.bytes_dropped == 6
    with stage.session.attach() as late:
        assert await late.receive() == b"x" * 4994 + b"newest"


async def test_session_receive_waits_while_there_is_an_attachment(stage: Stage) -> None:
    """`Session.receive` gets the output that the closed attachment had not received."""
    attachment = stage.session.attach()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert await stage.session.receive() == b"st"

        nursery.start_soon(wait)
        await stage.write(b"first")
        assert await attachment.receive(3) == b"fir"
        attachment.close()


async def test_every_attachment_is_told_the_end(stage: Stage) -> None:
    """Once the leader is dead, old and new attachments get the rest, and then the end."""
    with stage.session.attach() as first:
        await stage.write(b"last words")
        stage.tier.spawned[0].exit()
        await stage.session.wait()
        assert [await first.receive(), await first.receive()] == [b"last words", b""]
    with stage.session.attach() as late:
        assert [await late.receive(), await late.receive()] == [b"last words", b""]


async def test_closing_an_attachment_ends_its_own_wait(stage: Stage) -> None:
    """A task that waits in `receive` gets the end; `close` may be repeated."""
    with stage.session.attach() as attachment:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                assert await attachment.receive() == b""

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            attachment.close()


async def test_a_full_attachment_holds_the_program_back(stage: Stage) -> None:
    """The terminal is not read while the only attachment is full; receiving makes room."""
    with stage.session.attach(LIMIT) as attachment:
        await stage.write(b"x" * LIMIT)
        await stage.write(b"y" * LIMIT)
        assert await attachment.receive(10 * LIMIT) == b"x" * LIMIT
        await wait_all_tasks_blocked()
        assert await attachment.receive(10 * LIMIT) == b"y" * LIMIT


async def test_an_attachment_that_never_receives_is_dropped(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """It is dropped after a second even if it is the only one; its output is kept."""
    with stage.session.attach(LIMIT) as attachment:
        await stage.write(b"x" * LIMIT)
        began = trio.current_time()
        await attachment.dropped.wait()
        assert trio.current_time() - began == pytest.approx(PATIENCE)
        with pytest.raises(ptykill.AttachmentDropped):
            await attachment.receive()
        await stage.write(b"more")
    assert await stage.session.receive() == b"x" * LIMIT + b"more"


async def test_the_only_attachment_may_pause_without_limit(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """It holds the program back for an hour, and then receives everything."""
    with stage.session.attach(LIMIT) as attachment:
        await stage.write(b"x" * LIMIT)
        received = await attachment.receive(1)
        await stage.write(b"y" * LIMIT)
        stage.terminal.write(b"z")
        await trio.sleep(3600)
        assert attachment.pending == 2 * LIMIT - 1
        while not received.endswith(b"z"):
            received += await attachment.receive()
        assert received == b"x" * LIMIT + b"y" * LIMIT + b"z"


async def test_two_attachments_that_pause_are_both_kept(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """Neither delays the other until one of them waits for output."""
    with stage.session.attach(LIMIT) as one, stage.session.attach(LIMIT) as other:
        for each in one, other:
            await stage.write(b"x")
            assert await each.receive(1) == b"x"
        await stage.write(b"y" * (2 * LIMIT))
        await trio.sleep(3600)
        stage.terminal.write(b"z")
        await trio.sleep(3600)
        assert not one.dropped.is_set()
        assert not other.dropped.is_set()
        began = trio.current_time()
        received = b""
        while not received.endswith(b"z"):
            received += await one.receive()
        assert trio.current_time() - began == pytest.approx(PATIENCE)
        assert other.dropped.is_set()
        assert received == b"x" + b"y" * (2 * LIMIT) + b"z"
    with stage.session.attach() as late:  # The output that the other one had not received is kept.
        assert (await late.receive()).endswith(b"y" * (2 * LIMIT) + b"z")


async def test_output_from_before_does_not_count_towards_the_limit(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """Kept output does not hold the program back, however much of it there is."""
    await stage.write(b"x" * (4 * LIMIT))
    with stage.session.attach(LIMIT) as attachment:
        await stage.write(b"y" * (LIMIT - 1))
        await stage.write(b"z")
        assert not stage.held_back()
        assert await attachment.receive() == b"x" * (4 * LIMIT) + b"y" * (LIMIT - 1) + b"z"


async def test_a_slow_attachment_beside_a_fast_one_is_dropped(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """It may delay the fast one for a second in all; then it is dropped."""
    with stage.session.attach(LIMIT) as fast, stage.session.attach(LIMIT) as slow:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def dawdle() -> None:
                while not slow.dropped.is_set():
                    await slow.receive(1)
                    await trio.sleep(0.01)
                with pytest.raises(ptykill.AttachmentDropped):
                    await slow.receive(1)

            nursery.start_soon(dawdle)
            received = 0
            for _ in range(100):
                stage.terminal.write(b"x" * LIMIT)
                received += len(await fast.receive(LIMIT))
            assert received == 100 * LIMIT
            assert trio.current_time() - began <= 1.1 * PATIENCE
        assert not fast.dropped.is_set()


async def test_an_attachment_that_catches_up_may_be_slow_again(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """Once it has received everything, the time that it delayed others counts no more."""
    with stage.session.attach(LIMIT) as fast, stage.session.attach(LIMIT) as slow:
        for _ in range(5):
            await stage.write(b"x" * LIMIT)
            assert len(await fast.receive()) == LIMIT
            await trio.sleep(0.6 * PATIENCE)
            assert len(await slow.receive()) == LIMIT
            await wait_all_tasks_blocked()


async def test_no_attachment_holds_back_a_session_that_is_being_ended(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """Once the end is asked for, the terminal is always read, and the oldest bytes are dropped."""
    with stage.session.attach(LIMIT) as attachment:
        await stage.write(b"x" * LIMIT)
        stage.session.request_end(grace=5.0)
        for _ in range(20):
            await stage.write(b"y" * LIMIT)
        await stage.write(b"the end")
        assert not stage.held_back()
        verdict = await stage.session.wait()
        assert verdict.outcome is ptykill.Outcome.GRACEFUL
        assert verdict.took == pytest.approx(1.0)
        assert (await attachment.receive(10**6)).endswith(b"yyythe end")
        assert await attachment.receive() == b""
        assert not attachment.dropped.is_set()
    with stage.session.attach() as late:
        assert (await late.receive()).endswith(b"yyythe end")


async def test_end_requested_tells_a_request_from_an_exit(stage: Stage) -> None:
    """It stays False for a leader that exited before the request, and for a refused request."""
    other = await stage.supervisor.spawn(["bash"])
    stage.tier.spawned[1].exit()
    await other.wait()
    await other.terminate()
    assert not other.end_requested
    with pytest.raises(ptykill.InvalidGrace):
        await stage.session.terminate(grace=-1.0)
    assert not stage.session.end_requested
    await stage.session.terminate()
    assert stage.session.end_requested


@pytest.mark.parametrize(
    ("limit", "stall_timeout"), [(0, 1.0), (-1, 1.0), (1, -1.0), (1, math.nan)]
)
async def test_attach_refuses_bad_arguments(stage: Stage, limit: int, stall_timeout: float) -> None:
    """A limit below one, or a timeout that is negative or NaN, is an error: nothing is attached."""
    with pytest.raises(ptykill.InvalidArgument):
        stage.session.attach(limit, stall_timeout)
    await stage.write(b"kept")
    assert await stage.session.receive() == b"kept"
