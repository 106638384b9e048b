"""The public surface: wrong values are refused at once, and every name in it can be imported."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ptykill
import ptykill.http
import ptykill.page
import ptykill.testing
from ptykill import InvalidArgument, Plan, Signal, Step, Supervisor
from ptykill.rules import options as rules_options
from ptykill.testing import FakeTier

NO_NUMBER = ("3", None, True, 1.5)
LIMITS: dict[str, tuple[object, ...]] = {
    "memory_max": ("1G", True, -1, 0, 1000, 1.5, 2**63),
    "pids_max": ("9", True, -1, 0, 1.5, 2**22 + 1),
    "cpu_max": ("1", True, -1, 0, 0.001, float("nan"), float("inf"), 100_000),
}
SUPERVISOR: dict[str, tuple[object, ...]] = {
    "plan": (3, None, "HUP", b"KILL", Signal("HUP")),
    "containment": (3, None, "keper", object(), FakeTier),
    "max_sessions": (*NO_NUMBER, 0, -1),
    "leftovers": (3, None, "spear", []),
    "signaller": (3, object(), "x", ptykill.KernelSignaller),
    "backlog": (*NO_NUMBER, -5),
    "keep_seconds": ("x", None, True, -1, float("nan")),
    "keep_records": (*NO_NUMBER, -1),
    "window_size": (3, None, "largest", []),
    "deadlines": (3, {"idle": 60}, "60"),
    **LIMITS,
}
APP: dict[str, tuple[object, ...]] = {
    "key": (3, b"k", "", "a b"),
    "prefix": (3, None, "x", "/x/"),
    "spawning": ("false", 1, None),
    "token_suffices": ("false", 1, None),
    "grace_cap": ("x", None, -1, float("nan")),
    "hosts": (3, "localhost", [3]),
    "origins": (3, "https://a", [3], None),
}
SPAWN: dict[str, tuple[object, ...]] = {
    "command": (3, None, "bash", b"bash", [], [""], [3], ["a\0b"], ["\ud800"], {"a"}),
    "env": (3, "A=1", {3: "x"}, {"A": 3}, {"": "x"}, {"A=B": "x"}, {"A": "\0"}),
    "cwd": (3, b"/", "a\0b", object()),
    "rows": (*NO_NUMBER, 0, -1, 65_536),
    "cols": (*NO_NUMBER, 0, -1, 65_536),
    "echo": ("no", 1, None),
    "stdin": ("x", True, -1, 999_999, 2**70, 1.5),
    "terminal": (3, "xy", (), (0,), (True, True), (-1, -1), (999_999, 999_999), (2**70, 2**70)),
    "attributes": (3, "x", {}, 0),
    "plan": (3, "HUP", b"KILL"),
    "deadlines": (3, {"idle": 60}, "60"),
    "leftovers": (3, "spear"),
    "signaller": (3, object(), "x"),
    "name": (3, b"x", "", "-x", "a b", "a/b", "x" * 64, "a" * 32, "0123456789ABCDEF" * 2, "é"),
    "labels": (
        3,
        "team=ci",
        [("team", "ci")],
        {3: "x"},
        {"team": 3},
        {"": "x"},
        {"a=b": "x"},
        {"a": "x" * 64},
        {"a": "x\n"},
        {"a": "\ud800"},
        {str(number): "" for number in range(17)},
    ),
    "key": (3, b"k", "", " k", "k ", "k\n", "é", "k" * 256),
}
SELECTOR: dict[str, tuple[object, ...]] = {
    "name": SPAWN["name"],
    "labels": (3, "team", {"a=b": None}, {"team": 3}, {"team": "x" * 64}),
}
ATTRIBUTES: dict[str, tuple[object, ...]] = {
    "uid": ("0", True, -1, 2**32),
    "gid": ("0", True, -1, 2**32),
    "groups": (3, "1", ["1"], [None], [True], [-1]),
    "umask": ("0", True, -1, 0o1000),
    "limits": (3, {"NOPE": (1, 1)}, {3: (1, 1)}, {"NOFILE": 3}, {"NOFILE": (1,)}, {"NOFILE": "12"}),
    "nice": ("0", True, -21, 20),
    "death_signal": (9, "NOPE", ""),
    **LIMITS,
}
SECONDS = ("60", True, b"", -1, 0, 0.09, 1e9, float("nan"), float("inf"), 10**400)
DEADLINES: dict[str, tuple[object, ...]] = dict.fromkeys(("lifetime", "idle", "detached"), SECONDS)
STEP: dict[str, tuple[object, ...]] = {
    "what": (3, None, "HUP", Signal),
    "wait": ("1", None, True, -1, float("nan"), float("inf")),
    "reach": (3, None, "all"),
    "also": (3, None, ("HUP",), ((Signal("HUP"), "all"),)),
}
PLAN: dict[str, tuple[object, ...]] = {
    "steps": (3, None, "KILL", (Signal("HUP"),)),
    "kill_bound": ("1", None, True, -1, float("nan"), float("inf")),
}
HOST = ptykill.Host()
"""A host that is never started."""


def mounted(make: Callable[..., object], *args: object) -> Callable[..., object]:
    """Return what mounts an app, with the key that every mount has to name."""
    return lambda *more, **options: make(*args, *more, **{"key": None, **options})


MAKERS: list[tuple[str, Callable[..., object], dict[str, tuple[object, ...]]]] = [
    ("Host", ptykill.Host, SUPERVISOR),
    ("open_supervisor", ptykill.open_supervisor, SUPERVISOR),
    ("asgi_app", mounted(ptykill.asgi_app, HOST), APP),
    ("asgi_app", mounted(ptykill.asgi_app), {"target": (3, None, ptykill.Host)}),
    ("wsgi_app", mounted(ptykill.wsgi_app, HOST), APP),
    ("wsgi_app", mounted(ptykill.wsgi_app), {"target": (3, None, ptykill.Host)}),
    ("asgi_middleware", mounted(ptykill.asgi_middleware, print, HOST), APP),
    ("asgi_middleware", lambda app: mounted(ptykill.asgi_middleware, app, HOST)(), {"app": (3,)}),
    ("asgi_middleware", lambda t: mounted(ptykill.asgi_middleware, print, t)(), {"t": (3, None)}),
    ("Attributes", lambda **kw: ptykill.Attributes(**{"uid": 1, "gid": 1, **kw}), ATTRIBUTES),
    ("Deadlines", ptykill.Deadlines, DEADLINES),
    ("Signal", Signal, {"name": (9, None, "NOPE", "", b"HUP")}),
    ("Typed", ptykill.Typed, {"data": (3, None, "x", b"")}),
    ("Step", lambda **kw: Step(**{"what": Signal("HUP"), "wait": 1, **kw}), STEP),
    ("Plan", lambda **kw: Plan(**{"steps": (), **kw}), PLAN),
    ("Plan.of", Plan.of, {"value": (3, None, b"KILL", "HUP")}),
    ("Plan.parse", Plan.parse, {"text": (3, None, b"KILL", "HUP")}),
    ("with_grace", ptykill.KILL_NOW.with_grace, {"grace": ("1", None, True, -1)}),
    ("Host.call", HOST.call, {"function": (3, None, "x")}),
    ("Host.call_soon", HOST.call_soon, {"function": (3, None, "x")}),
]
CASES = [
    pytest.param(make, option, value, id=f"{name}-{option}-{number}")
    for name, make, table in MAKERS
    for option, values in table.items()
    for number, value in enumerate(values)
]


@pytest.mark.parametrize(("make", "option", "value"), CASES)
def test_a_wrong_value_is_refused_where_it_is_given(
    make: Callable[..., object], option: str, value: object
) -> None:
    """The error is ptykill's, and comes at once, not at the first use of the object."""
    names = {"value", "text", "grace", "function", "target"}
    with pytest.raises(InvalidArgument):
        make(value) if option in names else make(**{option: value})


