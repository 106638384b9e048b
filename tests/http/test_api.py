"""The HTTP API without I/O: requests become operations, and results become responses."""

from __future__ import annotations

import dataclasses
import json
import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptykill
from ptykill import Caveat, Deadlines, Outcome, Survivor, Verdict
from ptykill.http.api import Api
from ptykill.http.auth import LOOPBACK_HOSTS, PROGRAM_HOSTS, HostRules
from ptykill.http.deadline_schema import DeadlinesBody
from ptykill.http.messages import Headers, Request, Response
from ptykill.http.operations import Attach, Create, Get, Kill, List, Resize, SetDeadlines
from ptykill.http.schema import Created
from ptykill.http.session_record import SessionRecord, Sessions

KEY = "k" * 32
BEARER: Headers = ((b"authorization", b"Bearer " + KEY.encode()),)
PREFIX = "/api/v1/pty"
CAP = 60.0
LIMIT = 1000

api = Api(key=KEY, spawning=True, grace_cap=CAP, body_limit=LIMIT)

VERDICT = Verdict(
    session_id="s",
    pid=10,
    outcome=Outcome.KILLED,
    empty=True,
    exit_status=None,
    deliveries=(),
    survivors=(),
    containment="fake",
    caveats=frozenset(),
    took=0.75,
    grace=0.5,
    kill=0.25,
)


SIZE = b'{"rows": 40, "cols": 120}'


def request(
    method: str,
    path: str = PREFIX,
    query: str = "",
    *,
    headers: Headers = BEARER,
    body: bytes = b"",
) -> Request:
    """Return a request with the key."""
    return Request(method, path, query, headers, body)


def refused(answer: object) -> tuple[int, str]:
    """Return the status and the code of an error; check its form."""
    assert isinstance(answer, Response)
    headers = dict(answer.headers)
    body = json.loads(answer.body)
    assert headers[b"content-type"] == b"application/json"
    assert int(headers[b"content-length"]) == len(answer.body)
    assert set(body) == {"error", "code"}
    assert body["error"]
    return answer.status, body["code"]


def create(**fields: object) -> object:
    """Return the operation of a create."""
    return api.read(request("POST", body=json.dumps(fields).encode()))


# --- reading requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "operation"),
    [
        (request("GET"), List()),
        (request("GET", query="after=17&limit=20&x=y"), List(17, 20)),
        (request("GET", f"{PREFIX}/abc"), Get("abc")),
        (request("DELETE", f"{PREFIX}/abc"), Kill("abc", None)),
        (request("DELETE", f"{PREFIX}/abc", "grace=1.5"), Kill("abc", 1.5)),
        (request("DELETE", f"{PREFIX}/abc", "x=1&grace=0&x=2"), Kill("abc", 0.0)),
        (request("POST", body=b'{"command": "bash"}'), Create(("bash",))),
        (request("POST", f"{PREFIX}/abc/resize", body=SIZE), Resize("abc", 40, 120)),
        (
            request("POST", f"{PREFIX}/abc/deadlines", body=b'{"idle": 60, "lifetime": null}'),
            SetDeadlines("abc", Deadlines(idle=60)),
        ),
        (
            request("POST", body=b'{"command": "sh", "deadlines": {"detached": 1.5}}'),
            Create(("sh",), deadlines=Deadlines(detached=1.5)),
        ),
    ],
)
def test_requests_become_operations(asked: Request, operation: object) -> None:
    """Each endpoint becomes its operation; unknown parameters are ignored."""
    assert api.read(asked) == operation


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=", "limit=1&limit=2", "limit=x", "after=-1", "after=1.0",
     "after=" + "9" * 5000, "after=%D9%A1"],
)  # fmt: skip
def test_invalid_pages_are_refused(query: str) -> None:
    """An invalid ``limit`` or ``after`` is refused."""
    answer = api.read(request("GET", query=query))
    assert isinstance(answer, Response)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/api/v1/pt",
        "/api/v1/ptyx",
        "/api/v1/pty/",
        "/api/v1/pty/abc/",
        "/api/v1/pty//",
        "/api/v1/pty//abc",
        "/api/v1/pty/abc/resized",
        "/api/v1/pty/abc/resize/",
        "/api/v1/pty//resize",
        "/api/v1/pty/abc/ws/ws",
        "//api/v1/pty",
        "/api/v1/pty/../pty",
        "api/v1/pty",
        "/x/api/v1/pty",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_unknown_paths_are_not_found(path: str, method: str) -> None:
    """An unknown path is 404 with or without the key, also one with a trailing slash."""
    assert refused(api.read(request(method, path))) == (404, "NOT_FOUND")
    assert refused(api.read(Request(method, path))) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "spawning", "method", "allow"),
    [
        (PREFIX, True, "PUT", b"GET, POST, DELETE"),
        (PREFIX, False, "POST", b"GET, DELETE"),
        (f"{PREFIX}/abc", True, "POST", b"GET, DELETE"),
        (f"{PREFIX}/abc", True, "delete", b"GET, DELETE"),
        (f"{PREFIX}/abc", True, "OPTIONS", b"GET, DELETE"),
        (f"{PREFIX}/abc/resize", True, "GET", b"POST"),
        (f"{PREFIX}/abc/ws", True, "DELETE", b"GET"),
    ],
)
def test_wrong_methods_are_answered_with_the_allowed_ones(
    path: str, method: str, allow: bytes, *, spawning: bool
) -> None:
    """A method that a path does not have is 405; ``Allow`` lists those that it has."""
    answer = Api(key=KEY, spawning=spawning).read(request(method, path))
    assert refused(answer) == (405, "METHOD_NOT_ALLOWED")
    assert isinstance(answer, Response)
    assert dict(answer.headers)[b"allow"] == allow


