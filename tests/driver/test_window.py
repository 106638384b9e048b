"""The window of a session: the size that its terminal gets, and how often, on a virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import ptykill
from ptykill import InvalidArgument, Session, SessionEnded
from ptykill.testing import FakeTerminal, FakeTier


class Stage:
    """A session, and each size that its terminal was given."""

    def __init__(self, session: Session, terminal: FakeTerminal) -> None:
        self.session = session
        self.terminal = terminal
        self.sizes: list[tuple[int, int]] = []
        self._resize = terminal.resize
        terminal.resize = self._note  # type: ignore[method-assign]

    def _note(self, rows: int, cols: int) -> None:
        self._resize(rows, cols)
        self.sizes.append((rows, cols))


@pytest.fixture(params=["latest"])
async def stage(request: pytest.FixtureRequest, autojump_clock: MockClock) -> AsyncIterator[Stage]:
    """Spawn one session with a policy."""
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier, window_size=request.param) as supervisor:
        session = await supervisor.spawn(["bash"])
        yield Stage(session, tier.spawned[0].terminal)


async def test_the_latest_decides(stage: Stage, autojump_clock: MockClock) -> None:
    """By telling a size or by typing; and one that leaves, or is dropped, gives its size back."""
    with stage.session.attach() as wide:
        wide.resize(50, 200)
        with stage.session.attach() as phone:
            phone.resize(20, 40)
            wide.typed(b"\x1b[?62c")  # An answer of its terminal.
            assert (stage.session.rows, stage.session.cols) == (20, 40)
            wide.typed(b"l")
            await trio.sleep(1)
            phone.typed(b"s")
        assert (stage.session.rows, stage.session.cols) == (50, 200)
    assert stage.sizes == [(50, 200), (20, 40), (50, 200), (20, 40), (50, 200)]
    assert stage.terminal.size == (50, 200)


@pytest.mark.parametrize("stage", ["smallest"], indirect=True)
async def test_the_smallest_decides(stage: Stage, autojump_clock: MockClock) -> None:
    """In each dimension; typing changes nothing."""
    with stage.session.attach() as wide:
        wide.resize(20, 200)
        with stage.session.attach() as high:
            high.resize(50, 40)
            wide.typed(b"x")
        assert stage.sizes == [(20, 200), (20, 40), (20, 200)]
    assert (stage.session.rows, stage.session.cols) == (20, 200)


async def test_the_same_size_is_not_set_again(stage: Stage, autojump_clock: MockClock) -> None:
    """No system call for a size that an attachment repeats, nor for keys, nor for a leave."""
    with stage.session.attach() as one, stage.session.attach() as other:
        one.resize(24, 80)
        for _ in range(3):
            one.resize(30, 90)
            one.resize(0, 0)
            one.resize(30, 0)
            one.typed(b"x")
        other.typed(b"x")
    await trio.sleep(1)
    assert stage.sizes == [(30, 90)]


async def test_a_dimension_of_zero_stays(stage: Stage, autojump_clock: MockClock) -> None:
    """Whoever gives it: an attachment, or the session's owner."""
    stage.session.resize(0, 100)
    stage.session.resize(40, 0)
    with stage.session.attach() as attachment:
        attachment.resize(0, 120)
        attachment.resize(0, 0)
    assert stage.sizes == [(24, 100), (40, 100), (40, 120)]


async def test_a_storm_of_sizes_is_thinned(stage: Stage, autojump_clock: MockClock) -> None:
    """Of a thousand in a second the terminal gets some twenty, the first at once, and the last."""
    with stage.session.attach() as attachment:
        for number in range(1000):
            attachment.resize(1 + number, 80)
            await trio.sleep(0.001)
        await trio.sleep(0.1)
    assert stage.sizes[:4] == [(1, 80), (2, 80), (3, 80), (4, 80)]
    assert 15 <= len(stage.sizes) <= 25
    assert stage.sizes[-1] == (1000, 80)
    assert len(set(stage.sizes)) == len(stage.sizes)


async def test_a_request_in_a_storm_is_carried_out_at_once(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """And it is not undone by a size that was due before it."""
    with stage.session.attach() as attachment:
        for number in range(10):
            attachment.resize(30 + number, 90)
        stage.session.resize(40, 120)
        assert stage.terminal.size == (40, 120)
        await trio.sleep(1)
        assert stage.terminal.size == (40, 120)
        stage.session.resize(40, 120)  # A program may have changed it.
        assert stage.sizes[-2:] == [(40, 120), (40, 120)]
        attachment.typed(b"x")
        assert stage.terminal.size == (39, 90)


async def test_a_dropped_attachment_gives_its_size_back(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """One that has held the program up for too long; and it has no size from then on."""
    with stage.session.attach() as quick:
        slow = stage.session.attach(limit=1)
        quick.resize(50, 200)
        slow.resize(20, 40)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(quick.receive)
            await wait_all_tasks_blocked()
            stage.terminal.write(b"output")
            assert await slow.wait_detached()
        assert stage.terminal.size == (50, 200)
        slow.resize(10, 10)
        assert stage.terminal.size == (50, 200)


async def test_nothing_is_resized_after_the_end(stage: Stage, autojump_clock: MockClock) -> None:
    """A size is refused then, and a leave changes nothing; a storm before it does no harm."""
    attachment = stage.session.attach()
    for number in range(10):
        attachment.resize(30 + number, 90)
    before = len(stage.sizes)
    await stage.session.kill()
    await trio.sleep(1)
    with pytest.raises(SessionEnded):
        attachment.resize(10, 10)
    with pytest.raises(SessionEnded):
        stage.session.resize(10, 10)
    attachment.typed(b"x")
    attachment.close()
    assert len(stage.sizes) == before


async def test_wrong_values_are_refused(stage: Stage, autojump_clock: MockClock) -> None:
    """At once, and the size stays."""
    with stage.session.attach() as attachment:
        for wrong in (-1, 65_536, 1.5, True, "40", None):
            for resize in (attachment.resize, stage.session.resize):
                with pytest.raises(InvalidArgument):
                    resize(wrong, 80)  # type: ignore[arg-type]
                with pytest.raises(InvalidArgument):
                    resize(24, wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            attachment.typed("x")  # type: ignore[arg-type]
    assert stage.sizes == []
