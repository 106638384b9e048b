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
TIMEOUT = 1.0
"""Seconds that an attachment may hold the terminal back."""


class FakedSession:
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
async def faked(autojump_clock: MockClock) -> AsyncIterator[FakedSession]:
    """Open a supervisor with one session, which keeps 5000 bytes without an attachment."""
    tier = FakeTier(leader=Member(dies_of={"HUP": 1.0}))
    async with ptykill.open_supervisor(containment=tier, backlog=5000) as supervisor:
        session = await supervisor.spawn(["bash"])
        yield FakedSession(supervisor, session, tier)


async def test_each_attachment_gets_all_output(faked: FakedSession) -> None:
    """Each attachment gets the kept output first, and then everything, in order."""
    await faked.write(b"before ")
    with faked.session.attach() as first, faked.session.attach() as second:
        await faked.write(b"and ")
        await faked.write(b"after")
        assert await first.receive() == b"before and after"
        assert await second.receive() == b"before and after"
        with pytest.raises(ptykill.InvalidArgument):
            await second.receive(0)


async def test_a_later_attachment_gets_the_kept_output_first(faked: FakedSession) -> None:
    """It gets output that others have received too; `Session.receive` gets only the rest."""
    with faked.session.attach() as first:
        await faked.write(b"0123456789")
        assert await first.receive(4) == b"0123"
    await faked.write(b"abc")
    with faked.session.attach() as second, faked.session.attach() as third:
        assert await second.receive() == b"0123456789abc"
        third.close()
        assert await third.receive() == b""
        await faked.write(b"d")
        assert await second.receive() == b"d"
    await faked.write(b"e")
    assert await faked.session.receive() == b"e"
    await faked.write(b"x" * 5000 + b"newest")
    assert faked.session.bytes_dropped == 6
    with faked.session.attach() as late:
        assert await late.receive() == b"x" * 4994 + b"newest"


async def test_session_receive_waits_while_there_is_an_attachment(faked: FakedSession) -> None:
    """`Session.receive` gets the output that the closed attachment had not received."""
    attachment = faked.session.attach()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert await faked.session.receive() == b"st"

        nursery.start_soon(wait)
        await faked.write(b"first")
        assert await attachment.receive(3) == b"fir"
        attachment.close()


async def test_every_attachment_is_told_the_end(faked: FakedSession) -> None:
    """Once the leader is dead, old and new attachments get the rest, and then the end."""
    with faked.session.attach() as first:
        await faked.write(b"last words")
        faked.tier.spawned[0].exit()
        await faked.session.wait()
        assert [await first.receive(), await first.receive()] == [b"last words", b""]
    with faked.session.attach() as late:
        assert [await late.receive(), await late.receive()] == [b"last words", b""]


async def test_closing_an_attachment_ends_its_own_wait(faked: FakedSession) -> None:
    """A task that waits in `receive` gets the end; `close` may be repeated."""
    with faked.session.attach() as attachment:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                assert await attachment.receive() == b""

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            attachment.close()


async def test_wait_detached_tells_a_close_from_a_drop(
    faked: FakedSession, autojump_clock: MockClock
) -> None:
    """It returns False for an attachment that was closed, and an end does not detach one."""
    with faked.session.attach() as attachment:
        await faked.session.kill()
        with trio.move_on_after(10) as waiting:
            await attachment.wait_detached()
        assert waiting.cancelled_caught
    assert not await attachment.wait_detached()
    assert not attachment.dropped


async def test_a_full_attachment_holds_the_program_back(faked: FakedSession) -> None:
    """The terminal is not read while the only attachment is full; receiving makes room."""
    with faked.session.attach(LIMIT) as attachment:
        await faked.write(b"x" * LIMIT)
        await faked.write(b"y" * LIMIT)
        assert await attachment.receive(10 * LIMIT) == b"x" * LIMIT
        await wait_all_tasks_blocked()
        assert await attachment.receive(10 * LIMIT) == b"y" * LIMIT


async def test_an_attachment_that_never_receives_is_dropped(
    faked: FakedSession, autojump_clock: MockClock
) -> None:
    """It is dropped after a second even if it is the only one; its output is kept."""
    with faked.session.attach(LIMIT) as attachment:
        await faked.write(b"x" * LIMIT)
        began = trio.current_time()
        assert await attachment.wait_detached()
        assert trio.current_time() - began == pytest.approx(TIMEOUT)
        with pytest.raises(ptykill.AttachmentDropped):
            await attachment.receive()
        await faked.write(b"more")
    assert await faked.session.receive() == b"x" * LIMIT + b"more"


async def test_the_only_attachment_may_pause_without_limit(
    faked: FakedSession, autojump_clock: MockClock
) -> None:
    """It holds the program back for an hour, and then receives everything."""
    with faked.session.attach(LIMIT) as attachment:
        await faked.write(b"x" * LIMIT)
        received = await attachment.receive(1)
        await faked.write(b"y" * LIMIT)
        faked.terminal.write(b"z")
        await trio.sleep(3600)
        assert attachment.pending == 2 * LIMIT - 1
        while not received.endswith(b"z"):
            received += await attachment.receive()
        assert received == b"x" * LIMIT + b"y" * LIMIT + b"z"