@pytest.mark.parametrize(
    ("function", "table"),
    [
        (ptykill.open_supervisor, SUPERVISOR),
        (Supervisor.spawn, SPAWN),
        (ptykill.Attributes, ATTRIBUTES),
        (ptykill.Deadlines, DEADLINES),
        (Step, STEP),
        (Plan, PLAN),
    ],
)
def test_every_option_has_wrong_values(function: Callable[..., object], table: object) -> None:
    """An option that is added has its row in the tables above."""
    assert isinstance(table, dict)
    assert set(table) == set(inspect.signature(function).parameters) - {"self"}


def test_every_option_of_an_app_has_wrong_values() -> None:
    """The same for what the HTTP apps take."""
    assert set(APP) == {"key", *ptykill.http.mount.ApiOptions.__annotations__}


def test_the_options_of_a_host_and_of_a_supervisor_have_the_same_defaults() -> None:
    """A host passes them on."""
    parameters = inspect.signature(ptykill.open_supervisor).parameters
    default = rules_options.Options()
    assert {each: getattr(default, each) for each in parameters} == {
        name: parameter.default for name, parameter in parameters.items()
    }


def test_spawn_options_are_those_of_a_spawn() -> None:
    """Each has the type that the parameter of that name has."""
    parameters = typing.get_type_hints(Supervisor.spawn)
    del parameters["command"], parameters["return"]
    assert typing.get_type_hints(ptykill.SpawnOptions) == parameters


