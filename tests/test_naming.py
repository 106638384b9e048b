"""Names, labels and idempotency keys of sessions."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

import ptykill
from ptykill import Host, InvalidArgument, KeyReused, NameTaken, SpawnError, State, Supervisor
from ptykill.embedding.call import RETRY_SECONDS, end_undelivered
from ptykill.rules.naming import Naming, Selector
from ptykill.testing import FakeTier, Member

TIMEOUT = 60.0
SLEEPER = ["sleep", "300"]


# --- labels ---------------------------------------------------------------------------------------

_LABELS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz"), max_size=4)


@given(_LABELS, st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["x", "y", None])))
def test_a_selector_wants_all_its_labels(
    labels: dict[str, str], wanted: dict[str, str | None]
) -> None:
    """Each label is there, with its value; None stands for any value."""
    selector = Selector.of(wanted, None)
    found = {label: labels[label] for label in wanted if label in labels}
    right = found.keys() == wanted.keys() and all(
        value is None or found[label] == value for label, value in wanted.items()
    )
    assert selector.matches(None, labels) is right
    assert bool(selector) is bool(wanted)


@given(st.text(max_size=70))
def test_a_name_is_accepted_or_refused(text: str) -> None:
    """Every text is a name, or our error; one that is accepted can stand in a URL as it is."""
    try:
        naming = Naming.of(text, None, None)
    except InvalidArgument:
        return
    assert naming.name == text
    assert text.isascii()
    assert not set(text) & set("/?#%& =\n")


_LONG = "a" * 63
_MANY = {f"l{number}": "" for number in range(16)}


@pytest.mark.parametrize(
    "naming",
    [
        (_LONG, {_LONG: _LONG}, "k" * 255),
        ("0.-_", _MANY, "k"),
        ("f" * 31, {"a/b": "é ü"}, "two words"),
        ("f" * 33, {}, None),
        ("g" * 32, None, None),
    ],
)
def test_the_longest_names_labels_and_keys(naming: tuple[Any, Any, Any]) -> None:
    """They are as long as the documentation says."""
    assert dataclasses.astuple(Naming.of(*naming))[0] == naming[0]


@pytest.mark.parametrize(
    "naming",
    [
        *((name, None, None) for name in (_LONG + "a", "", ".a", "a/b", "é", "F0" * 16)),
        (None, _MANY | {"l": ""}, None),
        *((None, {label: ""}, None) for label in (_LONG + "a", "", "/a", "a b")),
        *((None, {"a": value}, None) for value in (_LONG + "a", "\n", None)),
        *((None, None, key) for key in ("k" * 256, "", " k", "k ", "é", "a\tb")),
    ],
)
def test_what_is_longer_or_has_other_characters_is_refused(naming: tuple[Any, Any, Any]) -> None:
    """A name does not look like an id either."""
    with pytest.raises(InvalidArgument):
        Naming.of(*naming)


async def test_sessions_are_found_and_ended_by_their_labels() -> None:
    """Those that match are ended, at the same time, and no other; ended ones are found as well."""
    async with ptykill.open_supervisor() as supervisor:
        ci = [await supervisor.spawn(SLEEPER, labels={"team": "ci", "n": n}) for n in "12"]
        other = await supervisor.spawn(SLEEPER, labels={"team": "web"}, name="other")
        bare = await supervisor.spawn(SLEEPER)
        assert supervisor.find(labels={"team": "ci"}) == tuple(ci)
        assert supervisor.find(labels={"team": None}) == (*ci, other)
        assert supervisor.find(labels={"team": "ci", "n": "2"}) == (ci[1],)
        assert supervisor.find(name="other") == (other,)
        assert supervisor.find(name="other", labels={"team": "ci"}) == ()
        assert supervisor.find() == (*ci, other, bare)
        verdicts = await supervisor.terminate_matching(labels={"team": "ci"})
        assert [each.session_id for each in verdicts] == [each.id for each in ci]
        assert all(each.empty for each in verdicts)
        assert [each.state for each in (other, bare)] == [State.RUNNING] * 2
        assert supervisor.find(labels={"team": "ci"}) == tuple(ci)
        assert await supervisor.terminate_matching(labels={"team": "ci"}) == verdicts
        assert await supervisor.terminate_matching(name="nobody") == ()


async def test_the_end_of_many_takes_no_longer_than_that_of_one(
    autojump_clock: MockClock,
) -> None:
    """All get the first step before any of them is waited for."""
    del autojump_clock
    tier = FakeTier(Member(dies_of={"HUP": 1.0}))
    async with ptykill.open_supervisor(containment=tier, plan="HUP 2s, KILL") as supervisor:
        for _ in range(10):
            await supervisor.spawn(["sh"], labels={"team": "ci"})
        began = trio.current_time()
        await supervisor.terminate_matching(labels={"team": "ci"})
        assert trio.current_time() - began == pytest.approx(1.0)


async def test_all_sessions_are_not_ended_by_chance() -> None:
    """An end without a label and without a name is refused."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        session = await supervisor.spawn(["sh"])
        with pytest.raises(InvalidArgument):
            await supervisor.terminate_matching()
        with pytest.raises(InvalidArgument):
            await supervisor.terminate_matching(labels={})
        assert session.state is State.RUNNING