def test_a_plain_request_of_a_websocket_path_is_refused() -> None:
    """A GET without an upgrade is 426."""
    answer = api.read(request("GET", f"{PREFIX}/abc/ws"))
    assert refused(answer) == (426, "UPGRADE_REQUIRED")
    assert isinstance(answer, Response)
    assert dict(answer.headers)[b"upgrade"] == b"websocket"


@pytest.mark.parametrize(
    ("headers", "query", "token"),
    [
        (((b"x-pty-token", b"t"),), "", "t"),
        ((), "token=t", "t"),
        (((b"x-pty-token", b"t"),), "x=1&token=t", "t"),
        (((b"x-pty-token", b"t"),), "token=other", ""),
        (((b"x-pty-token", b"t"), (b"x-pty-token", b"u")), "", ""),
        ((), "", ""),
    ],
)
def test_tokens_are_read(headers: Headers, query: str, token: str) -> None:
    """The token is in a header or in the query; two different ones count as none."""
    asked = api.read_attach(request("GET", f"{PREFIX}/abc/ws", query, headers=BEARER + headers))
    assert asked == Attach("abc", token)
    assert "token=" not in repr(asked)


def test_attaching_needs_the_key_unless_the_token_suffices() -> None:
    """Browsers can't send the key with a WebSocket; with ``token_suffices`` the token is enough."""
    asked = Request("GET", f"{PREFIX}/abc/ws", headers=((b"x-pty-token", b"t"),))
    assert refused(api.read_attach(asked)) == (401, "UNAUTHORIZED")
    lenient = Api(key=KEY, token_suffices=True)
    assert lenient.read_attach(asked) == Attach("abc", "t")
    wrong = ((b"authorization", b"Bearer wrong"), *asked.headers)
    refusal = lenient.read_attach(dataclasses.replace(asked, headers=wrong))
    assert refused(refusal) == (401, "UNAUTHORIZED")
    assert refused(api.read_attach(Request("GET", f"{PREFIX}/abc"))) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        (b"application/json", True),
        (b"application/JSON; charset=utf-8", True),
        (b"application/problem+json", True),
        (b"text/plain", False),
        (b"application/x-www-form-urlencoded", False),
        (b"multipart/form-data; boundary=json", False),
        (b"", False),
        (b"application/json\xff", False),
    ],
)
def test_bodies_are_json(kind: bytes, *, taken: bool) -> None:
    """Another Content-Type is refused, such as that of a browser's form."""
    headers = (*BEARER, (b"content-type", kind))
    asked = api.read(request("POST", f"{PREFIX}/abc/resize", headers=headers, body=SIZE))
    if taken:
        assert asked == Resize("abc", 40, 120)
    else:
        assert refused(asked) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    ("host", "origin", "code"),
    [
        ("127.0.0.1:8022", None, None),
        ("LOCALHOST", None, None),
        ("[::1]:8022", None, None),
        ("sandbox.local", None, None),
        ("sandbox.local", "http://127.0.0.1:8022", None),
        ("127.0.0.2", None, None),
        ("127.evil.com", None, "HOST_NOT_ALLOWED"),
        ("127.0.0.1.evil.com", None, "HOST_NOT_ALLOWED"),
        ("127.0.0.1evil.com:8022", None, "HOST_NOT_ALLOWED"),
        ("128.0.0.1", None, "HOST_NOT_ALLOWED"),
        ("[::2]", None, "HOST_NOT_ALLOWED"),
        ("[0:0:0:0:0:0:0:1]:8022", None, None),
        ("evil.local:8022", None, "HOST_NOT_ALLOWED"),
        ("evil.local:80", None, "HOST_NOT_ALLOWED"),
        ("evil.local:", None, "HOST_NOT_ALLOWED"),
        ("evil.local", "http://evil.local", "ORIGIN_NOT_ALLOWED"),
        ("local", None, "HOST_NOT_ALLOWED"),
        ("localhost:8022", "http://localhost:3000", None),
        ("localhost:8022", "http://[::1]:3000", None),
        ("localhost:8022", "https://pages.example.org", None),
        ("evil.example", None, "HOST_NOT_ALLOWED"),
        ("localhost.evil.example", None, "HOST_NOT_ALLOWED"),
        ("", None, "HOST_NOT_ALLOWED"),
        ("evil.example", "http://evil.example", "HOST_NOT_ALLOWED"),
        ("localhost:8022", "http://evil.example", "ORIGIN_NOT_ALLOWED"),
        ("localhost:8022", "https://localhost.evil.example", "ORIGIN_NOT_ALLOWED"),
        ("localhost:8022", "https://pages.example.org.evil.example", "ORIGIN_NOT_ALLOWED"),
        ("localhost:8022", "null", "ORIGIN_NOT_ALLOWED"),
        ("localhost:8022", "", "ORIGIN_NOT_ALLOWED"),
        ("localhost:8022", "http://[", "ORIGIN_NOT_ALLOWED"),
    ],
)
def test_forbidden_hosts_and_origins_are_refused(
    host: str, origin: str | None, code: str | None
) -> None:
    """They are refused with and without the key; for WebSockets too."""
    guarded = loopback("https://pages.example.org")
    headers = (*BEARER, (b"host", host.encode()))
    if origin is not None:
        headers = (*headers, (b"origin", origin.encode()))
    answer = guarded.read(request("GET", headers=headers))
    attached = guarded.read_attach(request("GET", f"{PREFIX}/abc/ws", headers=headers))
    if code is None:
        assert (answer, attached) == (List(), Attach("abc", ""))
    else:
        assert refused(answer) == refused(attached) == (403, code)


