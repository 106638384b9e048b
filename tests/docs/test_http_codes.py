"""The tables of codes in the pages: each is answered, with its status, and no other."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import httpx
import pytest
import trio.testing

import ptykill
from ptykill import Caveat, ExitStatus, Outcome, SpawnError, Survivor, Verdict
from ptykill.http import limits
from ptykill.http.api import Api
from ptykill.http.messages import Response
from ptykill.http.mount import AsgiApp
from ptykill.testing import FakeTier, Member
from tests.docs.pages import TOP

_, _PAGE = (TOP / "docs" / "api.md").read_text().split("## Codes")
_TABLE = re.findall(r"^\| (\d+) \| `(\w+)` \| [^|]* \|$", _PAGE, re.MULTILINE)
_SPAWN_TABLE = re.findall(
    r"^\| `(\w+)` \| (\d+) \| (\w+) \| ([^|]+) \|$",
    (TOP / "docs" / "reference.md").read_text(),
    re.MULTILINE,
)
_SPAWNING = {
    (status, code)
    for code, status, stage, _ in _SPAWN_TABLE
    if stage in {"limits", "chdir", "exec", "any"}
}
"""What a create may be answered; its bodies have no users."""

_ALL = "http://here/s"
Ask = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


async def _resized_too_late(client: httpx.AsyncClient, session: str) -> httpx.Response:
    await client.delete(session)
    return await client.post(f"{session}/resize", json={"rows": 1, "cols": 1})


ASKED: dict[str, Ask] = {
    "INVALID_REQUEST": lambda client, _: client.post(_ALL, content=b"{"),
    "UNSUPPORTED_MEDIA_TYPE": lambda client, _: client.post(_ALL, data={"command": "x"}),
    "UPGRADE_REQUIRED": lambda client, one: client.get(f"{one}/ws"),
    "HOST_NOT_ALLOWED": lambda client, _: client.get(_ALL, headers={"Host": "evil.example"}),
    "ORIGIN_NOT_ALLOWED": lambda client, _: client.get(_ALL, headers={"Origin": "http://evil"}),
    "INVALID_GRACE": lambda client, one: client.delete(one, params={"grace": "61"}),
    "INVALID_DEADLINE": lambda client, one: client.post(f"{one}/deadlines", json={"idle": 0}),
    "UNAUTHORIZED": lambda client, _: client.get(_ALL, headers={"Authorization": "Bearer x"}),
    "NOT_FOUND": lambda client, one: client.get(f"{one}/x/y"),
    "SESSION_NOT_FOUND": lambda client, _: client.get(f"{_ALL}/another"),
    "METHOD_NOT_ALLOWED": lambda client, one: client.put(one),
    "SESSION_ENDED": _resized_too_late,
    "BODY_TOO_LARGE": lambda client, _: client.request("GET", _ALL, content=bytes((1 << 20) + 1)),
    "BODY_TIMEOUT": lambda client, _: client.post(_ALL, content=_stalled()),
    "TOO_MANY_BODIES": lambda client, _: _crowded(client),
    "LIMIT_ABOVE_CAP": lambda client, _: client.post(_ALL, json={"command": "x", "pids_max": 9}),
    "TOO_MANY_STREAMS": lambda client, _: _streamed(client),
    "TOO_MANY_SESSIONS": lambda client, _: client.post(_ALL, json={"command": "x"}),
}
SURVIVED = {
    "KILL_NOT_PERMITTED": "not permitted to signal it",
    "KILL_UNINTERRUPTIBLE": "in uninterruptible sleep",
    "LEADER_TRACED": "dead, but held by the process that traces it, 7",
    "SESSION_NOT_EMPTY": "unknown",
    "SESSION_UNPROVEN": "",
}
FAILED: dict[str, Exception] = {
    "INTERPRETER_PATCHED": ptykill.InterpreterPatched("gevent"),
    "INTERNAL_ERROR": ZeroDivisionError(),
    "LIMITS_UNAVAILABLE": ptykill.LimitsUnavailable(["memory"], "found in a v1 hierarchy"),
    "NAME_TAKEN": ptykill.NameTaken("build"),
    "KEY_REUSED": ptykill.KeyReused("8e03978e"),
    "INVALID_OFFSET": ptykill.InvalidOffset("from is beyond the output"),
    "INPUT_FULL": ptykill.InputFull("the program does not read"),
    "INVALID_TOKEN": ptykill.InvalidToken("the token is wrong"),
    "TOKEN_NOT_FOUND": ptykill.TokenNotFound("no such token"),
    "TOO_MANY_TOKENS": ptykill.TooManyTokens("256 tokens"),
    "SHUTTING_DOWN": ptykill.SupervisorClosed("the supervisor is closed"),
}


async def _stalled() -> AsyncIterator[bytes]:
    yield b"{"
    await trio.sleep_forever()


async def _crowded(client: httpx.AsyncClient) -> httpx.Response:
    cast(Any, client)._transport.app._bodies = limits.BodyBudget(1)
    return await client.post(_ALL, json={"command": "x"})


async def _streamed(client: httpx.AsyncClient) -> httpx.Response:
    cast(Any, client)._transport.app._streams = 0
    return await client.get(f"{_ALL}/events")


def test_the_table_is_complete() -> None:
    """Every code that is provoked below is in the table, once, and no other is."""
    spawning = [code for _, code in _SPAWNING]
    assert sorted(code for _, code in _TABLE) == sorted(
        [*ASKED, *SURVIVED, "SESSIONS_NOT_EMPTY", "EVENTS_NOT_OFFERED", *FAILED, *spawning]
    )
    assert set(_TABLE) >= _SPAWNING


@pytest.mark.parametrize("code", ASKED)
async def test_requests_are_answered_so(code: str, autojump_clock: trio.testing.MockClock) -> None:
    """A request that can't be served has the code and the status of the table."""
    async with ptykill.open_supervisor(
        containment=FakeTier(), max_sessions=1, pids_max=8
    ) as supervisor:
        session = await supervisor.spawn(["x"])
        app = ptykill.asgi_app(supervisor, key="k", prefix="/s", spawning=True, hosts=["here"])
        async with _client(app, key="k") as client:
            answer = await ASKED[code](client, f"{_ALL}/{session.id}")
        assert (str(answer.status_code), code) in _TABLE
        assert answer.json()["code"] == code