def test_a_host_passes_spawn_options_on() -> None:
    """They arrive, and a misspelt name is a TypeError."""
    with ptykill.Host(containment=FakeTier()) as host:
        session = host.spawn(["sh"], rows=30, cols=90)
        assert (session.rows, session.cols) == (30, 90)
        with pytest.raises(TypeError, match="colls"):
            host.spawn(["sh"], colls=90)  # type: ignore[call-arg]


def test_an_option_that_is_none_is_refused_at_once() -> None:
    """A misspelt name does not wait for the first call either."""
    with pytest.raises(TypeError, match="plam"):
        ptykill.Host(plam="KILL")  # type: ignore[call-arg]


async def done(method: Callable[..., object], arguments: dict[str, object]) -> None:
    """Call a plain or async method."""
    outcome = method(**arguments)
    if inspect.isawaitable(outcome):
        await outcome


METHODS: dict[str, tuple[tuple[dict[str, Any]], ...]] = {
    "send": tuple(({"data": each},) for each in (["x"], 3, None)),
    "receive": tuple(({"most": each},) for each in (*NO_NUMBER, 0)),
    "attach": (
        *(({"limit": each},) for each in (*NO_NUMBER, 0)),
        *(({"stall_timeout": each},) for each in ("1", None, True, -1, float("nan"))),
        *(({"may_stall": each},) for each in ("no", None, 1)),
    ),
    "resize": tuple(
        ({"rows": 24, "cols": 80, name: each},)
        for name in ("rows", "cols")
        for each in (*NO_NUMBER, -1, 65_536)
    ),
    "terminate": tuple(({name: each},) for name in ("grace", "plan") for each in (b"x", -1, True)),
    "request_end": tuple(({name: each},) for name in ("grace", "plan") for each in (b"x", -1)),
}


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        pytest.param(name, row[0], id=f"{name}-{number}")
        for name, rows in METHODS.items()
        for number, row in enumerate(rows)
    ],
)
async def test_a_wrong_argument_of_a_session_does_nothing(
    method: str, arguments: dict[str, object]
) -> None:
    """It is our error, and the session goes on as it was."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        session = await supervisor.spawn(["sh"])
        with pytest.raises(InvalidArgument):
            await done(getattr(session, method), arguments)
        assert session.state is ptykill.State.RUNNING


@pytest.mark.parametrize(
    ("option", "value"),
    [
        pytest.param(option, value, id=f"{option}-{number}")
        for option, values in SPAWN.items()
        for number, value in enumerate(values)
    ],
)
async def test_a_wrong_argument_of_a_spawn_spawns_nothing(option: str, value: object) -> None:
    """It is our error, and no session is there."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        arguments: dict[str, Any] = {"command": ["sh"], option: value}
        with pytest.raises(InvalidArgument):
            await supervisor.spawn(**arguments)
        assert supervisor.sessions == ()


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option, values in SELECTOR.items() for value in values],
)
async def test_a_wrong_selector_selects_nothing(option: str, value: object) -> None:
    """It is our error, and nothing is ended."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        session = await supervisor.spawn(["sh"], name="here", labels={"team": "ci"})
        arguments: dict[str, Any] = {option: value}
        with pytest.raises(InvalidArgument):
            supervisor.find(**arguments)
        with pytest.raises(InvalidArgument):
            await supervisor.terminate_matching(**arguments)
        assert session.state is ptykill.State.RUNNING


async def test_a_wrong_plan_closes_nothing_and_a_text_is_a_plan() -> None:
    """`Supervisor.close` takes what every plan parameter takes, and checks it first."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        session = await supervisor.spawn(["sh"])
        for wrong in 3, "HUP":
            with pytest.raises(InvalidArgument):
                await supervisor.close(plan=wrong)  # type: ignore[arg-type]
        assert not supervisor.closed
        await supervisor.close(plan="KILL")
        assert session.verdict is not None
        assert session.verdict.outcome is ptykill.Outcome.KILLED


def test_plain_functions_go_through_a_host() -> None:
    """`Host.call` and `acall` take plain methods, which return what they do."""
    with ptykill.Host(containment=FakeTier()) as host:
        session = host.spawn(["sh"])
        assert host.call(session.resize, 30, 90) is None
        assert (session.rows, session.cols) == (30, 90)
        attachment = host.call(session.attach)
        assert host.call(host.supervisor.get, session.id) is session
        host.call(attachment.close)
        host.call(session.request_end)
        assert host.call(session.wait).empty