def loopback(*origins: str) -> Api:
    """Return the API with the rules of a daemon on loopback."""
    return Api(key=KEY, hosts=LOOPBACK_HOSTS, program_hosts=PROGRAM_HOSTS, origins=origins)


@pytest.mark.parametrize(
    "sign",
    [
        (b"sec-fetch-site", b"same-origin"),
        (b"sec-ch-ua", b'"Chromium"'),
        (b"cookie", b"a=b"),
        (b"referer", b"http://evil.local/"),
        (b"accept-language", b"en"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
    ],
)
def test_browsers_may_not_use_program_hosts(sign: tuple[bytes, bytes]) -> None:
    """Names in ``.local`` are refused with a browser's headers, also without a port."""
    headers = (*BEARER, (b"host", b"evil.local"), (b"user-agent", b"a-program/1"))
    assert loopback().read(request("GET", headers=headers)) == List()
    answer = loopback().read(request("GET", headers=(*headers, sign)))
    assert refused(answer) == (403, "HOST_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("10.*", "10.1.2.3", True),
        ("10.*", "10.evil.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.?", "10.0.0.x", False),
        ("fd00::/8", "[fd00::1]", True),
        ("[fd00::1]", "[fd00:0::1]:80", True),
        ("*", "anything.example", True),
        ("*.example.org", "10.example.org", True),
    ],
)
def test_hosts_are_compared_as_addresses(pattern: str, host: str, *, fits: bool) -> None:
    """A pattern for an address does not match a name that looks like one."""
    guarded = Api(key=KEY, hosts=[pattern], origins=[f"http://{pattern}"])
    answer = guarded.read(request("GET", headers=(*BEARER, (b"host", host.encode()))))
    assert (answer == List()) is fits