def test_a_host_finds_and_ends_by_labels() -> None:
    """The same through a host."""
    with Host() as host:
        session = host.spawn(SLEEPER, labels={"team": "ci"}, name="one")
        assert host.find(labels={"team": "ci"}, name="one") == (session,)
        (verdict,) = host.terminate_matching(labels={"team": "ci"})
        assert (verdict.session_id, verdict.empty) == (session.id, True)


# --- names ----------------------------------------------------------------------------------------


async def test_a_name_is_unique_among_live_sessions() -> None:
    """It is taken from the spawn on, free when that fails, and free at the session's end."""
    async with ptykill.open_supervisor() as supervisor:
        outcomes: Counter[str] = Counter()

        async def spawn() -> None:
            try:
                await supervisor.spawn(SLEEPER, name="one")
            except NameTaken as error:
                outcomes[f"{error.name} {error.code} {error.status}"] += 1
            else:
                outcomes["spawned"] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(spawn)
        assert outcomes == {"spawned": 1, "one NAME_TAKEN 409": 4}
        with pytest.raises(SpawnError):
            await supervisor.spawn(["/no/such/command"], name="two")
        await supervisor.spawn(SLEEPER, name="two")
        (first,) = supervisor.find(name="one")
        await first.kill()
        second = await supervisor.spawn(SLEEPER, name="one")
        assert supervisor.find(name="one") == (first, second)
        assert first.name == second.name == "one"


# --- idempotency keys -----------------------------------------------------------------------------


async def test_a_key_starts_one_program() -> None:
    """Spawns with one key get one session: at the same time, later, and after its end."""
    async with ptykill.open_supervisor() as supervisor:
        got: list[ptykill.Session] = []

        async def spawn() -> None:
            got.append(await supervisor.spawn(SLEEPER, key="k", name="n", labels={"a": "b"}))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(spawn)
        await spawn()
        await got[0].kill()
        await spawn()
        assert len(got) == 7
        assert set(got) == set(supervisor.sessions) == {got[0]}
        assert got[0].key == "k"
        other = await supervisor.spawn(SLEEPER, key="l")
        assert other is not got[0]