async def test_what_is_shown_of_an_object_says_what_it_is() -> None:
    """Each has a short text with what one would look for."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        session = await supervisor.spawn(["bash", "-i"])
        attachment = session.attach()
        assert repr(session) == f"<Session {session.id}, running, pid 1000, 'bash'>"
        assert repr(supervisor) == "<Supervisor, fake containment, 1 live>"
        assert repr(attachment) == "<Attachment, attached, 0 bytes pending>"
        verdict = await session.kill()
        assert re.fullmatch(r"<Verdict killed, empty, took \d\.\d{3} s>", repr(verdict))
    assert repr(supervisor) == "<Supervisor, fake containment, 0 live, closed>"
    assert repr(ptykill.Host()) == "<Host, not running>"
    text = "HUP@session + TERM@escaped 2s, KILL 3s"
    assert repr(ptykill.HANGUP_THEN_KILL) == f"Plan.parse({text!r})"
    assert repr(Step(Signal("HUP"), 2)) == "<Step HUP@session 2s>"
    with pytest.raises(TypeError, match=r"verdict\.empty"):
        bool(verdict)


def test_a_signal_takes_the_names_that_a_plan_takes() -> None:
    """With or without SIG, in capitals or not."""
    assert {Signal("HUP"), Signal("SIGHUP"), Signal("sighup"), Signal("hup")} == {Signal("HUP")}


MEMBERS = {
    "Attachment": ("close dropped missing offset pending receive resize start typed wait_detached"),
    "Host": (
        "acall aclose call call_soon close events find get sessions spawn supervisor terminate"
        " terminate_matching"
    ),
    "Session": (
        "attach attached bytes_dropped cols command created_at deadlines end_reason"
        " end_requested ended_at exit_status exited expect id interrupt keep_at_end key kill labels"
        " last_input_at last_output_at members name output_offset pid receive request_end resize"
        " rows send set_deadlines settled signal state terminate until_quiet usage verdict"
        " wait wait_exited"
    ),
    "Supervisor": (
        "close closed containment deadlines events find get hurry last_event_id longest plan"
        " run sessions spawn terminate terminate_matching"
    ),
}


async def test_what_ptykill_does_with_an_object_by_itself_is_private() -> None:
    """Its other members are listed here, so that no member becomes public by accident."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        session = await supervisor.spawn(["sh"])
        for thing in HOST, supervisor, session, session.attach():
            members = {name for name in dir(thing) if not name.startswith("_")}
            assert members == set(MEMBERS[type(thing).__name__].split())


def test_every_public_member_is_in_the_reference() -> None:
    """The reference leaves none out, so none is public for ptykill's own use."""
    reference = Path(__file__).parent.parent / "docs/reference.md"
    assert ":exclude-members:" not in reference.read_text()


PUBLIC = [
    *((ptykill, name) for name in ptykill.__all__),
    *((ptykill.http, name) for name in ptykill.http.__all__),
    *((ptykill.page, name) for name in ptykill.page.__all__),
]
MADE_ELSEWHERE = {"Session", "Supervisor", "Attachment"}
"""Classes that only ptykill makes, as their docstrings say."""


def functions(thing: object) -> Iterator[Callable[..., object]]:
    """Yield the public functions of a class, or a function itself."""
    if not inspect.isclass(thing):
        if inspect.isfunction(thing):
            yield thing
        return
    for name, member in vars(thing).items():
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        made = name == "__init__" and thing.__name__ not in MADE_ELSEWHERE
        if inspect.isfunction(function) and (made or not name.startswith("_")):
            yield function


def named(hint: object) -> Iterator[type]:
    """Yield the classes that an annotation names."""
    if inspect.isclass(hint) and not typing.get_args(hint):
        yield hint
    for each in typing.get_args(hint):
        if not isinstance(each, list):
            yield from named(each)


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=str)
def test_signatures_name_what_can_be_imported(module: object, name: str) -> None:
    """Whoever annotates with what a signature names finds it in `ptykill` or `ptykill.http`."""
    known = [id(getattr(place, each)) for place, each in PUBLIC]
    for function in functions(getattr(module, name)):
        for hint in typing.get_type_hints(function).values():
            for each in named(hint):
                if each.__module__.startswith("ptykill"):
                    assert id(each) in known, (function.__qualname__, each)