def test_origins_are_compared_as_addresses() -> None:
    """The same holds for a pattern of an origin."""
    guarded = Api(key=KEY, origins=["http://10.*:3000"])
    for origin, taken in (b"http://10.0.0.1:3000", True), (b"http://10.evil.example:3000", False):
        headers = (*BEARER, (b"host", b"x"), (b"origin", origin))
        assert (guarded.read(request("GET", headers=headers)) == List()) is taken


def test_a_page_of_the_host_itself_is_allowed() -> None:
    """By default any ``Host`` is allowed, and an ``Origin`` on the same host."""
    headers = (*BEARER, (b"host", b"here.example:1"), (b"origin", b"https://here.example"))
    assert api.read(request("GET", headers=headers)) == List()
    with pytest.raises(ptykill.InvalidArgument):
        Api(key=KEY, hosts="localhost")


@pytest.mark.parametrize("prefix", ["", "/pty"])
def test_is_mounted_anywhere(prefix: str) -> None:
    """The prefix may be any path, or empty."""
    mounted = Api(key=None, prefix=prefix)
    assert mounted.read(Request("GET", prefix or "/")) == List()
    assert mounted.read(Request("DELETE", f"{prefix}/abc")) == Kill("abc")


@pytest.mark.parametrize("prefix", ["pty", "/", "/pty/"])
def test_refuses_prefixes_that_match_nothing(prefix: str) -> None:
    """A prefix without its first slash, or with a last one, is an error when it is given."""
    with pytest.raises(ptykill.InvalidArgument):
        Api(key=KEY, prefix=prefix)


# --- the key --------------------------------------------------------------------------------------

WRONG = [
    pytest.param(headers, id=str(number))
    for number, headers in enumerate(
        [
            (),
            ((b"authorization", b""),),
            ((b"authorization", b"Bearer"),),
            ((b"authorization", b"Bearer "),),
            ((b"authorization", KEY.encode()),),
            ((b"authorization", b"Basic " + KEY.encode()),),
            ((b"authorization", b"Bearer" + KEY.encode()),),
            ((b"authorization", b"Bearer " + KEY[:-1].encode()),),
            ((b"authorization", b"Bearer " + KEY.encode() + b"k"),),
            ((b"authorization", b"Bearer " + KEY.upper().encode()),),
            ((b"authorization", b"Bearer " + KEY.encode() + b" " + KEY.encode()),),
            ((b"authorization", b"Bearer \xff\xfe" + KEY.encode()),),
            ((b"authorization", b"Bearer " + "clé".encode()),),
            ((b"authorization", b"Bearer " + b"k" * 100_000),),
            (*BEARER, *BEARER),
            ((b"x-authorization", b"Bearer " + KEY.encode()),),
            ((b"cookie", b"authorization=Bearer " + KEY.encode()),),
        ]
    )
]


@pytest.mark.parametrize("headers", WRONG)
@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
def test_wrong_keys_are_refused(headers: Headers, method: str) -> None:
    """Without exactly the key, every request is 401, with ``WWW-Authenticate``."""
    answer = api.read(request(method, f"{PREFIX}/abc", "grace=nan", headers=headers))
    assert refused(answer) == (401, "UNAUTHORIZED")
    assert isinstance(answer, Response)
    assert dict(answer.headers)[b"www-authenticate"] == b"Bearer"


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
def test_the_scheme_has_no_case(scheme: bytes) -> None:
    """The name of a scheme is case-insensitive (RFC 9110, 11.1)."""
    headers = ((b"authorization", scheme + b" " + KEY.encode()),)
    assert api.read(request("GET", headers=headers)) == List()


def test_keys_may_be_any_text() -> None:
    """A key that is not ASCII is compared as UTF-8."""
    headers = ((b"authorization", "Bearer schlüssel".encode()),)
    assert Api(key="schlüssel").read(request("GET", headers=headers)) == List()


