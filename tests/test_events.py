"""The events of a supervisor: what they say, their order, and what a reader rebuilds of them."""

from __future__ import annotations

import asyncio
import queue
import random
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

import ptykill
from ptykill import (
    Deadlines,
    EndReason,
    EventKind,
    Host,
    InvalidArgument,
    SessionEnded,
    SessionEvent,
    Supervisor,
)
from ptykill.engine import event_ring
from ptykill.engine.record import record_of
from ptykill.testing import FakeTier, Member

TIMEOUT = 60.0
Records = dict[str, dict[str, object]]


def apply(records: Records, event: SessionEvent) -> None:
    """Apply one event to what is known of the sessions, as the documentation says."""
    if event.kind is EventKind.RESET:
        records.clear()
        records.update({str(each["session_id"]): dict(each) for each in event.sessions})
    elif event.kind is EventKind.CREATED:
        records[event.session_id] = dict(event.changes)
    elif event.kind is EventKind.DROPPED:
        records.pop(event.session_id, None)
    elif event.session_id in records:
        records[event.session_id].update(event.changes)


def listed(supervisor: Supervisor) -> Records:
    """Return what the list says now."""
    return {each.id: record_of(each) for each in supervisor.sessions}


async def read(events: AsyncIterator[SessionEvent], last: EventKind) -> list[SessionEvent]:
    """Read events up to one of a kind."""
    found = []
    with trio.fail_after(TIMEOUT):
        async for event in events:
            found.append(event)
            if event.kind is last:
                break
    return found


def kinds(events: Iterable[SessionEvent]) -> list[str]:
    """Return the kinds of events."""
    return [each.kind.value for each in events]


async def test_the_life_of_a_session() -> None:
    """A real session: each event has its kind, its order, and what it is about."""
    async with ptykill.open_supervisor(keep_records=0) as supervisor:
        events = supervisor.events()
        reset = await anext(events)
        session = await supervisor.spawn(["cat"], name="n", labels={"team": "ci"})
        with session.attach():
            session.resize(30, 90)
        verdict = await session.terminate()
        found = await read(events, EventKind.DROPPED)
        assert kinds(found) == [
            "created", "attached", "resized", "detached", "ending", "delivery", "delivery",
            "exited", "ended", "dropped",
        ]  # fmt: skip
        created, attached, resized, detached, ending, first, *_, exited, ended, _ = found
        assert reset.sessions == ()
        assert {each.session_id for each in found} == {session.id}
        assert [each.number for each in [reset, *found]] == list(range(11))
        assert [each.at for each in found] == sorted(each.at for each in found)
        assert created.changes["name"] == "n"
        assert created.changes["labels"] == {"team": "ci"}
        assert created.changes["pid"] == session.pid
        assert attached.changes == {"client_count": 1}
        assert detached.changes == {"client_count": 0}
        assert resized.changes == {"rows": 30, "cols": 90}
        assert (ending.changes, ending.why) == (
            {"status": "ending", "end_reason": "requested"},
            EndReason.REQUESTED,
        )
        assert first.delivery is not None
        assert (first.delivery.what, first.delivery.reached) == ("HUP@session", 1)
        assert exited.changes == {
            "status": "ending",
            "exit_code": 129,
            "end_reason": "requested",
        }
        assert ended.verdict is verdict
        assert ended.changes["ended_at"] == session.ended_at


async def test_a_session_that_ends_by_itself_leaves_leftovers() -> None:
    """The plan begins for what is left, and the event says why."""
    async with ptykill.open_supervisor(plan="HUP@session 100ms, KILL") as supervisor:
        events = supervisor.events(supervisor.last_event_id)
        await supervisor.spawn(["sh", "-c", "trap '' HUP; sleep 300 & exit 7"])
        found = await read(events, EventKind.ENDED)
        assert kinds(found) == ["created", "exited", "ending", "delivery", "delivery", "ended"]
        assert found[1].changes["exit_code"] == 7
        assert found[2].why is EndReason.EXITED


async def test_a_stuck_session(autojump_clock: MockClock) -> None:
    """A verdict comes when the kill bound has passed, and another one at the end."""
    del autojump_clock
    tier = FakeTier(Member(dies_of={"HUP": 0.0}), [Member(dies_of={"KILL": 5.0})])
    async with ptykill.open_supervisor(containment=tier, plan="HUP 1s, KILL 1s") as supervisor:
        events = supervisor.events(supervisor.last_event_id)
        session = await supervisor.spawn(["sh"])
        await session.terminate()
        found = await read(events, EventKind.STUCK)
        assert found[-1].verdict is session.verdict
        assert found[-1].changes == {"status": "stuck"}
        found = await read(events, EventKind.ENDED)
        assert found[-1].verdict is session.verdict
        assert session.verdict is not None
        assert session.verdict.empty