@pytest.mark.parametrize(
    "change",
    [
        {"command": ["sleep", "301"]},
        {"rows": 25},
        {"env": {}},
        {"cwd": "/"},
        {"name": "n"},
        {"labels": {"a": "b"}},
        {"plan": "KILL"},
        {"leftovers": "kill"},
        {"attributes": ptykill.Attributes(nice=1)},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_key_does_not_start_something_else(change: dict[str, Any]) -> None:
    """A spawn of something else with a used key is refused, and starts nothing."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        arguments: dict[str, Any] = {"command": SLEEPER, "key": "k"}
        await supervisor.spawn(**arguments)
        with pytest.raises(KeyReused) as caught:
            await supervisor.spawn(**{**arguments, **change})
        assert (caught.value.key, caught.value.code, caught.value.status) == (
            "k",
            "KEY_REUSED",
            422,
        )
        assert len(supervisor.sessions) == 1


async def test_the_order_of_variables_and_labels_makes_no_difference() -> None:
    """Mappings with the same content are the same."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        there = {"A": "1", "B": "2"}
        back = dict(reversed(there.items()))
        first = await supervisor.spawn(["sh"], env=there, labels=there, key="k")
        assert await supervisor.spawn(["sh"], env=back, labels=back, key="k") is first


async def test_a_spawn_that_fails_frees_its_key() -> None:
    """Nothing was started, so the next one tries anew; one that waits tries as well."""
    tier = FakeTier(failure=OSError("no terminal"))
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        with pytest.raises(OSError, match="no terminal"):
            await supervisor.spawn(["sh"], key="k")
        tier.failure = None
        session = await supervisor.spawn(["sh"], key="k")
        assert await supervisor.spawn(["sh"], key="k") is session


async def test_a_spawn_that_is_cancelled_does_not_cancel_another() -> None:
    """A spawn that waits for a cancelled one with its key spawns by itself."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        got: list[ptykill.Session] = []

        async def spawn() -> None:
            got.append(await supervisor.spawn(["sh"], key="k"))

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as first:
                    first.start_soon(spawn)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            nursery.start_soon(spawn)
        assert len(set(got)) == 1


async def test_a_key_is_dropped_with_its_record() -> None:
    """Then it starts another program, and no memory is left of it."""
    async with ptykill.open_supervisor(containment=FakeTier(), keep_records=1) as supervisor:
        first = await supervisor.spawn(["sh"], key="k")
        await first.kill()
        assert await supervisor.spawn(["sh"], key="k") is first
        await (await supervisor.spawn(["sh"])).kill()
        second = await supervisor.spawn(["sh"], key="k")
        assert second is not first
        await second.kill()
        await (await supervisor.spawn(["sh"])).kill()
        assert supervisor._keys._entries == {}


async def spawn_for(supervisor: Supervisor, key: str | None) -> ptykill.Session:
    """Spawn a session whose caller is about to leave."""
    return await supervisor.spawn(["sh"], key=key)


async def test_a_session_with_a_key_waits_for_the_next_try(autojump_clock: MockClock) -> None:
    """Its creator left before it had the session: it lives on for a time, and for a second try."""
    del autojump_clock
    tier = FakeTier(Member())
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        began = trio.current_time()
        alone = await supervisor.spawn(["sh"], key="alone")
        again = await supervisor.spawn(["sh"], key="again")
        bare = await supervisor.spawn(["sh"])
        for session in alone, again, bare:
            end_undelivered(session)
        assert (alone.state, again.state) == (State.RUNNING, State.RUNNING)
        assert bare.state is not State.RUNNING
        await trio.sleep(RETRY_SECONDS / 2)
        assert await supervisor.spawn(["sh"], key="again") is again
        await alone.wait()
        assert trio.current_time() - began == pytest.approx(RETRY_SECONDS)
        await trio.sleep(2 * RETRY_SECONDS)
        assert again.state is State.RUNNING


async def test_a_session_that_two_have_is_not_ended_for_one(autojump_clock: MockClock) -> None:
    """It is ended when both have left."""
    del autojump_clock
    async with ptykill.open_supervisor(containment=FakeTier(Member())) as supervisor:
        session = await supervisor.spawn(["sh"], key="k")
        assert await supervisor.spawn(["sh"], key="k") is session
        end_undelivered(session)
        await trio.sleep(2 * RETRY_SECONDS)
        assert session.state is State.RUNNING
        end_undelivered(session)
        with trio.fail_after(2 * RETRY_SECONDS):
            assert (await session.wait()).empty


# --- what the record shows ------------------------------------------------------------------------


async def test_attachments_and_activity_are_counted() -> None:
    """Input, output and attachments of a real program show in the session."""
    async with ptykill.open_supervisor() as supervisor:
        session = await supervisor.spawn(["cat"], echo=False)
        assert (session.attached, session.last_input_at, session.last_output_at) == (0, None, None)
        with session.attach() as first, session.attach():
            assert session.attached == 2
            await session.send(b"hello\n")
            with trio.fail_after(TIMEOUT):
                assert await first.receive() == b"hello\r\n"
        assert session.attached == 0
        typed, shown = session.last_input_at, session.last_output_at
        assert session.created_at <= (typed or -math.inf) <= (shown or -math.inf)


async def test_a_create_that_is_repeated_for_ever_takes_no_memory(
    autojump_clock: MockClock,
) -> None:
    """A program may make sure of its session every second: it lives, whoever else leaves."""
    del autojump_clock
    async with ptykill.open_supervisor(containment=FakeTier(Member())) as supervisor:
        sizes = []
        for _ in range(500):
            session = await supervisor.spawn(["sh"], key="k")
            sizes.append(len(session._claims))
        assert max(sizes) < 100
        for _ in range(200):
            end_undelivered(session)
        await trio.sleep(2 * RETRY_SECONDS)
        assert session.state is State.RUNNING