def test_none_as_the_key_admits_all_clients() -> None:
    """None means that the host authenticates the clients."""
    assert Api(key=None).read(Request("GET", PREFIX)) == List()


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "\0"])
def test_invalid_keys_are_refused(key: str) -> None:
    """An empty key, or one that no header can contain, is an error at once."""
    with pytest.raises(ptykill.InvalidArgument):
        Api(key=key)


def test_requests_do_not_show_the_key() -> None:
    """The ``repr`` of a request has neither its headers nor its query."""
    assert KEY not in repr(request("GET", PREFIX, f"token={KEY}"))


# --- grace ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "grace=",
        "grace",
        "grace=-1",
        "grace=-0",
        "grace=nan",
        "grace=inf",
        "grace=-inf",
        "grace=Infinity",
        "grace=1e999",
        "grace=60.001",
        "grace=" + "9" * 5000,
        "grace=soon",
        "grace=1s",
        "grace=1_0",
        "grace=0x10",
        "grace=%31%00",
        "grace=+1",
        "grace=%201",
        "grace=1,5",
        "grace=%D9%A1",
        "grace=%FF",
        "grace=.",
        "grace=1&grace=1",
    ],
)
def test_bad_graces_are_refused(query: str) -> None:
    """A grace that is not a plain number of seconds up to the cap is 400, without an operation."""
    assert refused(api.read(request("DELETE", f"{PREFIX}/abc", query))) == (400, "INVALID_GRACE")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("60", 60.0), ("1.", 1.0), (".5", 0.5), ("1e-3", 0.001), ("%32", 2.0)],
)
def test_good_graces_are_taken(text: str, seconds: float) -> None:
    """Zero and the cap are graces, and so is every number between."""
    asked = api.read(request("DELETE", f"{PREFIX}/abc", f"grace={text}"))
    assert asked == Kill("abc", seconds)


@given(st.floats())
def test_any_number_is_taken_exactly_or_refused(seconds: float) -> None:
    """A grace is never rounded or clamped."""
    asked = api.read(request("DELETE", f"{PREFIX}/abc", f"grace={seconds!r}"))
    if 0 <= seconds <= CAP and math.copysign(1, seconds) > 0:
        assert asked == Kill("abc", seconds)
    else:
        assert refused(asked) == (400, "INVALID_GRACE")


@pytest.mark.parametrize("cap", [-1.0, math.nan, math.inf])
def test_invalid_caps_are_refused(cap: float) -> None:
    """A ``grace_cap`` that is not a valid grace is an error at once."""
    with pytest.raises(ptykill.InvalidGrace):
        Api(key=KEY, grace_cap=cap)


# --- create ---------------------------------------------------------------------------------------


def test_reads_all_of_a_create() -> None:
    """Every field is read, and unknown ones are ignored."""
    asked = create(
        command="ls",
        args=["-l", "ä"],
        env={"A": "1"},
        working_dir="/tmp",
        rows=40,
        cols=120,
        unknown={"x": [1]},
    )
    assert asked == Create(("ls", "-l", "ä"), {"A": "1"}, "/tmp", 40, 120)