def _client(app: AsgiApp, key: str = "") -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(cast(Any, app)), headers={"Authorization": f"Bearer {key}"}
    )


@pytest.mark.parametrize("code", SURVIVED)
def test_survivors_are_answered_so(code: str) -> None:
    """What kept a survivor alive decides about the code."""
    verdict = Verdict(
        session_id="x",
        pid=1,
        outcome=Outcome.STUCK,
        empty=False,
        exit_status=ExitStatus(code=0),
        deliveries=(),
        survivors=(Survivor(2, why=SURVIVED[code]),) if SURVIVED[code] else (),
        containment="fake",
        caveats=frozenset() if SURVIVED[code] else frozenset({Caveat.UNPROVEN}),
        took=math.pi,
        grace=0.0,
        kill=0.0,
    )
    _check(Api(key=None).answer(verdict), code)
    _check(Api(key=None).answer((verdict,)), "SESSIONS_NOT_EMPTY")


@pytest.mark.parametrize("code", FAILED)
def test_failures_are_answered_so(code: str, caplog: pytest.LogCaptureFixture) -> None:
    """So are a crash, and a create that comes too late."""
    _check(Api(key=None).fail(FAILED[code]), code)


def _check(response: Response, code: str) -> None:
    assert f'"code":"{code}"'.encode() in response.body
    assert (str(response.status), code) in _TABLE


@pytest.mark.parametrize(("code", "status", "stage", "names"), _SPAWN_TABLE)
async def test_failed_creates_are_answered_so(
    code: str, status: str, stage: str, names: str
) -> None:
    """A spawn that fails has the code and the status of its stage and errno."""
    numbers = [getattr(errno, name) for name in re.findall(r"`(\w+)`", names)] or [errno.ENOMEM]
    for number in numbers:
        tier = FakeTier(failure=SpawnError(number, "it failed", stage, "x"))
        async with ptykill.open_supervisor(containment=tier) as supervisor:
            app = ptykill.asgi_app(supervisor, key=None, spawning=True)
            async with _client(app) as client:
                answer = await client.post("http://here/api/v1/pty", json={"command": "x"})
        assert (str(answer.status_code), answer.json()["code"]) == (status, code)


async def test_spared_leftovers_are_no_204(autojump_clock: trio.testing.MockClock) -> None:
    """A session that has ended and is not empty has an error code of its own."""
    tier = FakeTier(Member(lives=1.0), [Member()])
    async with ptykill.open_supervisor(containment=tier, leftovers="spare") as supervisor:
        session = await supervisor.spawn(["x"])
        await session.wait()
        app = ptykill.asgi_app(supervisor, key=None)
        async with _client(app) as client:
            answer = await client.delete(f"http://here/api/v1/pty/{session.id}")
    assert (answer.status_code, answer.json()["code"]) == (500, "SESSION_NOT_EMPTY")
