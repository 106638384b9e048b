"""Offsets in the output: an attachment goes on where an earlier one ended."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import ptykill
from ptykill import Session
from ptykill.testing import FakeTerminal, FakeTier, Member

LIMIT = 1000
KEPT = 5000


@pytest.fixture
async def session(tier: FakeTier, autojump_clock: MockClock) -> AsyncIterator[Session]:
    """Spawn a session that keeps 5000 bytes."""
    async with ptykill.open_supervisor(containment=tier, backlog=KEPT) as supervisor:
        yield await supervisor.spawn(["bash"])


@pytest.fixture
def tier() -> FakeTier:
    """Return a tier whose leaders end a second after SIGHUP."""
    return FakeTier(leader=Member(dies_of={"HUP": 1.0}))


async def write(tier: FakeTier, data: bytes) -> FakeTerminal:
    """Write as the program does."""
    terminal = tier.spawned[0].terminal
    terminal.write(data)
    await wait_all_tasks_blocked()
    return terminal


async def rest(attachment: ptykill.Attachment) -> bytes:
    """Return what an attachment can receive at once."""
    received = bytearray()
    while attachment.pending:
        received += await attachment.receive()
    return bytes(received)


async def test_each_attachment_gets_the_newest_output_first(
    session: Session, tier: FakeTier, autojump_clock: MockClock
) -> None:
    """One after the other: while the session runs, when it is being ended, and after its end."""
    for number in range(3):
        await write(tier, b"%d" % number)
        with session.attach() as attachment:
            assert await rest(attachment) == b"012"[: number + 1]
    session.request_end(grace=5.0)
    await write(tier, b"3")
    with session.attach() as attachment:
        assert await rest(attachment) == b"0123"
    await session.wait()
    for _ in range(3):
        with session.attach() as attachment:
            assert (attachment.start, attachment.missing) == (0, 0)
            assert [await attachment.receive(), await attachment.receive()] == [b"0123", b""]


@pytest.mark.parametrize("most", [1, 7, 4096])
async def test_an_attachment_goes_on_without_a_gap(
    session: Session, tier: FakeTier, most: int
) -> None:
    """Attachments that are cut off at any byte together receive the output, each byte once."""
    output = bytes(range(256)) * 10
    received, since = b"", 0
    for at in range(0, len(output), 100):
        await write(tier, output[at : at + 100])
        with session.attach(since=since) as attachment:
            assert (attachment.start, attachment.offset, attachment.missing) == (since, since, 0)
            received += await attachment.receive(most)
            since = attachment.offset
            assert since == len(received)
    with session.attach(since=since) as attachment:
        received += await rest(attachment)
        assert attachment.offset == session.output_offset == len(output)
    assert received == output


async def test_a_gap_has_a_size(session: Session, tier: FakeTier) -> None:
    """Where the output is kept no more, the newest comes, and `missing` is what lies before it."""
    await write(tier, b"x" * 3000)
    await write(tier, b"y" * KEPT)
    with session.attach() as fresh, session.attach(since=1000) as late:
        assert (fresh.start, fresh.missing) == (3000, 3000)
        assert (late.start, late.missing) == (3000, 2000)
        assert await rest(fresh) == await rest(late) == b"y" * KEPT
    with session.attach(since=3001) as attachment:
        assert (attachment.missing, attachment.pending) == (0, KEPT - 1)


async def test_an_attachment_that_is_skipped_misses_bytes(
    session: Session, tier: FakeTier, autojump_clock: MockClock
) -> None:
    """No attachment stops a session that is being ended: it misses the oldest bytes, and tells."""
    with session.attach(LIMIT) as attachment:
        await write(tier, b"a" * 10)
        assert await attachment.receive(4) == b"aaaa"
        session.request_end(grace=5.0)
        await write(tier, b"b" * 2 * LIMIT)
        assert attachment.missing == 6 + LIMIT
        assert await attachment.receive(10) == b"b" * 10
        assert attachment.offset == 10 + LIMIT + 10
        assert attachment.start == 0


async def test_a_dropped_attachment_can_go_on(
    session: Session, tier: FakeTier, autojump_clock: MockClock
) -> None:
    """One that was too slow loses nothing that is kept."""
    with session.attach(LIMIT) as slow:
        await write(tier, b"x" * 2 * LIMIT)
        await write(tier, b"y")
        assert await slow.wait_detached()
    with session.attach(since=slow.offset) as attachment:
        await trio.sleep(1.0)
        assert await rest(attachment) == b"x" * 2 * LIMIT + b"y"


@pytest.mark.parametrize("since", [-1, 11, 1 << 70, True, 1.0, "1", b"2", float("nan")])
async def test_a_wrong_offset_is_refused(session: Session, tier: FakeTier, since: object) -> None:
    """It is an error with a code, and nothing is attached."""
    await write(tier, b"0123456789")
    with pytest.raises(ptykill.InvalidOffset) as caught:
        session.attach(since=since)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.status) == ("INVALID_OFFSET", 400)
    assert await session.receive() == b"0123456789"
    with session.attach(since=10) as attachment:
        await write(tier, b"more")
        assert await attachment.receive() == b"more"


async def test_records_that_have_dropped_their_output(
    tier: FakeTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record without output says how much is missing, and the end comes at once."""
    monkeypatch.setattr("ptykill.engine.records.MOST_OUTPUT", 10)
    async with ptykill.open_supervisor(containment=tier, backlog=KEPT) as supervisor:
        sessions = []
        for number in range(2):
            sessions.append(await supervisor.spawn(["bash"]))
            tier.spawned[number].terminal.write(b"0123456789")
            await wait_all_tasks_blocked()
            tier.spawned[number].exit()
            await sessions[-1].wait()
        for since in None, 4, 10:
            with sessions[0].attach(since=since) as attachment:
                assert (attachment.start, attachment.missing) == (10, 10 - (since or 0))
                assert await attachment.receive() == b""
        with sessions[1].attach(since=4) as attachment:
            assert await attachment.receive() == b"456789"