@pytest.mark.parametrize(
    ("asked", "given_"),
    [((0, 0), (24, 80)), ((-5, -5), (1, 1)), ((501, 1001), (500, 1000)), ((10**30, 2), (500, 2))],
)
def test_sizes_are_clamped(asked: tuple[int, int], given_: tuple[int, int]) -> None:
    """A size out of range is clamped, not refused."""
    operation = create(command="ls", rows=asked[0], cols=asked[1])
    assert isinstance(operation, Create)
    assert (operation.rows, operation.cols) == given_


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"bash"',
        b"{}",
        b"\xff\xfe",
        b'{"command": 1}',
        b'{"command": null}',
        b'{"command": ["bash"]}',
        b'{"command": "bash", "args": "-i"}',
        b'{"command": "bash", "args": [1]}',
        b'{"command": "bash", "env": {"A": 1}}',
        b'{"command": "bash", "env": ["A"]}',
        b'{"command": "bash", "rows": "24"}',
        b'{"command": "bash", "rows": 1.5}',
        b'{"command": "bash", "working_dir": 1}',
        b'{"command": "bash"} x',
        b'{"command": "\\ud800"}',
        b'{"command": "bash", "args": ["\\udcff"]}',
        b'{"command": "bash", "x": ' + b"[" * 400 + b"]" * 399,
        b'{"command": "' + b"x" * LIMIT + b'"}',
    ],
)
def test_bad_bodies_are_refused(body: bytes) -> None:
    """A body that is not JSON, of a wrong type, or too long, is 400, and nothing is spawned."""
    assert refused(api.read(request("POST", body=body))) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_long_bodies_of_other_requests_are_refused(method: str) -> None:
    """A body of a request that needs none is ignored up to the limit, and 413 above it."""
    short = request(method, f"{PREFIX}/abc", body=b"x" * LIMIT)
    assert not isinstance(api.read(short), Response)
    long = dataclasses.replace(short, body=b"x" * (LIMIT + 1))
    assert refused(api.read(long)) == (413, "BODY_TOO_LARGE")


# --- random requests ------------------------------------------------------------------------------

paths = st.one_of(
    st.text(),
    st.sampled_from([PREFIX, f"{PREFIX}/", f"{PREFIX}/abc", f"{PREFIX}/abc/"]),
    st.text().map(lambda text: f"{PREFIX}/{text}"),
)
header_lists = st.one_of(
    st.just(BEARER),
    st.lists(st.tuples(st.sampled_from([b"authorization", b"x"]), st.binary())).map(tuple),
    st.binary().map(lambda token: ((b"authorization", b"Bearer " + token),)),
)
queries = st.one_of(st.text(), st.text().map(lambda text: f"grace={text}"))
methods = st.one_of(st.sampled_from(["GET", "POST", "DELETE"]), st.text())


@given(st.builds(Request, methods, paths, queries, header_lists, st.binary()))
def test_random_requests_never_crash_and_never_kill(asked: Request) -> None:
    """Each gets an answer; only a DELETE with the key, an id and a valid grace is a kill."""
    operation = api.read(asked)
    if isinstance(operation, Response):
        assert 400 <= operation.status < 500
        refused(operation)
        return
    assert asked.headers == BEARER or KEY.encode() in asked.headers[0][1]
    if isinstance(operation, Kill):
        assert asked.method == "DELETE"
        assert asked.path == f"{PREFIX}/{operation.session_id}"
        assert operation.grace is None or 0 <= operation.grace <= CAP


# --- responses ------------------------------------------------------------------------------------


def test_an_empty_session_is_a_204() -> None:
    """204 has no body and no length, and ``Server-Timing`` in milliseconds."""
    answer = api.answer(VERDICT)
    timing = b"hup;dur=500.000, kill;dur=250.000, total;dur=750.000"
    assert answer == Response(204, ((b"server-timing", timing),))


@pytest.mark.parametrize(
    ("whys", "code"),
    [
        (["not permitted to signal it"], "KILL_NOT_PERMITTED"),
        (["in uninterruptible sleep"], "KILL_UNINTERRUPTIBLE"),
        (["dead, but held by the process that traces it, 12"], "LEADER_TRACED"),
        (["unknown"], "SESSION_NOT_EMPTY"),
        ([], "SESSION_NOT_EMPTY"),
        (["unknown", "in uninterruptible sleep"], "KILL_UNINTERRUPTIBLE"),
        (["in uninterruptible sleep", "not permitted to signal it"], "KILL_NOT_PERMITTED"),
    ],
)
@pytest.mark.parametrize("outcome", Outcome)
def test_survivors_are_reported(outcome: Outcome, whys: list[str], code: str) -> None:
    """A verdict that is not empty is never a 204; the error names all survivors."""
    survivors = tuple(Survivor(4000 + n, why=why) for n, why in enumerate(whys))
    left = dataclasses.replace(VERDICT, empty=False, outcome=outcome, survivors=survivors)
    answer = api.answer(left)
    assert refused(answer) == (500, code)
    assert all(str(survivor.pid).encode() in answer.body for survivor in survivors)


