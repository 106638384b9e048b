"""The rule for the size of a window that several clients see, against one that remembers all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptykill.rules.terminal_reports import is_typed
from ptykill.rules.window_size import Pace, Size, WindowPolicy, WindowSize

START = Size(24, 80)
CLIENTS = st.integers(0, 3)
SIZES = st.builds(Size, st.integers(0, 5), st.integers(0, 5))
"""Few sizes, so that clients often tell the same one, and often an unknown one."""
ACTS = st.one_of(
    st.tuples(st.just("tell"), CLIENTS, SIZES),
    st.tuples(st.just("typed"), CLIENTS),
    st.tuples(st.just("leave"), CLIENTS),
    st.tuples(st.just("request"), SIZES),
)


class Remembering:
    """Decides about the size as the rule's text says, from the clients' present sizes and acts."""

    def __init__(self, policy: WindowPolicy) -> None:
        self.policy = policy
        self.size = START
        self.sizes: dict[int, Size] = {}
        self.acted: dict[int, int] = {}
        self.held = False
        self.now = 0

    def act(self, what: str, *args: int | Size) -> None:
        """Apply one act."""
        self.now += 1
        match what, args:
            case "request", (Size() as size,):
                self.size, self.held = self._known(size), True
                return
            case "tell", (int(client), Size(rows, cols)):
                old = self.sizes.get(client, Size(0, 0))
                if (new := Size(rows or old.rows, cols or old.cols)) == old:
                    return
                self.sizes[client], self.acted[client], self.held = new, self.now, False
            case "typed", (int(client),):
                if client not in self.sizes or self.policy is WindowPolicy.SMALLEST:
                    return
                self.acted[client], self.held = self.now, False
            case "leave", (int(client),):
                self.sizes.pop(client, None)
        if not self.held:
            self.size = self._known(Size(self._choose(0), self._choose(1)))

    def _known(self, size: Size) -> Size:
        return Size(size.rows or self.size.rows, size.cols or self.size.cols)

    def _choose(self, dimension: int) -> int:
        known = {each: size[dimension] for each, size in self.sizes.items() if size[dimension]}
        if not known:
            return 0
        if self.policy is WindowPolicy.SMALLEST:
            return min(known.values())
        return known[max(known, key=lambda each: self.acted[each])]


@given(st.sampled_from(WindowPolicy), st.lists(ACTS))
def test_any_order_of_acts_gives_the_size_by_the_rule(
    policy: WindowPolicy, acts: list[tuple[str, *tuple[int | Size, ...]]]
) -> None:
    """Joins, sizes, typing, requests and leaves; and no dimension is ever zero."""
    rule, remembering = WindowSize(policy, START), Remembering(policy)
    for what, *args in acts:
        getattr(rule, what)(*args)
        remembering.act(what, *args)
        assert rule.size == remembering.size
        assert min(rule.size) > 0


@given(st.sampled_from(WindowPolicy), st.lists(ACTS))
def test_when_all_have_left_the_size_stays(
    policy: WindowPolicy, acts: list[tuple[str, *tuple[int | Size, ...]]]
) -> None:
    """And clients that come again find a rule that remembers none of those before."""
    rule = WindowSize(policy, START)
    for what, *args in acts:
        getattr(rule, what)(*args)
    for client in range(3):
        rule.leave(client)
    before = rule.size
    rule.leave(3)
    assert rule.size == before
    rule.tell(3, Size(7, 0))
    assert rule.size == Size(7, before.cols)


def test_latest() -> None:
    """Typing takes the size, a leave gives it back, and the same size again takes nothing."""
    rule = WindowSize(WindowPolicy.LATEST, START)
    rule.tell("wide", Size(50, 200))
    rule.tell("phone", Size(20, 40))
    assert rule.size == (20, 40)
    rule.tell("wide", Size(50, 200))
    assert rule.size == (20, 40)
    rule.typed("wide")
    assert rule.size == (50, 200)
    rule.typed("phone")
    rule.leave("phone")
    assert rule.size == (50, 200)
    rule.leave("wide")
    assert rule.size == (50, 200)


def test_smallest() -> None:
    """Each dimension is the least of all; a client that leaves gives back what it took."""
    rule = WindowSize(WindowPolicy.SMALLEST, START)
    rule.tell("wide", Size(20, 200))
    rule.tell("high", Size(50, 40))
    assert rule.size == (20, 40)
    rule.typed("wide")
    assert rule.size == (20, 40)
    rule.leave("high")
    assert rule.size == (20, 200)


@pytest.mark.parametrize("policy", WindowPolicy)
def test_a_request_holds_until_a_client_acts(policy: WindowPolicy) -> None:
    """A leave does not undo it, and neither does a client that repeats its size."""
    rule = WindowSize(policy, START)
    rule.tell("a", Size(30, 90))
    rule.tell("b", Size(31, 91))
    rule.request(Size(40, 0))
    size = rule.size
    assert size.rows == 40
    rule.leave("b")
    rule.tell("a", Size(30, 90))
    assert rule.size == size
    rule.tell("a", Size(0, 95))
    assert rule.size == (30, 95)


@given(st.integers(1, 5), st.lists(st.floats(0, 0.1), max_size=50))
def test_a_pace_is_kept(burst: int, pauses: list[float]) -> None:
    """No more than the burst and one per interval; and a wait that is waited for is enough."""
    fresh = Pace(burst, 0.05)
    assert [fresh.wait(100.0) for _ in range(burst)] == [0.0] * burst
    assert fresh.wait(100.0) == pytest.approx(0.05)
    pace, now, times = Pace(burst, 0.05), 100.0, []
    for pause in pauses:
        now += pause
        wait = pace.wait(now)
        if wait == 0:
            times.append(now)
        else:
            assert pace.wait(now + wait + 1e-6) == 0
            now += wait + 1e-6
            times.append(now)
    for first, time in enumerate(times):
        within = [each for each in times if time <= each <= time + 0.5 - 1e-3]
        assert len(within) <= burst + 10, first


REPORTS = [
    b"\x1b[I",
    b"\x1b[O",
    b"\x1b[12;40R",
    b"\x1b[?1;2c",
    b"\x1b[>0;276;0c",
    b"\x1b[=1c",
    b"\x1b[0n",
    b"\x1b[?997;1n",
    b"\x1b[?2026;2$y",
    b"\x1b[4;1$y",
    b"\x1b[8;24;80t",
    b"\x1b[?0u",
    b"\x1b[<35;20;10M",
    b"\x1b[<0;20;10m",
    b"\x1b[M !!",
    b"\x1b]11;rgb:0000/0000/0000\x07",
    b"\x1b]10;rgb:ffff/ffff/ffff\x1b\\",
    b"\x1bP1$r0 q\x1b\\",
    b"\x1bP>|xterm(390)\x1b\\",
    b"\x1b_Gi=31;OK\x1b\\",
]
TYPED = [
    b"a",
    b"\r",
    b"\x03",
    b"\x1b",
    b"\x1b[A",
    b"\x1bOP",
    b"\x1b[1;5A",
    b"\x1b[15~",
    b"\x1b[200~pasted\x1b[201~",
    b"\x1b[97;5u",
    b"\x1b[27;5;93~",
    b"\x1bx",
    b"\x1b]",
    "é".encode(),
]


@given(st.lists(st.sampled_from(REPORTS), min_size=1), st.sampled_from(TYPED))
def test_reports_are_not_typed(reports: list[bytes], key: bytes) -> None:
    """Any number of them in one message; one key among them is typed."""
    assert not is_typed(b"".join(reports))
    assert is_typed(b"".join(reports) + key)
    assert is_typed(key)


@given(st.binary(max_size=40))
def test_any_input_is_told_apart(data: bytes) -> None:
    """Whatever it is; nothing at all is not typed."""
    assert is_typed(data) or data == b"" or data.startswith(b"\x1b")
