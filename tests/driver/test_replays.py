"""Replays of a session's newest output: where they begin, and what comes before them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import wait_all_tasks_blocked

import ptykill
from ptykill import Session
from ptykill.engine.attachment import receive_piece
from ptykill.testing import FakeTier

KEPT = 100


@pytest.fixture
def tier() -> FakeTier:
    """Return a tier of fakes."""
    return FakeTier()


@pytest.fixture
async def session(tier: FakeTier) -> AsyncIterator[Session]:
    """Spawn a session that keeps 100 bytes."""
    async with ptykill.open_supervisor(containment=tier, backlog=KEPT) as supervisor:
        yield await supervisor.spawn(["bash"])


async def write(tier: FakeTier, data: bytes) -> None:
    """Write as the program does."""
    tier.spawned[0].terminal.write(data)
    await wait_all_tasks_blocked()


async def shown(session: Session, since: int | None = None) -> tuple[int, bytes, bytes]:
    """Return where a new attachment begins, the modes that it receives, and the output."""
    modes, output = b"", b""
    with session.attach(since=since) as attachment:
        start = attachment.start
        while attachment._reader._modes or attachment.pending:
            data, offset = await receive_piece(attachment, 7)
            if offset is None:
                assert attachment.offset == start
                assert output == b""
                modes += data
            else:
                output += data
                assert attachment.offset == start + len(output)
    return start, modes or b"none", output


async def test_a_cut_replay_begins_with_the_modes_in_force(
    session: Session, tier: FakeTier
) -> None:
    """Each attachment receives them first: they are those at its start, not those at the end."""
    await write(tier, b"\x1b[?1049h\x1b[?2004h\x1b[1;31mbold")
    await write(tier, b"x" * KEPT + b"\x1b[?2004l")
    start = session.output_offset - KEPT
    for _ in range(2):
        shows = await shown(session)
        assert shows == (
            start,
            b"\x1b[?2004h\x1b7\x1b[?1049h\x1b[1;31m".replace(b"\x1b7", b""),
            b"x" * 92 + b"\x1b[?2004l",
        )
    await session.kill()
    assert (await shown(session))[1:] == shows[1:]


async def test_a_replay_that_is_not_cut_has_no_modes(session: Session, tier: FakeTier) -> None:
    """The output itself sets them. An attachment that goes on has them already."""
    await write(tier, b"\x1b[?2004h" + b"x" * 50)
    assert (await shown(session)) == (0, b"none", b"\x1b[?2004h" + b"x" * 50)
    await write(tier, b"y" * 50)
    assert (await shown(session, since=20)) == (20, b"none", b"x" * 38 + b"y" * 50)
    assert (await shown(session, since=7)) == (8, b"\x1b[?2004h", b"x" * 50 + b"y" * 50)


@pytest.mark.parametrize(
    ("before", "after", "modes", "begins"),
    [
        ("é".encode()[:1], "é".encode()[1:] + b"x", b"none", b"x"),
        ("😀".encode()[:1], "😀".encode()[1:] + b"x", b"none", b"x"),
        ("😀".encode()[:3], "😀".encode()[3:] + b"x", b"none", b"x"),
        (b"\x1b", b"[31mx", b"\x1b[31m", b"x"),
        (b"\x1b[3", b"1mx", b"\x1b[31m", b"x"),
        (b"\x1b[38;5;", b"1Hx", b"none", b"x"),
        (b"\x1b]2;ti", b"tle\x07x", b"\x1b]2;title\x1b\\", b"x"),
        (b"\x1b]2;ti", b"tle\x1b\\x", b"\x1b]2;title\x1b\\", b"\x1b\\x"),
        (b"\x1bPq", b"sixel\x1b\\x", b"none", b"\x1b\\x"),
        (b"\x1b(", b"0x", b"\x1b(0", b"x"),
        (b"\x1b[3", b"\x1b[1mx", b"\x1b[1m", b"x"),
        (b"\xc2", b"\x9b31mx", b"\x1b[31m", b"x"),
        (b"\x1b]2;a", b"z" * 99, b"\x1b]2;a" + b"z" * 99, b""),
        (b"\x1bP" + b"a" * 5000, b"z" * 99, b"\x1bX", b""),
        (b"\x1b]2;" + b"a" * 5000, b"z" * 99, b"\x1b]99999;", b""),
        (b"\x80\x80", b"\x80" * 4 + b"x", b"none", b"\x80x"),
    ],
)
async def test_a_cut_replay_begins_at_a_character(  # noqa: PLR0917 - as the table
    session: Session, tier: FakeTier, before: bytes, after: bytes, modes: bytes, begins: bytes
) -> None:
    """And outside a sequence, which is followed to its end; what is left out is missing."""
    await write(tier, before)
    rest = b"" if begins == b"" else b"-" * (KEPT - len(after))
    await write(tier, after + rest)
    start, found, output = await shown(session)
    assert (found, output) == (modes, begins + rest)
    assert start == session.output_offset - len(output)
    with session.attach() as attachment:
        assert attachment.missing == start


async def test_nothing_is_kept(tier: FakeTier) -> None:
    """With a backlog of 0 the modes are those at the end, and the output goes on there."""
    async with ptykill.open_supervisor(containment=tier, backlog=0) as supervisor:
        session = await supervisor.spawn(["bash"])
        await write(tier, b"\x1b[?1hgone\x1b[3")
        with session.attach() as attachment:
            assert await attachment.receive() == b"\x1b[?1h\x1b[3"
            await write(tier, b"1mred")
            assert await attachment.receive() == b"1mred"


DA1 = b"\x1b[c"
NOTHING = b"\x1b\\\x00"
"""What is in the place of a query of three bytes."""


async def test_a_query_that_nobody_has_received_is_kept(session: Session, tier: FakeTier) -> None:
    """A program that starts before its client waits for the answer of the first one."""
    await write(tier, b"start" + DA1)
    with session.attach() as first:
        assert await first.receive() == b"start" + DA1
        await write(tier, b"live" + DA1)
        assert await first.receive() == b"live" + DA1


@pytest.mark.parametrize(
    ("since", "begins"), [(None, b"start" + NOTHING), (5, NOTHING), (7, b"c"), (8, b"")]
)
async def test_queries_that_somebody_has_received_are_left_out(
    session: Session, tier: FakeTier, since: int | None, begins: bytes
) -> None:
    """Later attachments do not get them, from any offset; what nobody has received stays."""
    await write(tier, b"start" + DA1)
    with session.attach() as first:
        assert await first.receive() == b"start" + DA1
        await write(tier, DA1 + b"pending")
        with session.attach(since=since) as later:
            assert await later.receive() == begins + DA1 + b"pending"
            await write(tier, DA1)
            assert await later.receive() == DA1
            assert later.offset == session.output_offset
    await session.kill()
    with session.attach() as record:
        assert await record.receive() == b"start" + 2 * NOTHING + b"pending" + NOTHING


async def test_session_receive_counts_as_an_answer(session: Session, tier: FakeTier) -> None:
    """A host that receives the output itself has seen the query."""
    await write(tier, b"start" + DA1)
    assert await session.receive() == b"start" + DA1
    with session.attach() as late:
        assert await late.receive() == b"start" + NOTHING