async def test_a_leader_that_exits_late_leaves_a_stuck_session(autojump_clock: MockClock) -> None:
    """As the list says, since another member lives."""
    del autojump_clock
    tier = FakeTier(Member(dies_of={"KILL": 4.0}), [Member(dies_of={"KILL": 8.0})])
    async with ptykill.open_supervisor(containment=tier, plan="HUP 1s, KILL 1s") as supervisor:
        events = supervisor.events(supervisor.last_event_id)
        session = await supervisor.spawn(["sh"])
        await session.terminate()
        found = await read(events, EventKind.EXITED)
        assert kinds(found)[-2:] == ["stuck", "exited"]
        assert found[-1].changes["status"] == listed(supervisor)[session.id]["status"] == "stuck"


async def test_a_reader_that_waits_ends_with_its_supervisor() -> None:
    """Also if there is no session whose end would wake it up."""
    ended = []

    async def follow(events: AsyncIterator[SessionEvent]) -> None:
        ended.append([event async for event in events])

    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + TIMEOUT
        async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
            nursery.start_soon(follow, supervisor.events(supervisor.last_event_id))
            await trio.testing.wait_all_tasks_blocked()
    assert ended == [[]]


async def test_many_events_come_in_some_pieces() -> None:
    """None is left out, and none comes twice; a piece is bounded, since each is built at once."""
    ring = event_ring.EventRing(tuple)
    position = ring.position(ring.last_id)
    for _ in range(600):
        ring.add(EventKind.ATTACHED, "x", {})
    numbers, sizes = [], []
    while position != ring.last:
        piece = await ring.after(position)
        numbers += [each.number for each in piece]
        sizes.append(len(piece))
        position = numbers[-1]
    assert numbers == list(range(1, 601))
    assert max(sizes) == 256


@pytest.mark.parametrize("close", ["close", "hurry"])
async def test_events_end_with_their_supervisor(close: str) -> None:
    """The end of the last session comes, and then the end."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        events = supervisor.events(supervisor.last_event_id)
        await supervisor.spawn(["sh"])
        if close == "hurry":
            supervisor.hurry()
        await supervisor.close()
    found = [event async for event in events]
    assert [each.why for each in found if each.kind is EventKind.ENDING] == [EndReason.REQUESTED]
    assert found[-1].kind is EventKind.ENDED
    assert [event async for event in supervisor.events()] == []


async def test_since_an_event() -> None:
    """A reader goes on after an event that it has seen; with a wrong id it gets a reset."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        start = supervisor.last_event_id
        session = await supervisor.spawn(["sh"])
        with session.attach():
            pass
        found = await read(supervisor.events(start), EventKind.DETACHED)
        assert kinds(found) == ["created", "attached", "detached"]
        assert found[-1].id == supervisor.last_event_id
        found = await read(supervisor.events(found[0].id), EventKind.DETACHED)
        assert kinds(found) == ["attached", "detached"]
        run, _, number = supervisor.last_event_id.partition("-")
        wrong = ["", "x", "-", run, f"{run}-", f"{run}-x", f"{run}-{int(number) + 1}", f"{run}--1"]
        wrong += [f"{run[::-1]}-1", f"{run}-{'9' * 5000}", f"{run}-\u0663", f" {run}-1"]
        for each in wrong:
            (first,) = await read(supervisor.events(each), EventKind.RESET)
            assert (first.number, len(first.sessions)) == (3, 1), each
        with pytest.raises(InvalidArgument):
            supervisor.events(3)  # type: ignore[arg-type]


async def test_a_slow_reader_is_skipped_to_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds nobody up, and keeps nothing in memory but its position."""
    monkeypatch.setattr(event_ring, "KEPT", 8)
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        slow, quick = supervisor.events(), supervisor.events()
        session = await supervisor.spawn(["sh"])
        assert kinds([await anext(slow), await anext(quick)]) == ["reset", "reset"]
        for _ in range(4):
            with session.attach():
                pass
        found = [await anext(quick) for _ in range(8)]
        assert kinds(found) == ["attached", "detached"] * 4
        with session.attach():
            records: Records = {}
            event = await anext(slow)
            assert event.kind is EventKind.RESET
            apply(records, event)
            assert records == listed(supervisor)
            assert records[session.id]["client_count"] == 1
        assert (await anext(slow)).kind is EventKind.DETACHED


async def test_a_cancelled_reader_loses_nothing() -> None:
    """Nor does one that waits while events come."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        session = await supervisor.spawn(["sh"])
        events = supervisor.events()
        await anext(events)
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(anext, events)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            with session.attach():
                pass
            assert kinds([await anext(events), await anext(events)]) == ["attached", "detached"]


# --- what a reader rebuilds -----------------------------------------------------------------------


