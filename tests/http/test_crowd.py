"""The most sessions that a daemon allows, all with a client, and all flooding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import ptykill
from ptykill.http import frames
from tests.daemon import serving

TIMEOUT = 100.0
"""Time-out on a busy machine for an answer that is due at once, in seconds."""
KEY = {"Authorization": "Bearer key-for-a-crowd"}
FULL = 64
"""The default of ``ptykill serve --max-sessions``."""
FLOOD = {"command": "sh", "args": ["-c", "read line; exec timeout 120 yes"]}


@pytest.fixture
def url() -> Iterator[str]:
    """Run a daemon, and return where its API is."""
    with serving(key="key-for-a-crowd") as address:
        yield f"http://{address}/api/v1/pty"


@pytest.mark.long
def test_the_most_sessions_and_all_flooding(url: str) -> None:
    """One more is refused with 429, and a kill is answered within its plan."""

    async def watch(session: str, token: str) -> tuple[int, bytes]:
        """Receive until the end; return the number of bytes, and the last frame."""
        await full.wait()
        size, last = 0, b""
        headers = {**KEY, "X-PTY-Token": token}
        address = f"{url.replace('http', 'ws', 1)}/{session}/ws"
        async with connect(address, additional_headers=headers, proxy=None) as socket:
            await socket.send(frames.READY)
            await socket.send(frames.input_frame(b"\n"))
            with suppress(ConnectionClosed):
                while True:
                    last = cast(bytes, await socket.recv())
                    size += len(last)
                    flowing.add(session)
                    if len(flowing) == FULL:
                        all_flow.set()
        return size, last

    full, all_flow = asyncio.Event(), asyncio.Event()
    flowing: set[str] = set()

    async def main() -> None:
        async with (
            httpx.AsyncClient(
                headers=KEY, timeout=TIMEOUT, trust_env=False, verify=False
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            watched: dict[str, asyncio.Task[tuple[int, bytes]]] = {}
            for _ in range(FULL):
                told = (await client.post(url, json=FLOOD)).json()
                session = told["session_id"]
                watched[session] = group.create_task(watch(session, told["token"]))
            refused = await client.post(url, json=FLOOD)
            assert (refused.status_code, refused.json()["code"]) == (429, "TOO_MANY_SESSIONS")
            full.set()
            victim = session
            await all_flow.wait()
            began = time.monotonic()
            assert (await client.delete(f"{url}/{victim}")).status_code == 204
            assert time.monotonic() - began < ptykill.HANGUP_THEN_KILL.longest
            size, last = await watched.pop(victim)
            assert size > 0
            assert isinstance(frames.read_from_server(last), frames.Exit)
            # All the others still live, and none of their clients was too slow.
            shown = (await client.get(url)).json()["sessions"]
            assert [each["session_id"] for each in shown if not each["is_alive"]] == [victim]
            assert not any(task.done() for task in watched.values())
            for session in watched:
                assert (await client.delete(f"{url}/{session}")).status_code == 204

    asyncio.run(main())
