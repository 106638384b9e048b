"""Waiting for text, on a virtual clock: whatever comes when, nothing is lost or found twice."""

from __future__ import annotations

import itertools
import re

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import ptykill
from ptykill import ExpectTimeout, OutputEnded
from ptykill.engine.output import Output
from ptykill.engine.transcript import Transcript
from ptykill.testing import FakeTier, Member

Clock = trio.testing.MockClock


def on_virtual_clock(main: object) -> None:
    """Run a function on a clock that jumps whenever no task can run."""
    trio.run(main, clock=Clock(autojump_threshold=0))  # type: ignore[arg-type]


WORDS = st.sampled_from(
    ["one", "ä€🙂", "\x1b[1mbold\x1b[m", "\r\n", "\r", "x", "\x1b]0;t\x07", "\xff"]
)


@given(st.lists(WORDS, max_size=8), st.lists(st.integers(0, 60), max_size=6))
def test_it_finds_the_same_however_the_output_is_cut(words: list[str], cuts: list[int]) -> None:
    """And goes on right behind the match, at the same byte."""
    data = "".join(words).encode("utf-8") + b"END" + "".join(words[::-1]).encode() + b"LAST"
    edges = sorted({0, len(data), *(min(each, len(data)) for each in cuts)})

    async def found_with(pieces: list[bytes]) -> tuple[object, ...]:
        output = Output(1 << 20)
        transcript = Transcript(output)

        async def put() -> None:
            for piece in pieces:
                await trio.sleep(1)
                output.put(piece)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put)
            first = await transcript.expect(("END",), 1000)
            taken = output.taken
            second = await transcript.expect(("LAST",), 1000)
        assert data[:taken].endswith(b"END")
        assert output.taken == len(data)
        return first, taken, second

    async def main() -> None:
        whole = await found_with([data])
        assert await found_with([data[a:b] for a, b in itertools.pairwise(edges)]) == whole

    on_virtual_clock(main)


async def test_nothing_is_taken_without_a_match(autojump_clock: Clock) -> None:
    """A timeout and a cancellation leave the output to the next wait, and to `receive`."""
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        tier.spawned[0].terminal.write(b"\x1b[1mhello\x1b[m world\r\n")
        with pytest.raises(ExpectTimeout, match="hello world"):
            await session.expect("absent", timeout=5)
        assert trio.current_time() == pytest.approx(5)
        with trio.move_on_after(1):
            await session.expect("absent")
        found = await session.expect("world")
        assert (found.before, found.text) == ("hello ", "world")
        tier.spawned[0].terminal.write(b"more")
        await trio.sleep(1)
        assert await session.receive() == b"\r\nmore"
        tier.spawned[0].terminal.write(b"last")
        with pytest.raises(ExpectTimeout, match="'last'"):
            await session.expect("more", timeout=1)


async def test_it_is_quiet(autojump_clock: Clock) -> None:
    """The time counts from the last output; a limit ends the wait as well, with the text so far."""
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier) as supervisor, trio.open_nursery() as n:
        session = await supervisor.spawn(["x"])

        async def write(count: int) -> None:
            for number in range(count):
                tier.spawned[0].terminal.write(b"%d " % number)
                await trio.sleep(0.4)

        n.start_soon(write, 5)
        began = trio.current_time()
        assert await session.until_quiet(0.5) == "0 1 2 3 4 "
        assert trio.current_time() - began == pytest.approx(2.1, abs=0.01)
        assert await session.until_quiet(0.5) == ""
        n.start_soon(write, 100)
        began = trio.current_time()
        assert await session.until_quiet(0.5, timeout=1.0) == "0 1 2 "
        assert trio.current_time() - began == pytest.approx(1.0)
        n.cancel_scope.cancel()


async def test_an_echo_is_none_where_nothing_is_echoed(autojump_clock: Clock) -> None:
    """A password may be in the output that follows; elsewhere the first copy is an echo."""
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        terminal = tier.spawned[0].terminal
        terminal.echoes = False
        await session.send("secret\n")
        terminal.write(b"\r\nsecret accepted")
        assert (await session.expect("secret", timeout=1)).before == "\n"
        terminal.echoes = True
        await session.send("again\n")
        terminal.write(b"\r\nagain\r\n")
        with pytest.raises(ExpectTimeout):
            await session.expect("again", timeout=1)
        terminal.write(b"again\r\n")
        assert (await session.expect("again", timeout=1)).before == " accepted\nagain\n"
        await session.send("a\n")
        await session.send("b\n")
        terminal.write(b"a\r\nb\r\nb a")
        assert (await session.expect("a", timeout=1)).before.endswith("a\nb\nb ")


async def test_a_flood_without_a_match_is_not_kept(autojump_clock: Clock) -> None:
    """The search goes on in what is kept; what was dropped is dropped."""
    output = Output(100_000)
    transcript = Transcript(output)
    counter = itertools.count()
    async with trio.open_nursery() as nursery:

        async def flood() -> None:
            for _ in range(60):
                for _ in range(10):  # More than is kept, before anybody can look at it.
                    output.put(b"".join(b"%09d\n" % next(counter) for _ in range(2_000)))
                await trio.sleep(0.01)
            output.put(b"END")

        nursery.start_soon(flood)
        found = await transcript.expect((re.compile("9\nEND"),), 60)
    numbers = [int(each) for each in found.before.split("\n")[1:-1]]
    assert len(numbers) > 100_000
    assert numbers == sorted(set(numbers))
    assert len(found.before) < 1 << 22
    assert output.taken == 12_000_003


async def test_the_end_of_the_output(autojump_clock: Clock) -> None:
    """What has come can still match; then the wait is over, as often as it is tried."""
    tier = FakeTier(Member(dies_of={"HUP": 0.0}))
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        tier.spawned[0].terminal.write(b"last words \xe2\x82")
        await trio.sleep(1)
        tier.spawned[0].exit()
        await session.wait()
        assert (await session.expect("last")).before == ""
        for _ in range(2):
            with pytest.raises(OutputEnded, match="words"):
                await session.expect("absent")
        assert await session.until_quiet(100) == " words \ufffd"
        assert await session.until_quiet(100) == ""


async def test_attachments_and_waits_see_the_same(autojump_clock: Clock) -> None:
    """A wait takes nothing from an attachment, nor an attachment from a wait."""
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        session = await supervisor.spawn(["x"])
        with session.attach() as attachment:
            tier.spawned[0].terminal.write(b"one two")
            assert (await session.expect("one")).text == "one"
            assert await attachment.receive() == b"one two"
            assert (await session.expect("two")).before == " "
            tier.spawned[0].terminal.write(b"three")
            assert await attachment.receive() == b"three"
        assert (await session.expect("three")).text == "three"


@pytest.mark.parametrize("pattern", ["NEEDLE", re.compile("N.*E")], ids=["text", "regex"])
async def test_a_flood_is_searched_without_a_gap(
    autojump_clock: Clock, pattern: str | re.Pattern[str]
) -> None:
    """Also what comes when the text is read anew, since most of it is kept no more."""
    for pieces in range(30, 40):
        output = Output(100_000)
        transcript = Transcript(output)

        async def flood(output: Output, pieces: int) -> None:
            for _ in range(pieces):
                output.put(b"x" * 60_000 + b"\n")
                await trio.sleep(0.01)
            output.put(b"NEEDLE" + b"y" * 70_000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, output, pieces)
            assert (await transcript.expect((pattern,), 60)).text == "NEEDLE"