async def test_two_attachments_that_pause_are_both_kept(
    faked: FakedSession, autojump_clock: MockClock
) -> None:
    """Neither delays the other until one of them waits for output."""
    with faked.session.attach(LIMIT) as one, faked.session.attach(LIMIT) as other:
        for each in one, other:
            await faked.write(b"x")
            assert await each.receive(1) == b"x"
        await faked.write(b"y" * (2 * LIMIT))
        await trio.sleep(3600)
        faked.terminal.write(b"z")
        await trio.sleep(3600)
        assert not one.dropped
        assert not other.dropped
        began = trio.current_time()
        received = b""
        while not received.endswith(b"z"):
            received += await one.receive()
        assert trio.current_time() - began == pytest.approx(TIMEOUT)
        assert other.dropped
        assert received == b"x" + b"y" * (2 * LIMIT) + b"z"
    with faked.session.attach() as late:  # The output that the other one had not received is kept.
        assert (await late.receive()).endswith(b"y" * (2 * LIMIT) + b"z")


async def test_output_from_before_does_not_count_towards_the_limit(
    faked: FakedSession, autojump_clock: MockClock
) -> None:
    """Kept output does not hold the program back, however much of it there is."""
    await faked.write(b"x" * (4 * LIMIT))
    with faked.session.attach(LIMIT) as attachment:
        await faked.write(b"y" * (LIMIT - 1))
        await faked.write(b"z")
        assert not faked.held_back()
        assert await attachment.receive() == b"x" * (4 * LIMIT) + b"y" * (LIMIT - 1) + b"z"


async def test_a_slow_attachment_beside_a_fast_one_is_dropped(
    faked: FakedSession, autojump_clock: MockClock
) -> None:
    """It may delay the fast one for a second in all; then it is dropped."""
    with faked.session.attach(LIMIT) as fast, faked.session.attach(LIMIT) as slow:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def dawdle() -> None:
                while not slow.dropped:
                    await slow.receive(1)
                    await trio.sleep(0.01)
                with pytest.raises(ptykill.AttachmentDropped):
                    await slow.receive(1)

            nursery.start_soon(dawdle)
            received = 0
            for _ in range(100):
                faked.terminal.write(b"x" * LIMIT)
                received += len(await fast.receive(LIMIT))
            assert received == 100 * LIMIT
            assert trio.current_time() - began <= 1.1 * TIMEOUT
        assert not fast.dropped


async def test_an_attachment_that_catches_up_may_be_slow_again(
    faked: FakedSession, autojump_clock: MockClock
) -> None:
    """Once it has received everything, the time that it delayed others counts no more."""
    with faked.session.attach(LIMIT) as fast, faked.session.attach(LIMIT) as slow:
        for _ in range(5):
            await faked.write(b"x" * LIMIT)
            assert len(await fast.receive()) == LIMIT
            await trio.sleep(0.6 * TIMEOUT)
            assert len(await slow.receive()) == LIMIT
            await wait_all_tasks_blocked()


async def test_no_attachment_holds_back_a_session_that_is_being_ended(
    faked: FakedSession, autojump_clock: MockClock
) -> None:
    """Once the end is asked for, the terminal is always read, and the oldest bytes are dropped."""
    with faked.session.attach(LIMIT) as attachment:
        await faked.write(b"x" * LIMIT)
        faked.session.request_end(grace=5.0)
        for _ in range(20):
            await faked.write(b"y" * LIMIT)
        await faked.write(b"the end")
        assert not faked.held_back()
        verdict = await faked.session.wait()
        assert verdict.outcome is ptykill.Outcome.GRACEFUL
        assert verdict.took == pytest.approx(1.0)
        assert (await attachment.receive(10**6)).endswith(b"yyythe end")
        assert await attachment.receive() == b""
        assert not attachment.dropped
    with faked.session.attach() as late:
        assert (await late.receive()).endswith(b"yyythe end")


async def test_end_requested_tells_a_request_from_an_exit(faked: FakedSession) -> None:
    """It stays False for a leader that exited before the request, and for a refused request."""
    other = await faked.supervisor.spawn(["bash"])
    faked.tier.spawned[1].exit()
    await other.wait()
    await other.terminate()
    assert not other.end_requested
    with pytest.raises(ptykill.InvalidGrace):
        await faked.session.terminate(grace=-1.0)
    assert not faked.session.end_requested
    await faked.session.terminate()
    assert faked.session.end_requested


@pytest.mark.parametrize(
    ("limit", "stall_timeout"), [(0, 1.0), (-1, 1.0), (1, -1.0), (1, math.nan)]
)
async def test_attach_refuses_bad_arguments(
    faked: FakedSession, limit: int, stall_timeout: float
) -> None:
    """A limit below one, or a timeout that is negative or NaN, is an error: nothing is attached."""
    with pytest.raises(ptykill.InvalidArgument):
        faked.session.attach(limit, stall_timeout)
    await faked.write(b"kept")
    assert await faked.session.receive() == b"kept"
