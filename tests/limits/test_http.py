"""Limits and usage over HTTP, with a tier that enforces nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest

import ptykill
from ptykill import Supervisor, Usage
from ptykill.testing import FakeTier

URL = "http://here/api/v1/pty"
MIB = 1 << 20


@pytest.fixture
def tier() -> FakeTier:
    """Return a tier."""
    return FakeTier()


@pytest.fixture
async def supervisor(tier: FakeTier) -> AsyncIterator[Supervisor]:
    """Open a supervisor that has caps."""
    async with ptykill.open_supervisor(
        containment=tier, memory_max=64 * MIB, cpu_max=2
    ) as supervisor:
        yield supervisor


@pytest.fixture
async def client(supervisor: Supervisor) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of its API."""
    app = ptykill.asgi_app(supervisor, key=None, spawning=True, hosts=["here"])
    transport = httpx.ASGITransport(cast(Any, app))
    async with httpx.AsyncClient(transport=transport) as client:
        yield client


async def test_a_create_can_ask_for_less(client: httpx.AsyncClient, supervisor: Supervisor) -> None:
    """What it leaves out, or gives as null, has the cap."""
    body = {"command": "x", "memory_max": MIB, "pids_max": 7, "cpu_max": None}
    assert (await client.post(URL, json=body)).status_code == 201
    attributes = supervisor.sessions[0].command.attributes
    assert (attributes.memory_max, attributes.pids_max, attributes.cpu_max) == (MIB, 7, 2.0)


@pytest.mark.parametrize(
    ("limits", "code", "said"),
    [
        ({"memory_max": 64 * MIB + 1}, "LIMIT_ABOVE_CAP", "memory_max"),
        ({"cpu_max": 2.5}, "LIMIT_ABOVE_CAP", "cpu_max is 2.5, and the cap here is 2.0"),
        ({"memory_max": "1G"}, "INVALID_REQUEST", "memory_max"),
        ({"memory_max": -1}, "INVALID_REQUEST", "memory_max"),
        ({"pids_max": 0}, "INVALID_REQUEST", "pids_max"),
        ({"pids_max": 1.5}, "INVALID_REQUEST", "pids_max"),
    ],
)
async def test_a_limit_that_can_not_be_is_refused(
    client: httpx.AsyncClient,
    supervisor: Supervisor,
    limits: dict[str, object],
    code: str,
    said: str,
) -> None:
    """The answer is 400, names the limit, and nothing was started."""
    answer = await client.post(URL, json={"command": "x", **limits})
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert said in answer.json()["error"]
    assert not supervisor.sessions


async def test_the_record_has_what_was_used(
    client: httpx.AsyncClient, supervisor: Supervisor, tier: FakeTier
) -> None:
    """A list has it of ended sessions only; what is not known is left out."""
    session = await supervisor.spawn(["x"])
    tier.spawned[0].now_used = Usage(user_seconds=0.25, oom_kills=0)
    expected: dict[str, float] = {"user_seconds": 0.25, "oom_kills": 0}
    assert (await client.get(f"{URL}/{session.id}")).json()["usage"] == expected
    [listed] = (await client.get(URL)).json()["sessions"]
    assert "usage" not in listed
    tier.spawned[0].now_used = Usage(user_seconds=0.5, system_seconds=0.125, oom_kills=3)
    await session.kill()
    [listed] = (await client.get(URL)).json()["sessions"]
    expected = {"user_seconds": 0.5, "system_seconds": 0.125, "oom_kills": 3}
    assert listed["usage"] == expected
    assert session.verdict is not None
    assert session.verdict.usage.cpu_seconds == 0.625