async def act(supervisor: Supervisor, tier: FakeTier, attached: list[Any], number: int) -> None:
    """Do something to a session; the number says what."""
    live = [each for each in supervisor.sessions if each.ended_at is None]
    chosen = live[number % len(live)] if live else None
    match number % 11:
        case 0 | 1 | 2 if len(live) < 6:
            await supervisor.spawn(["sh", "x" * (number % 3000)], labels={"n": str(number)})
        case 3 | 4 if chosen is not None:
            attached.append(chosen.attach())
        case 5 if attached:
            attached.pop(number % len(attached)).close()
        case 6 if chosen is not None:
            chosen.resize(1 + number % 50, 80)
        case 7 if chosen is not None:
            tier.spawned[-1].exit(number % 256)
        case 8 if chosen is not None:
            chosen.request_end(grace=number % 3)
        case 9:
            await trio.sleep(number % 4)
        case 10 if chosen is not None:
            with suppress(SessionEnded):
                chosen.set_deadlines(Deadlines(lifetime=1 + number % 9))
        case _:
            await trio.sleep(0.01)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 10**6), max_size=60),
    st.integers(0, 2**32),
    st.sampled_from([4, 16, 4096]),
)
def test_a_reader_that_is_cut_rebuilds_the_list(numbers: list[int], seed: int, kept: int) -> None:
    """At every event, whenever it is cut and goes on, it knows exactly what the list says."""
    lists: dict[str, Records] = {}
    cuts = random.Random(seed)

    async def follow(supervisor: Supervisor) -> None:
        records: Records = {}
        since: str | None = None
        while True:
            with trio.move_on_after(cuts.random() * 3) as cut:
                async for event in supervisor.events(since):
                    apply(records, event)
                    since = event.id
                    right = lists.get(event.id)
                    assert right is None or records == right
                    if cuts.random() < 0.3:
                        break
                else:
                    return
            del cut

    async def main() -> None:
        tier = FakeTier(
            Member(dies_of={"HUP": 1.0}),
            [Member(dies_of={"TERM": 0.5, "KILL": 3.0})],
        )
        options: Any = {"keep_records": 3, "keep_seconds": 5.0, "plan": "HUP 2s, KILL 1s"}
        async with (
            trio.open_nursery() as nursery,
            ptykill.open_supervisor(containment=tier, **options) as supervisor,
        ):
            nursery.start_soon(follow, supervisor)
            attached: list[Any] = []
            for number in numbers:
                await act(supervisor, tier, attached, number)
                lists[supervisor.last_event_id] = listed(supervisor)
            for each in attached:
                each.close()
            lists[supervisor.last_event_id] = listed(supervisor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_ring, "KEPT", kept)
        trio.run(main, clock=MockClock(autojump_threshold=0))


# --- from other worlds ----------------------------------------------------------------------------


def test_a_thread_reads_the_events_of_a_host() -> None:
    """The iterator blocks, and ends when the host is closed."""
    with Host(containment=FakeTier()) as host:
        events = host.events()
        assert next(events).kind is EventKind.RESET
        session = host.spawn(["sh"])
        assert next(events).session_id == session.id
        again = host.events(since=host.supervisor.last_event_id)
        host.terminate(session.id)
        assert [next(again).kind for _ in range(2)] == [EventKind.ENDING, EventKind.DELIVERY]
        with pytest.raises(InvalidArgument):
            host.events(3)  # type: ignore[arg-type]
        seen: queue.Queue[str] = queue.Queue()

        def read() -> None:
            for each in events:
                seen.put(each.kind)

        thread = threading.Thread(target=read)
        thread.start()
        host.spawn(["sh"])
        while seen.get(timeout=TIMEOUT) != "created":
            pass
        host.close()
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    assert list(events) == []


def test_asyncio_reads_the_events_of_a_host() -> None:
    """So does an async iterator, which loses no event when it is cancelled."""

    async def main() -> None:
        async with Host(containment=FakeTier()) as host:
            events = host.events()
            assert (await anext(events)).kind is EventKind.RESET
            for _ in range(10):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(events), 0.01)
                session = await host.acall(host.supervisor.spawn, ["sh"])
                async with asyncio.timeout(TIMEOUT):
                    event = await anext(events)
                assert (event.kind, event.session_id) == (EventKind.CREATED, session.id)
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(all_of(events))
                await host.acall(session.terminate)
                await host.aclose()
            assert "ended" in kinds(reading.result())

    async def all_of(events: AsyncIterator[SessionEvent]) -> list[SessionEvent]:
        return [event async for event in events]

    asyncio.run(main())


@pytest.mark.parametrize("blocking", [True, False])
def test_the_last_events_of_a_closed_host_are_read(*, blocking: bool) -> None:
    """A reader that comes to them later gets all that happened until the close was done."""

    async def rest(events: AsyncIterator[SessionEvent]) -> list[SessionEvent]:
        return [event async for event in events]

    with Host(containment=FakeTier()) as host:
        events = host.events()
        next(events)
        host.spawn(["sh"])
    found = list(events) if blocking else asyncio.run(rest(events))
    assert found[0].kind is EventKind.CREATED
    assert found[-1].kind is EventKind.ENDED
    assert list(events) == []


def test_a_reader_of_an_event_needs_no_session() -> None:
    """An event holds no session, whose output would take memory."""
    changes: Mapping[str, object] = SessionEvent(
        id="x-1", number=1, kind=EventKind.DROPPED, at=0.0
    ).changes
    assert changes == {}