@pytest.mark.parametrize("empty", [True, False])
def test_caveats_are_reported(empty: bool) -> None:  # noqa: FBT001
    """The verdict's caveats are in a header, with 204 and with 500."""
    caveats = frozenset({Caveat.KEEPER_LOST, Caveat.ESCAPEES_UNKNOWN})
    answer = api.answer(dataclasses.replace(VERDICT, empty=empty, caveats=caveats))
    assert answer.status == (204 if empty else 500)
    assert (b"ptykill-caveats", b"escapees unknown, keeper lost") in answer.headers


def test_an_unproven_end_is_reported() -> None:
    """A session without survivors, and without a proof, is a 500 with its own code."""
    caveats = frozenset({Caveat.KEEPER_LOST, Caveat.UNPROVEN})
    unproven = dataclasses.replace(
        VERDICT, empty=False, outcome=Outcome.UNPROVEN, survivors=(), caveats=caveats
    )
    assert refused(api.answer(unproven)) == (500, "SESSION_UNPROVEN")
    found = dataclasses.replace(unproven, survivors=(Survivor(4000, why="unknown"),))
    assert refused(api.answer(found)) == (500, "SESSION_NOT_EMPTY")


def test_records_and_tokens_are_returned() -> None:
    """A session, a list and a create are answered with the documented fields."""
    record = SessionRecord(
        end_reason=None,
        deadlines=DeadlinesBody(),
        session_id="s",
        pid=7,
        command="ls",
        args=["\udcff"],
        rows=24,
        cols=80,
        created_at=1,
        ended_at=None,
        exit_code=None,
        is_alive=True,
        status="running",
        client_count=2,
        name="build",
        labels={"team": "ci"},
        last_input_at=None,
        last_output_at=3,
    )
    told = json.loads(api.answer(record).body)
    assert told.pop("args") == ["\udcff"]
    assert told == {
        "session_id": "s",
        "pid": 7,
        "command": "ls",
        "rows": 24,
        "cols": 80,
        "created_at": 1,
        "ended_at": None,
        "exit_code": None,
        "is_alive": True,
        "status": "running",
        "client_count": 2,
        "name": "build",
        "labels": {"team": "ci"},
        "last_input_at": None,
        "last_output_at": 3,
        "end_reason": None,
        "deadlines": {"lifetime": None, "idle": None, "detached": None},
    }
    assert json.loads(api.answer(Sessions([record])).body) == {
        "sessions": [{**told, "args": ["\udcff"]}]
    }
    created = api.answer(Created("s", "t"))
    assert (created.status, json.loads(created.body)) == (201, {"session_id": "s", "token": "t"})
    assert api.answer(None) == Response(204)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ptykill.SessionNotFound("x"), (404, "SESSION_NOT_FOUND")),
        (ptykill.TooManySessions("x"), (429, "TOO_MANY_SESSIONS")),
        (ptykill.SupervisorClosed("x"), (503, "SHUTTING_DOWN")),
        (ptykill.InvalidArgument("x"), (400, "INVALID_REQUEST")),
        (ptykill.SpawnError(2, "No such file", "exec", "x"), (400, "COMMAND_NOT_FOUND")),
        (ptykill.SpawnError(12, "Out of memory", "exec", "\udcff"), (500, "SPAWN_FAILED")),
    ],
)
def test_our_errors_are_reported(error: Exception, told: tuple[int, str]) -> None:
    """An error of ptykill's becomes its own status, code and sentence."""
    assert refused(api.fail(error)) == told


def test_crashes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is 500 without details; the log has them."""
    with caplog.at_level(logging.ERROR, "ptykill"):
        answer = api.fail(ZeroDivisionError("the secret"))
    assert refused(answer) == (500, "INTERNAL_ERROR")
    assert b"secret" not in answer.body
    assert "the secret" in caplog.text


@pytest.mark.parametrize("host", [b"127.evil.example", b"127.0.0.1.evil.example"])
def test_a_pattern_of_an_address_fits_no_name(host: bytes) -> None:
    """``127.*`` in ``hosts`` matches addresses only."""
    rules = HostRules(["127.*"], [])
    assert rules.refusal(Request("GET", "/", headers=((b"host", b"127.0.0.1:8022"),))) is None
    refusal = rules.refusal(Request("GET", "/", headers=((b"host", host),)))
    assert refusal is not None
    assert refusal.status == 403
